/*
 * A model in use: its networks bound, its tapes on demand. Everything in it belongs to one back
 * end. Engine's thread.
 */
#pragma once

#include "engine/decode.h"
#include "engine/denoise.h"
#include "engine/library.h"
#include "engine/preview.h"
#include "engine/text.h"

struct loaded {
    char *path;
    struct model *model;
    struct unet unet;
    struct vae vae;
    struct text_encoder *text;
    struct denoiser *denoiser;
    struct decoder *decoder;
    struct preview preview;
};

/* Reads headers and configurations, binds all parameters. `inversions` (NULL: none) must outlive
 * it; see text.h for `notices`. Fails with a sentence. */
struct loaded *loaded_create(struct backend *backend, const struct model_info *info,
                             struct inversions *inversions, GPtrArray *notices, GError **error);
/* After parameters changed: tapes of the U-Net and the text encoders are compiled again. */
void loaded_forget_tapes(struct loaded *l);
/* Makes a preview's matrix for a model of no known family, from one small decoded latent. False
 * only when it was cancelled. */
bool loaded_fit_preview(struct loaded *l, const int *cancel, GError **error);
void loaded_destroy(struct loaded *l); /* takes NULL */
