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
    char *vae_path; /* of an autoencoder in a file of its own, or NULL */
    struct model *model;
    struct unet unet;
    struct vae vae;
    struct weights *tiny_weights; /* TAESD, or NULL */
    struct tiny tiny;
    struct text_encoder *text;
    struct denoiser *denoiser;
    struct decoder *decoder;
    struct preview preview;
};

struct loaded_options {
    const char *vae;   /* path of a separate autoencoder, or NULL; a TAESD file will do */
    const char *taesd; /* path of TAESD's decoder, or NULL */
    struct inversions *inversions; /* NULL: none; must outlive it */
    GPtrArray *notices;            /* what the user should know; it keeps a reference */
};

/* Reads headers and configurations, binds all parameters. Fails with a sentence that names what is
 * missing or of another shape in all networks. */
struct loaded *loaded_create(struct backend *backend, const struct model_info *info,
                             const struct loaded_options *options, GError **error);
/* After parameters changed: tapes of the U-Net and the text encoders are compiled again. */
void loaded_forget_tapes(struct loaded *l);
/* Makes a preview's matrix for a model of no known family, from one small decoded latent. False
 * only when it was cancelled. */
bool loaded_fit_preview(struct loaded *l, const int *cancel, GError **error);
void loaded_destroy(struct loaded *l); /* takes NULL */
