/*
 * The heart of convolutions and matrix products where oneDNN is not used (direct.c, winograd.c): a
 * few rows of the left side against one panel of weights, sums in registers. Compiled once per
 * instruction set, and once more with KERNELS_PAIRS for BF16; see kernels.h.
 */
#include "compute/cpu/kernels_items.h"

#ifdef KERNELS_PAIRS
#define NAME KERNELS_PRODUCT_BF16
#else
#define NAME KERNELS_PRODUCT
#endif

/*
 * c[R][panel] = start + sum over pieces of a[R][depth] * w[depth][panel]. R * 2 accumulators, two
 * weights and one element of the left side fill the registers; the additions of one accumulator are
 * as far apart as the latency of one.
 */
#define TILE(R)                                                                                    \
    static void tile_##R(const item *a, size_t lda, const struct product_piece *pieces,            \
                         size_t count, const item *w, const float *start, size_t start_step,       \
                         float *c, size_t ldc)                                                     \
    {                                                                                              \
        vec left[R], right[R];                                                                     \
        for (int r = 0; r < R; r++) {                                                              \
            left[r] = vec_load(start + (size_t)r * start_step);                                    \
            right[r] = vec_load(start + (size_t)r * start_step + VECTOR);                          \
        }                                                                                          \
        for (size_t p = 0; p < count; p++) {                                                       \
            const item *x = a + pieces[p].a, *end = x + pieces[p].depth;                           \
            const item *y = w + pieces[p].w * 2 * VECTOR;                                          \
            for (; x < end; x++, y += 2 * VECTOR) {                                                \
                vec_item y0 = items_load(y), y1 = items_load(y + VECTOR);                          \
                for (int r = 0; r < R; r++) {                                                      \
                    left[r] = multiply_add(left[r], x[(size_t)r * lda], y0);                       \
                    right[r] = multiply_add(right[r], x[(size_t)r * lda], y1);                     \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
        for (int r = 0; r < R; r++) {                                                              \
            vec_store(c + (size_t)r * ldc, left[r]);                                               \
            vec_store(c + (size_t)r * ldc + VECTOR, right[r]);                                     \
        }                                                                                          \
    }

TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)
#if VECTOR == 16
TILE(7)
TILE(8)
TILE(9)
TILE(10)
TILE(11)
TILE(12)
#define MOST_ROWS 12
#else
#define MOST_ROWS 6
#endif

static void (*const tiles[])(const item *a, size_t lda, const struct product_piece *pieces,
                             size_t count, const item *w, const float *start, size_t start_step,
                             float *c, size_t ldc) = {
    NULL,   tile_1, tile_2, tile_3,  tile_4,  tile_5,  tile_6,
#if VECTOR == 16
    tile_7, tile_8, tile_9, tile_10, tile_11, tile_12,
#endif
};

void NAME(size_t rows, const void *left, size_t lda, const struct product_piece *pieces,
          size_t count, const void *weights, const float *start, size_t start_step, float *c,
          size_t ldc)
{
    const item *a = (const item *)left, *w = (const item *)weights;
    while (rows > 0) {
        /* The last two tiles share what is left, rather than one being thin and slow. */
        size_t n = rows >= 2 * MOST_ROWS || rows == MOST_ROWS ? MOST_ROWS : rows;
        if (n > MOST_ROWS)
            n = (n + 1) / 2;
        tiles[n](a, lda, pieces, count, w, start, start_step, c, ldc);
        rows -= n;
        a += n * lda;
        c += n * ldc;
        start += n * start_step;
    }
}
