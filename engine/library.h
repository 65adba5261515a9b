/*
 * The models on this machine: the bundled one, the models folder ($XDG_DATA_HOME/figment/models),
 * and folders the user named (A1111's and ComfyUI's layouts are opened in place). A model is a
 * diffusers folder (model_index.json) or a single .safetensors file. Listing reads headers only.
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
    char *family;   /* "SD 1.x", "SD 2.x", "SDXL", "starter"; NULL = not known */
    char *problem;  /* why it cannot be used, or NULL */
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

/* Where the bundled models are: $FIGMENT_DATA, the build tree's assets/, the installed share
 * folder; the first that has a models folder. NULL when none. g_free(). */
char *library_data_folder(void);
/* $XDG_DATA_HOME/figment/models. g_free(). */
char *library_models_folder(void);
/* $(xdg-user-dir PICTURES)/Figment. g_free(). */
char *library_pictures_folder(void);

/* First 10 hex digits of the sha256 of a file (A1111's model hash), kept in the cache folder by
 * path, size and time; NULL when `cached_only` and not there yet, or unreadable. For a folder: of
 * its U-Net's file. `cancel` (may be NULL) is read as it goes. g_free(). */
char *library_hash(const char *path, bool cached_only, const int *cancel);
