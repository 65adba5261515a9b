/*
 * Settings as text in picture files: A1111's `parameters` written and read exactly, and what other
 * programs leave behind read as well as can be. Pure functions; no file is opened here but by
 * metadata_read(). Sources: A1111 modules/processing.py (create_infotext), infotext_utils.py.
 */
#pragma once

#include "engine/request.h"

/* Read settings: prompt, negative, and "key", "value" pairs in file order. */
struct metadata {
    char *origin; /* "Figment", "A1111", "ComfyUI", "InvokeAI", "Fooocus", "NovelAI", ... */
    char *prompt, *negative;
    GPtrArray *keys, *values; /* char *, as long as each other */
};

void metadata_free(struct metadata *metadata);
/* NULL when there is none. The first of that key. */
const char *metadata_get(const struct metadata *metadata, const char *key);

/* What the request cannot tell. */
struct metadata_model {
    const char *name; /* file stem */
    const char *hash; /* first 10 hex digits of the sha256, or NULL when not known */
    const char *vae;  /* file name of a separate autoencoder, or NULL */
    const char *vae_hash;
};
/* A1111's name of it: "No norm". ComfyUI's way, which A1111 does not have, is "ComfyUI". */
const char *metadata_emphasis(enum emphasis emphasis);
/* The text A1111 would write for this picture; `settings` with every default filled in. g_free().
 */
char *metadata_write(const struct request *settings, const struct metadata_model *model);

/* A1111's text (sd.cpp's too). Never fails: what is no settings line is prompt. */
struct metadata *metadata_parse(const char *text);
/* From a picture's text chunks (picture.h): A1111 first, then the others; NULL when none is
 * understood. */
struct metadata *metadata_from_texts(GHashTable *texts);
/* From a PNG or JPEG file. */
struct metadata *metadata_read(const char *path, GError **error);

/*
 * Takes the settings over into `request` (strings are replaced and owned by it). Every value is
 * checked and clamped. `changes` and `notices` (both may be NULL; GPtrArray of char *) get one
 * sentence for each setting taken, and for each that was changed on the way or cannot be honoured.
 * The model is only ever looked up by name in the library, never opened as a path.
 */
void metadata_apply(const struct metadata *metadata, struct request *request, GPtrArray *changes,
                    GPtrArray *notices);
