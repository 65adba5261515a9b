/*
 * CLIP's text encoders as transformers has them: CLIPTextModel (SD 1.x, OpenCLIP-H of SD 2.x) and
 * CLIPTextModelWithProjection (OpenCLIP-bigG of SDXL). What differs is data in struct clip_config.
 *
 * The token and position embeddings are looked up outside of the tape, by clip_embed(): a prompt
 * needs at most 77 rows of 49,408, so the table is never packed for a back end (76 to 150 MB), and
 * the vectors of an embedding (textual inversion) simply take the place of rows.
 *
 *     clip_embed(&clip, ids, batch, 77, NULL, 0, embedded, &error);
 *     x = tape_input(t, "embedded", DTYPE_F32, 3, (int64_t[]){batch, 77, clip.config.width});
 *     ends = tape_input(t, "ends", DTYPE_I32, 1, (int64_t[]){batch});
 *     out = clip_forward(t, &clip, x, ends, (struct clip_choice){.skip = 1, .norm = true});
 *
 * Letters: B chunks, L tokens of each (77), C width, P width of the projection. Borrows its
 * weights. One thread at a time, as the tape. Source: "Learning Transferable Visual Models From
 * Natural Language Supervision"; transformers models/clip/modeling_clip.py.
 */
#pragma once

#include "compute/tape.h"

#include <jansson.h>

struct weights;

enum clip_activation { CLIP_QUICK_GELU, CLIP_GELU };

struct clip_config {
    int vocabulary; /* rows of the token embedding */
    int positions;  /* rows of the position embedding: the most tokens at a time, 77 */
    int width, layers, heads, inner;
    int projection; /* P; 0 = none */
    enum clip_activation activation;
    float eps;
};

/*
 * Reads a transformers config.json. Fails with a sentence that names the setting. Its token ids are
 * not read: old files have wrong ones.
 */
bool clip_config_read(struct clip_config *config, const json_t *json, GError **error);

struct clip {
    struct clip_config config;
    const char *name;         /* "text_encoder": borrowed, for messages */
    struct clip_parts *parts; /* the bound weights, clip.c */
};

/*
 * Reads the config and binds all weights; they and their struct weights must outlive the encoder.
 * Names may have transformers' "text_model." or, as its version 5 writes them, lack it. Fails with
 * every missing and mis-shaped tensor in one message; then there is nothing to finish.
 */
bool clip_init(struct clip *c, const char *name, struct weights *weights, const json_t *config,
               GError **error);
void clip_finish(struct clip *c); /* takes a zeroed one */

/* Vectors that replace token embeddings: rows [row, row + count) of the B*L. */
struct clip_vectors {
    int row, count;
    const float *values; /* [count, C] */
};

/*
 * Token plus position embeddings of ids [B, L] into out [B, L, C], F32. Fails with a sentence when
 * an id or L is beyond what the encoder has, or when the file cannot be read.
 */
bool clip_embed(const struct clip *c, const int32_t *ids, int batch, int length,
                const struct clip_vectors *vectors, size_t n_vectors, float *out, GError **error);

struct clip_choice {
    int skip;  /* A1111's clip skip: 1 (or 0) = the last layer's output, 2 = the one before, ... */
    bool norm; /* `hidden` goes through the final layer norm (SD 1.x and 2.x; SDXL: no) */
};

struct clip_output {
    struct tensor *hidden; /* [B, L, C] */
    struct tensor *pooled; /* [B, P], or [B, C] without projection; NULL without ends */
};

/*
 * Records the encoder: embedded [B, L, C]; ends [B] I32, the row b * L + position of each chunk's
 * first end token, or NULL when the pooled output is not wanted (then layers that clip skip leaves
 * out are not run). The pooled output is always the last layer's. Marks: "layer.0" ..., "out".
 */
struct clip_output clip_forward(struct tape *t, const struct clip *c, struct tensor *embedded,
                                struct tensor *ends, struct clip_choice choice);
