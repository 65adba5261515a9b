/*
 * A set of named parameters over one or more safetensors files: a component of a model (a U-Net, a
 * VAE, a text encoder). Names are diffusers' (single-file checkpoints are translated by names_ldm.c
 * on the way in). Owned by the caller, outlives the tapes that use it. Reading is thread-safe, the
 * rest is for one thread. File rules and sentences: weights/safetensors.h. A whole model (folder or
 * checkpoint) is opened by weights/model.h.
 */
#pragma once

#include "compute/tensor.h"

#include <jansson.h>

struct weights;

/* One .safetensors file, names as they are. */
struct weights *weights_open(const char *path, GError **error);
void weights_destroy(struct weights *w); /* takes NULL */

/*
 * NULL when there is none of that name, or when its number format or rank cannot be read (bind
 * says so). Marks it used.
 */
const struct weight *weights_find(struct weights *w, const char *name);
bool weights_has(const struct weights *w, const char *name); /* does not mark it */
const char *weights_source(const struct weights *w);         /* file or folder name, for messages */
size_t weights_bytes(const struct weights *w);               /* as stored */
size_t weights_count(const struct weights *w);               /* tensors */
uint64_t weights_parameters(const struct weights *w);        /* elements, of numbers (no indices) */
/* The format that most of the bytes are in, for lists and for choosing a precision. */
enum dtype weights_main_dtype(const struct weights *w);
/* Names nobody asked for, sorted (g_ptr_array of borrowed strings; free the array). */
GPtrArray *weights_unused(const struct weights *w);
/* A sentence for the user that counts the unused ones and names the first few (g_free); NULL when
 * there are none. */
char *weights_unused_sentence(const struct weights *w);

/*
 * Looks up the parameters of a network, collecting everything that is missing or mis-shaped, so
 * that all of it is reported at once. Names are spelled where they are bound, each once:
 *
 *     struct bind b; bind_init(&b, weights, "unet");
 *     bind_push(&b, "down_blocks.%d.resnets.%d.", i, j);
 *     r->conv1.w = bind_weight(&b, "conv1.weight", 4, out, in, 3, 3);
 *     bind_pop(&b);
 *     if (!bind_finish(&b, &error)) ...
 */
struct bind {
    struct weights *weights;
    const char *network; /* first word of the messages */
    GString *prefix;
    GArray *prefix_stack;
    GString *problems; /* of shapes, the first few */
    char *first_missing;
    int wanted, missing, misshaped;
};

void bind_init(struct bind *b, struct weights *weights, const char *network);
void bind_push(struct bind *b, const char *format, ...) G_GNUC_PRINTF(2, 3);
void bind_pop(struct bind *b);
/*
 * Dims follow as int; -1 takes any. What differs from the file's only by dims of 1 at the end is
 * given as asked for (a linear weight [o,i] accepts [o,i,1,1] and the reverse: old attention
 * layouts).
 */
const struct weight *bind_weight(struct bind *b, const char *name, int rank, ...);
/* As bind_weight(), but NULL without complaint when absent. */
const struct weight *bind_optional(struct bind *b, const char *name, int rank, ...);
/*
 * Frees the binder; false with one message that counts the problems and names the first few. When
 * *error is already set (by another component of the same model), the message is added to it: pass
 * the same GError to all and look at it at the end.
 */
bool bind_finish(struct bind *b, GError **error);
