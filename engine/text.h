/*
 * Prompts to what the U-Net attends to: A1111's grammar, chunks of 75 tokens, both encoders of
 * SDXL. What was encoded is kept, so that the same prompt (or one alternative of it) is encoded
 * once. Engine's thread.
 */
#pragma once

#include "clip/inversion.h"
#include "compute/tape.h"
#include "engine/denoise.h"
#include "engine/request.h"
#include "weights/model.h"

struct text_encoder;

/*
 * Binds the encoders and opens the tokenizers. The model and the inversions (NULL: none) must
 * outlive it. What is wrong with an embedding goes to `notices`, which it keeps a reference of
 * (NULL: nowhere). Fails with a sentence.
 */
struct text_encoder *text_encoder_create(struct backend *backend, struct model *model,
                                         struct inversions *inversions, GPtrArray *notices,
                                         GError **error);
void text_encoder_destroy(struct text_encoder *e); /* takes NULL */
/* Frees the tapes, which is most of its memory with backend_forget_weights(); what was encoded
 * stays. */
void text_encoder_release(struct text_encoder *e);
/* Frees the tapes (their weights stay packed until backend_forget_weights()) and what was encoded:
 * for when parameters change, too. */
void text_encoder_forget(struct text_encoder *e);

struct prompt_pair;

struct text_options {
    int clip_skip;          /* as A1111; 1 = the last layer */
    enum emphasis emphasis; /* request.h */
    int steps;              /* model calls of the run */
};

/*
 * Parses and encodes a prompt (without networks: add_ons.h) and its negative. Fails with a
 * sentence, or G_IO_ERROR_CANCELLED.
 */
struct prompt_pair *text_encode(struct text_encoder *e, const char *prompt, const char *negative,
                                const struct text_options *options, const int *cancel,
                                GError **error);
void prompt_pair_free(struct prompt_pair *p); /* takes NULL */
/* What call `call` (from 0) asks for; borrowed from the pair. */
void prompt_pair_at(const struct prompt_pair *p, int call, double cfg, struct guidance *guidance);

/* What the encoders take for one chunk: weights of all, activations of the largest. */
struct tape_memory text_encoder_memory(const struct text_encoder *e);
/* FLOPs of encoding one chunk. */
double text_encoder_flops(const struct text_encoder *e);
void text_encoder_dump(const struct text_encoder *e, GString *out);
