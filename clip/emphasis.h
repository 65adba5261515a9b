/*
 * What the weights of a prompt do to the text encoder's output. Plain functions over float arrays
 * [L, D] with one weight for each of the L tokens, in place. Any thread.
 * Source: A1111 modules/sd_emphasis.py; ComfyUI comfy/sd1_clip.py.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Whether any weight differs from 1: else there is nothing to do, and nothing is changed. */
bool emphasis_needed(const float *weights, size_t length);

/*
 * A1111's "Original": every token times its weight, then all values times (mean before) / (mean
 * after). The mean is over all `length` tokens: A1111 takes together the chunks with the same place
 * in all texts of a schedule, so give those as one array; for a prompt without a schedule, one
 * chunk. When the mean after is zero the values are only weighted.
 */
void emphasis_original(float *z, const float *weights, size_t length, size_t width);

/* A1111's "No norm": every token times its weight. */
void emphasis_no_norm(float *z, const float *weights, size_t length, size_t width);

/* ComfyUI: (z - empty) * weight + empty, where empty [L, D] is the encoding of an empty chunk. */
void emphasis_comfy(float *z, const float *empty, const float *weights, size_t length,
                    size_t width);
