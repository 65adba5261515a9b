/*
 * The preview that costs nothing: a linear map from a latent cell to a colour. Its matrix is the
 * model's own (figment.json), a published one, or fitted to the pictures decoded so far. Engine's
 * thread.
 */
#pragma once

#include "engine/picture.h"

#define PREVIEW_CHANNELS 4

struct preview {
    float matrix[PREVIEW_CHANNELS][3]; /* of values -1 to 1 */
    float bias[3];
    bool fitted; /* to this model */
};

/* A published matrix for a model of this scaling factor (SD 1.x and 2.x, SDXL), else a first guess
 * until preview_fit(). */
void preview_init(struct preview *preview, double scaling);

/* latent [H, W, 4] (the denoised estimate) to an H x W picture. */
struct picture preview_picture(const struct preview *preview, const float *latent, int width,
                               int height);

/* Least squares over one decoded picture [F*H, F*W, 3] and its latent [H, W, 4]; keeps the old
 * matrix when the picture says too little (all of one colour). */
void preview_fit(struct preview *preview, const float *latent, int width, int height,
                 const float *picture, int factor);
