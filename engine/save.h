/*
 * Saving pictures: names from patterns, and files that are whole or absent. A picture is written to
 * a temporary file in its folder (O_EXCL), synced, given its name without overwriting anything
 * (renameat2 NOREPLACE; the number goes on while names are taken), and the folder is synced. Two
 * programs may save into one folder at once. Any thread.
 *
 * Pattern tokens (A1111's): [number] [seed] [steps] [cfg] [width] [height] [sampler] [scheduler]
 * [model_name] [model_hash] [date] [datetime] [datetime<%Y-%m-%d>] [prompt] [prompt_spaces]
 * [prompt_words] [negative] [batch_number] [generation_number] [clip_skip] [denoising]. Unknown
 * ones stay as they are. "/" in a pattern makes folders; a token's value never does, and no pattern
 * leaves its folder. A name without [number] gets "-2", "-3" ... when it is taken.
 */
#pragma once

#include "engine/metadata.h"
#include "engine/picture.h"

struct save_target {
    const char *folder;  /* made when absent */
    const char *pattern; /* without extension; NULL = "[number]-[seed]" */
    const char *exact;   /* instead: this file, replaced when it exists */
};

/* The pattern filled in, for messages and tests; "[number]" is left. g_free(). */
char *save_expand(const char *pattern, const struct request *settings,
                  const struct metadata_model *model, int batch_number);

/*
 * What a user means by --output: "apple.png" is that file (*exact), "out/[seed].jpg" or "[seed]" a
 * pattern below a folder, "out/" a folder. Sets what applies (g_free) and the format that the
 * ending asks for.
 */
void save_split_output(const char *output, char **folder, char **pattern, char **exact,
                       enum picture_format *format);

/*
 * Encodes and writes. The final path goes to *path (g_free). Fails with a sentence that names the
 * folder and the bytes needed (ENGINE_ERROR_DISK); then nothing is left under the final name and no
 * temporary file either.
 */
bool save_picture(const struct picture *picture, const struct request *settings,
                  const struct metadata_model *model, const struct save_target *target,
                  int batch_number, char **path, GError **error);

/* Bytes that are whole or absent under `path` (mode 0666 less umask); `replace` or fail when it
 * exists. For exports, state files, sidecars. */
bool save_bytes(const char *path, GBytes *bytes, bool replace, GError **error);

/* A cache of ours, in a folder that is made when absent. What goes wrong is not told: the next one
 * makes it again. */
void save_cache(const char *path, GKeyFile *keys);

/* Removes temporary files of crashed runs (this user's, older than an hour or of a dead process).
 */
void save_sweep(const char *folder);
