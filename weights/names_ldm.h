/*
 * The names that parameters have in single-file checkpoints (those of the original "latent
 * diffusion" code) and diffusers' names for them. The only file that knows both; pure functions of
 * strings.
 *
 * A translation is a new string, or NULL for a name that is not of the component. Prefixes
 * ("model.diffusion_model.") are off already.
 */
#pragma once

#include "weights/safetensors.h"

enum { LDM_MAX_BLOCKS = 64, LDM_MAX_LEVELS = 6, LDM_MAX_LAYERS = 9 };

/* What the numbered blocks of a U-Net are; counted from the names, since distilled models are
 * irregular. */
struct ldm_block {
    int level, layer; /* of the resnet */
    int depth;        /* transformer blocks after it */
    int resample;     /* slot of a down- or upsampling in this block, or -1 */
    bool resnet;
};

struct ldm_unet {
    const char *prefix;
    int levels, inputs, outputs;
    struct ldm_block input[LDM_MAX_BLOCKS], output[LDM_MAX_BLOCKS];
    int layers[LDM_MAX_LEVELS]; /* resnets on the way down */
    bool middle;
    int middle_depth; /* 0: a resnet alone */
};

/* False when the file holds no such U-Net under that prefix. */
bool ldm_unet_scan(struct ldm_unet *u, const struct safetensors *st, const char *prefix);

char *ldm_unet_name(const struct ldm_unet *u, const char *name);
/* The other way, for add-ons that were trained on the original code; counts are those of diffusers'
 * names. */
struct weights;
struct ldm_counts {
    int down[LDM_MAX_LEVELS], up[LDM_MAX_LEVELS]; /* resnets of each block */
    bool up_attention[LDM_MAX_LEVELS];
};
void ldm_count(struct ldm_counts *c, const struct weights *unet);
char *ldm_unet_old_name(const struct ldm_counts *c, const char *module);

char *ldm_vae_name(const char *name, int levels);
char *ldm_clip_name(const char *name); /* old files lack "text_model." */

/* An OpenCLIP tensor is one, three (stacked q, k, v: *split) or one the other way round
 * (*transposed). */
char *ldm_openclip_name(const char *name, bool *split, bool *transposed);
/* The name of part 0, 1, 2 of a split one. */
char *ldm_openclip_part(const char *name, int part);

/* The layer of an OpenCLIP tensor, or -1. */
int ldm_openclip_layer(const char *name);
