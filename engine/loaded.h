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

/* Reads headers and configurations, binds all parameters. Fails with a sentence. */
struct loaded *loaded_create(struct backend *backend, const struct model_info *info,
                             GError **error);
void loaded_destroy(struct loaded *l); /* takes NULL */
