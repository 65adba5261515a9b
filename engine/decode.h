/*
 * Latents to pictures and back through the autoencoder, with a compiled tape for the last size.
 * A picture too large for the memory at hand is decoded in overlapping tiles. Engine's thread.
 */
#pragma once

#include "compute/backend.h"
#include "vae/vae.h"

struct decoder;

struct decoder *decoder_create(struct backend *backend, const struct vae *vae);
void decoder_destroy(struct decoder *d); /* takes NULL */

/* latent [H, W, L], scaled as the U-Net's, to picture [F*H, F*W, 3], -1 to 1 and a little beyond.
 */
bool decoder_decode(struct decoder *d, const float *latent, int height, int width, float *picture,
                    const int *cancel, GError **error);
/* picture [F*H, F*W, 3] to the mean of its latent [H, W, L], scaled. Fails when the model has no
 * encoder. */
bool decoder_encode(struct decoder *d, const float *picture, int height, int width, float *latent,
                    const int *cancel, GError **error);
/* Frees the tapes (their weights stay packed until backend_forget_weights()). */
void decoder_forget(struct decoder *d);
/* FLOPs of decoding the last size (of one tile, when it was cut). */
double decoder_flops(const struct decoder *d);
void decoder_dump(const struct decoder *d, GString *out);
