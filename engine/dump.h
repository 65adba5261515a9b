/*
 * --dump: what a job computed on its way, as .npy files in PyTorch's order, one array for all
 * pictures of the job. Latents of the pictures follow one another, so files are written at the end.
 * Engine's thread.
 */
#pragma once

#include "engine/denoise.h"

struct dump;

struct dump *dump_create(const char *folder);
void dump_destroy(struct dump *d); /* takes NULL, as all of these do */

/* text.npy, uncond.npy: [1, L, D], the first step's. */
void dump_texts(struct dump *d, const struct guidance *guidance);
/* latent_NNN.npy, image.npy: one more picture [height, width, channels] of the array. */
void dump_latent(struct dump *d, int step, const float *latent, int height, int width,
                 int channels);
void dump_image(struct dump *d, const float *image, int height, int width);
/* Makes the folder and writes all. */
bool dump_write(struct dump *d, GError **error);
