/* Overlapping tiles: every pixel is covered, shares add up to 1, fades are straight. */
#include "tests/check.h"
#include "vae/tiles.h"

#include <glib.h>

/* Blending what was cut out gives the whole back; with a factor, each cell becomes a square. */
static void test_round_trip(int height, int width, int side, int overlap, int factor)
{
    struct tile_plan plan = tile_plan(height, width, side, overlap);
    size_t cells = (size_t)height * (size_t)width * 2, f = (size_t)factor;
    size_t tile_cells = (size_t)plan.tile_height * (size_t)plan.tile_width * 2;
    g_autofree float *whole = g_new(float, cells);
    g_autofree float *back = g_new0(float, cells *f *f);
    g_autofree float *tile = g_new(float, tile_cells);
    g_autofree float *large = g_new(float, tile_cells *f *f);
    for (size_t i = 0; i < cells; i++)
        whole[i] = (float)(i % 97) - 40;
    for (int i = 0; i < tile_count(&plan); i++) {
        struct tile at = tile_at(&plan, i);
        CHECK(at.y >= 0 && at.x >= 0 && at.y + plan.tile_height <= height &&
              at.x + plan.tile_width <= width);
        tile_cut(&plan, i, 2, whole, tile);
        size_t w = (size_t)plan.tile_width * f;
        for (size_t j = 0; j < tile_cells * f * f; j++) {
            size_t y = j / 2 / w / f, x = j / 2 % w / f;
            large[j] = tile[(y * (size_t)plan.tile_width + x) * 2 + j % 2];
        }
        tile_blend(&plan, i, factor, 2, large, back);
    }
    double worst = 0;
    size_t w = (size_t)width * f;
    for (size_t j = 0; j < cells * f * f; j++) {
        size_t y = j / 2 / w / f, x = j / 2 % w / f;
        worst = MAX(worst, fabs(back[j] - whole[(y * (size_t)width + x) * 2 + j % 2]));
    }
    /* Shares are F32: values of 56 at most, sums of a few. */
    CHECK(worst < 2e-5, "%d x %d by %d, overlap %d: off by %g", height, width, side, overlap,
          worst);
}

static void test_plan(void)
{
    struct tile_plan plan = tile_plan(64, 96, 64, 16);
    CHECK(plan.rows == 1 && plan.columns == 2 && plan.tile_height == 64 && plan.tile_width == 64);
    CHECK(tile_at(&plan, 1).x == 32 && tile_at(&plan, 1).y == 0);
    plan = tile_plan(32, 200, 64, 16);
    CHECK(plan.columns == 4 && plan.tile_height == 32);
    for (int i = 1; i < 4; i++) /* neighbours have the overlap, at least */
        CHECK(tile_at(&plan, i).x - tile_at(&plan, i - 1).x <= 48);
}

/* Two tiles of constants 0 and 1: what is between them is a straight line. */
static void test_fade(void)
{
    struct tile_plan plan = tile_plan(1, 24, 16, 8);
    float zeros[16] = {0}, ones[16], whole[24] = {0};
    for (int i = 0; i < 16; i++)
        ones[i] = 1;
    CHECK(plan.columns == 2);
    tile_blend(&plan, 0, 1, 1, zeros, whole);
    tile_blend(&plan, 1, 1, 1, ones, whole);
    for (int i = 0; i < 24; i++) {
        float expected = CLAMP(((float)i + 0.5f - 8) / 8, 0, 1);
        CHECK(fabsf(whole[i] - expected) < 1e-6f, "%d: %g, expected %g", i, whole[i], expected);
    }
}

int main(void)
{
    test_plan();
    test_fade();
    for (int side = 5; side < 40; side += 7)
        for (int overlap = 0; overlap <= side * 2 / 3; overlap += 3)
            test_round_trip(37, 64 - side, side, overlap, 1 + overlap % 3);
    return check_result();
}
