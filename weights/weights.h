/*
 * A set of named parameters over one or more safetensors files: a component of a model (a U-Net, a
 * VAE, a text encoder). Names are diffusers' (single-file checkpoints are translated by names_ldm.c
 * on the way in). Owned by the caller, outlives the tapes that use it. Reading is thread-safe, the
 * rest is for one thread. File rules and sentences: weights/safetensors.h.
 */
#pragma once

#include "compute/tensor.h"

#include <jansson.h>

struct weights;

struct weights *weights_open(const char *path,
                             GError **error); /* one .safetensors file, names as they are */
void weights_destroy(struct weights *w);      /* takes NULL */

/* NULL when there is none of that name. Marks it used. */
const struct weight *weights_find(struct weights *w, const char *name);
const char *weights_source(const struct weights *w); /* file or folder name, for messages */
size_t weights_bytes(const struct weights *w);       /* as stored */
/* Names nobody asked for, sorted (g_ptr_array of borrowed strings; free the array). */
GPtrArray *weights_unused(const struct weights *w);

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
    GString *problems;
    int missing, misshaped;
};

void bind_init(struct bind *b, struct weights *weights, const char *network);
void bind_push(struct bind *b, const char *format, ...) G_GNUC_PRINTF(2, 3);
void bind_pop(struct bind *b);
/* Dims follow as int. A linear weight [o,i] also accepts [o,i,1,1] and the reverse (old attention
 * layouts). */
const struct weight *bind_weight(struct bind *b, const char *name, int rank, ...);
/* As bind_weight(), but NULL without complaint when absent. */
const struct weight *bind_optional(struct bind *b, const char *name, int rank, ...);
/* Frees the binder; false with one message that names the first few problems and counts the rest.
 */
bool bind_finish(struct bind *b, GError **error);
