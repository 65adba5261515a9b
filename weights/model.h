/*
 * A model on disk, opened: its components' parameters and their configuration, whatever it came in
 * (a diffusers folder now or in a Hugging Face cache, or a single checkpoint). Only headers and
 * JSON are read here; the parameters are read when a tape packs them.
 *
 * Owner: the caller; the parts live as long as the model. One thread.
 * Failure: a sentence (WEIGHTS_ERROR).
 */
#pragma once

#include "weights/weights.h"

enum model_part {
    MODEL_UNET,
    MODEL_VAE,
    MODEL_TEXT,
    MODEL_TEXT_2,
    MODEL_PARTS,
};

/* The folder's name in diffusers: "unet", "vae", "text_encoder", "text_encoder_2". */
const char *model_part_name(enum model_part part);

enum model_family {
    MODEL_OTHER, /* of the same kind, but of no published size: the bundled model */
    MODEL_SD1,
    MODEL_SD2,
    MODEL_SDXL,
    MODEL_SDXL_REFINER,
};

const char *model_family_name(enum model_family family); /* "SD 1.x", for people */

/*
 * Where a repository of a Hugging Face cache (models--ORG--NAME) keeps what it calls main, or NULL
 * when the folder is none; and its name without ORG. g_free().
 */
char *model_cache_snapshot(const char *path);
char *model_cache_label(const char *path);

struct model {
    char *path;  /* as given, after following a cache's refs */
    char *label; /* its last component, or the repository's name in a cache: for messages */
    enum model_family family;
    /* NULL where the model has none (a refiner has no first text encoder). */
    struct weights *weights[MODEL_PARTS];
    json_t *config[MODEL_PARTS]; /* diffusers' and transformers' config.json */
    json_t *scheduler;           /* diffusers' scheduler_config.json, or NULL */
    json_t *index;               /* model_index.json, or NULL */
    /* Folders with vocab.json and merges.txt of the text encoders, or NULL: CLIP's own. */
    char *tokenizer[2];
    /* Without such a folder: the encoder is OpenCLIP's, which pads a prompt with 0, not with its
     * end. */
    bool pad_zero[2];
};

/* The path of a folder, of its model_index.json, of a repository in a Hugging Face cache, or of a
 * .safetensors file. */
struct model *model_open(const char *path, GError **error);
void model_close(struct model *m); /* takes NULL */

/*
 * A VAE in a file of its own, in the original's names (with or without "first_stage_model.") or in
 * diffusers'. Its configuration goes to *config (the caller's): the scaling factor in it is
 * SD 1.x's and 2.x's; SDXL's is the model's.
 */
struct weights *model_open_vae(const char *path, json_t **config, GError **error);

/* The label of a config for config_init(): "unet/config.json". */
const char *model_config_label(enum model_part part);
