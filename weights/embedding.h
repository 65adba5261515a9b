/*
 * A textual-inversion embedding: vectors that stand for a word of the prompt, for one text encoder
 * (SD 1.x, 2.x) or both (SDXL).
 *
 * The caller destroys it. Failure: a sentence.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

enum { EMBEDDING_MAX_VECTORS = 1024 };

struct embedding {
    char *name;       /* the file's, without its ending: the word in the prompt */
    int vectors;      /* as many tokens */
    int width[2];     /* of the first and the second text encoder; 0: none for it */
    float *values[2]; /* [vectors, width] */
};

struct embedding *embedding_open(const char *path, GError **error);
void embedding_destroy(struct embedding *e); /* takes NULL */
