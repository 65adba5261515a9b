#include "vae/tiles.h"

#include <glib.h>
#include <string.h>

/* Tiles of `side` with `overlap` that cover `length`. */
static int count_along(int length, int side, int overlap)
{
    return length <= side ? 1 : 1 + (length - side + side - overlap - 1) / (side - overlap);
}

struct tile_plan tile_plan(int height, int width, int side, int overlap)
{
    g_return_val_if_fail(overlap >= 0 && overlap < side, (struct tile_plan){0});
    return (struct tile_plan){
        .height = height,
        .width = width,
        .tile_height = MIN(side, height),
        .tile_width = MIN(side, width),
        .overlap = overlap,
        .rows = count_along(height, side, overlap),
        .columns = count_along(width, side, overlap),
    };
}

int tile_count(const struct tile_plan *plan)
{
    return plan->rows * plan->columns;
}

/* Evenly spread, the last one ending at the edge. */
static int place(int i, int count, int length, int side)
{
    return count == 1 ? 0 : (int)((gint64)i * (length - side) / (count - 1));
}

struct tile tile_at(const struct tile_plan *plan, int index)
{
    return (struct tile){
        place(index / plan->columns, plan->rows, plan->height, plan->tile_height),
        place(index % plan->columns, plan->columns, plan->width, plan->tile_width),
    };
}

void tile_cut(const struct tile_plan *plan, int index, int channels, const float *whole, float *out)
{
    struct tile tile = tile_at(plan, index);
    size_t row = (size_t)plan->tile_width * (size_t)channels;

    for (int y = 0; y < plan->tile_height; y++) {
        size_t from = (size_t)(tile.y + y) * (size_t)plan->width + (size_t)tile.x;
        memcpy(out + (size_t)y * row, whole + from * (size_t)channels, row * sizeof *out);
    }
}

/* How far output position p of the whole lies inside tile i; 0 outside. Outer edges are far away.
 */
static double depth(int i, int count, int length, int side, int factor, int p)
{
    double at = (p + 0.5) / factor - place(i, count, length, side);
    double before = i > 0 ? at : side, after = i + 1 < count ? side - at : side;
    return CLAMP(MIN(before, after), 0, side);
}

/*
 * The shares of tile i along one direction, one for each of its output rows or columns: 1 in its
 * own part, a straight line over what it has in common with one neighbour.
 */
static float *shares(int i, int count, int length, int side, int factor)
{
    float *share = g_new(float, side *factor);
    int start = place(i, count, length, side) * factor;

    for (int p = 0; p < side * factor; p++) {
        double sum = 0;
        for (int k = 0; k < count; k++)
            sum += depth(k, count, length, side, factor, start + p);
        share[p] = (float)(depth(i, count, length, side, factor, start + p) / sum);
    }
    return share;
}

void tile_blend(const struct tile_plan *plan, int index, int factor, int channels,
                const float *result, float *whole)
{
    struct tile tile = tile_at(plan, index);
    int width = plan->tile_width * factor, height = plan->tile_height * factor;
    g_autofree float *down =
        shares(index / plan->columns, plan->rows, plan->height, plan->tile_height, factor);
    g_autofree float *across =
        shares(index % plan->columns, plan->columns, plan->width, plan->tile_width, factor);

    for (int y = 0; y < height; y++) {
        size_t row = (size_t)(tile.y * factor + y) * (size_t)plan->width * (size_t)factor;
        float *to = whole + (row + (size_t)tile.x * (size_t)factor) * (size_t)channels;
        const float *from = result + (size_t)y * (size_t)width * (size_t)channels;
        for (int x = 0; x < width; x++)
            for (int c = 0; c < channels; c++)
                *to++ += down[y] * across[x] * *from++;
    }
}
