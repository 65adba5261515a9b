/*
 * The models on this machine: the bundled one, the models folder ($XDG_DATA_HOME/figment/models),
 * and folders of other programs where they usually are or the user named them (engine/places.h;
 * they are used in place, Hugging Face's cache among them). A model is a diffusers folder
 * (model_index.json) or a single .safetensors file. Listing reads headers, once (engine/facts.h).
 * No thread of its own; a list is the caller's.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct model_defaults {
    int width, height, steps, clip_skip; /* 0 = not said */
    double cfg;
    char *sampler, *schedule;
};

struct model_info {
    char *name; /* folder name or file stem; what --model takes */
    char *path; /* absolute */
    bool folder;
    bool bundled;
    char *family;    /* "SD 1.x", "SD 2.x", "SDXL", "SDXL refiner"; NULL = another */
    char *kind;      /* "inpainting", "instruct", "v-prediction"; NULL = an ordinary one */
    char *precision; /* of the file: "f16" */
    char *problem;   /* why it cannot be used, or NULL */
    char *preview;   /* path of a picture beside it, or NULL */
    char *sha256;    /* NULL = not computed yet: library_hash(), hash.h */
    uint64_t parameters, unet_parameters;
    uint64_t bytes; /* on disk */
    struct model_defaults defaults;
};

void model_info_free(struct model_info *info);

/* GPtrArray of struct model_info, bundled first, then by name; freed with its elements. `folders`
 * NULL-terminated or NULL. Unreadable folders are skipped. */
GPtrArray *library_list(char **folders);

/*
 * The model of that name or path (NULL or "": the bundled one, else the first). Fails with a
 * sentence that says what there is and what was probably meant.
 */
struct model_info *library_find(char **folders, const char *name, GError **error);

/*
 * The model that a picture was made with, by what the picture says of it: of those in the library
 * the one whose hash (10 digits of the sha256, may be NULL) is known and the same, else the one of
 * that name. Never a path. NULL: there is none.
 */
struct model_info *library_match(char **folders, const char *name, const char *hash);

/* Where the bundled models are: $FIGMENT_DATA, the build tree's assets/, the installed share
 * folder; the first that has a models folder. NULL when none. g_free(). */
char *library_data_folder(void);
/* $XDG_DATA_HOME/figment/models. g_free(). */
char *library_models_folder(void);
/* $(xdg-user-dir PICTURES)/Figment. g_free(). */
char *library_pictures_folder(void);

/* Bytes of memory that a picture of the model's own size takes in a 16-bit format, about; 0 = not
 * known. estimate.h knows it well. */
uint64_t library_needs(const struct model_info *info);

/* First 10 hex digits of the sha256 of a file (A1111's model hash), kept in the cache folder by
 * inode, size and time; NULL when `cached_only` and not there yet, or unreadable. For a folder: of
 * its U-Net's file. `cancel` (may be NULL) is read as it goes. g_free(). */
char *library_hash(const char *path, bool cached_only, const int *cancel);
