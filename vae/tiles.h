/*
 * Overlapping tiles: where they lie and how they are blended, as pure arithmetic. For decoding a
 * latent whose picture does not fit in memory at once. All tiles have the same size, so that one
 * tape serves them all; overlaps fade linearly from one tile into the next, and weights add up
 * to 1.
 *
 * Units: input cells (of the latent), but for the blending, whose output is `factor` times larger.
 * Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct tile_plan {
    int height, width;           /* of the whole */
    int tile_height, tile_width; /* never more than the whole */
    int overlap;                 /* at least, where tiles meet */
    int rows, columns;           /* tiles in each direction */
};

struct tile {
    int y, x; /* of its first row and column */
};

/* As few tiles as possible, of at most `side` each way; overlap < side. */
struct tile_plan tile_plan(int height, int width, int side, int overlap);
int tile_count(const struct tile_plan *plan);
struct tile tile_at(const struct tile_plan *plan, int index);

/* Copies a tile of a [height, width, channels] array out. */
void tile_cut(const struct tile_plan *plan, int index, int channels, const float *whole,
              float *out);

/*
 * Adds a result [factor * tile_height, factor * tile_width, channels] to the whole
 * [factor * height, factor * width, channels], which starts as zeros, by its share at each pixel.
 */
void tile_blend(const struct tile_plan *plan, int index, int factor, int channels,
                const float *result, float *whole);
