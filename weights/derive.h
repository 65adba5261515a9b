/*
 * Configurations of what came without: diffusers' config.json worked out from the names and shapes
 * of a single-file checkpoint. The readers of real config.json files read these too.
 *
 * The caller owns the JSON. NULL when the tensors that say it are not there (binding then reports
 * what is missing).
 */
#pragma once

#include "weights/names_ldm.h"

#include <jansson.h>

/* `sizes`: a label embedding takes text and picture sizes (SDXL), not a class or a picture
 * (unCLIP). */
json_t *derive_unet(const struct ldm_unet *u, const struct safetensors *st, bool sizes);

/*
 * A VAE under a prefix, in the original's names or in diffusers' (`diffusers`); its number of
 * levels is written to *levels.
 */
json_t *derive_vae(const struct safetensors *st, const char *prefix, bool diffusers, double scaling,
                   bool upcast, int *levels);

/* Transformers' layout under a prefix that may end in "text_model.", and OpenCLIP's; `layers`:
 * those in use. */
json_t *derive_clip(const struct safetensors *st, const char *prefix);
json_t *derive_openclip(const struct safetensors *st, const char *prefix, bool drop_last,
                        int *layers);

json_t *derive_scheduler(bool v_prediction, bool zero_snr);
