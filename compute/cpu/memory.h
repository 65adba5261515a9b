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
