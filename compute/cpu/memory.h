/* Blocks of memory for activations and weights: aligned to 64 bytes, huge pages where they pay. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

/* Zeroed when fresh. NULL with a sentence that says what it was for when there is not enough. */
void *memory_take(size_t bytes, const char *purpose, GError **error);
/* The sentence of a block that could not be had. */
void memory_fail(size_t bytes, const char *purpose, GError **error);
void memory_give(void *block, size_t bytes); /* takes NULL */
/*
 * False with a sentence when the address space (ulimit -v) left is too small for oneDNN's code
 * generator, which would crash.
 */
bool memory_check_space(GError **error);

/*
 * Memory for many blocks that mostly go together, such as the weights of a network: they lie side
 * by side on huge pages. Of one thread; memory goes back to the system when all of a chunk was
 * given back.
 */
struct memory_pool {
    GPtrArray *chunks; /* struct chunk */
};

void memory_pool_init(struct memory_pool *pool);
void memory_pool_finish(struct memory_pool *pool); /* everything has been given back */
/* As memory_take(). */
void *memory_pool_take(struct memory_pool *pool, size_t bytes, const char *purpose, GError **error);
void memory_pool_give(struct memory_pool *pool, void *block, size_t bytes);
