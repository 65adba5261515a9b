/*
 * Prompts to what the U-Net attends to: A1111's grammar, chunks of 75 tokens, both encoders of
 * SDXL. What was encoded is kept, so that the same prompt (or one alternative of it) is encoded
 * once. Engine's thread.
 */
#pragma once

#include "clip/inversion.h"
#include "engine/denoise.h"
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
/* Frees the tapes (their weights stay packed until backend_forget_weights()) and what was encoded:
 * for when parameters change, too. */
void text_encoder_forget(struct text_encoder *e);

struct prompt_pair;

/*
 * Parses and encodes a prompt (without networks: add_ons.h) and its negative for a run of `steps`
 * model calls. Fails with a sentence, or G_IO_ERROR_CANCELLED.
 */
struct prompt_pair *text_encode(struct text_encoder *e, const char *prompt, const char *negative,
                                int clip_skip, int steps, const int *cancel, GError **error);
void prompt_pair_free(struct prompt_pair *p); /* takes NULL */
/* What call `call` (from 0) asks for; borrowed from the pair. */
void prompt_pair_at(const struct prompt_pair *p, int call, double cfg, struct guidance *guidance);

/* FLOPs of encoding one chunk. */
double text_encoder_flops(const struct text_encoder *e);
void text_encoder_dump(const struct text_encoder *e, GString *out);
