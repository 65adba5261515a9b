/*
 * The heart of convolutions and matrix products where oneDNN is not used (direct.c): a few rows of
 * the left side against one panel of weights, sums in registers. Compiled once per instruction set;
 * see kernels.h.
 */
#include "compute/cpu/kernels_private.h"
#include "compute/cpu/vector.h"

INLINE vec load_weight(const float *w)
{
    return vec_load(w);
}

/*
 * c[R][panel] += sum over pieces of a[R][depth] * w[depth][panel]. R * 2 accumulators, two weights
 * and one element of the left side fill the registers; the additions of one accumulator are as far
 * apart as the latency of one.
 */
#define TILE(R, NAME, TYPE, LOAD)                                                                  \
    static void tile_##NAME##_##R(const float *a, size_t lda, const struct product_piece *pieces,  \
                                  size_t count, const TYPE *w, float *c, size_t ldc)               \
    {                                                                                              \
        vec left[R], right[R];                                                                     \
        for (int r = 0; r < R; r++) {                                                              \
            left[r] = vec_load(c + (size_t)r * ldc);                                               \
            right[r] = vec_load(c + (size_t)r * ldc + VECTOR);                                     \
        }                                                                                          \
        for (size_t p = 0; p < count; p++) {                                                       \
            const float *x = a + pieces[p].a, *end = x + pieces[p].depth;                          \
            const TYPE *y = w + pieces[p].w * 2 * VECTOR;                                          \
            for (; x < end; x++, y += 2 * VECTOR) {                                                \
                vec y0 = LOAD(y), y1 = LOAD(y + VECTOR);                                           \
                for (int r = 0; r < R; r++) {                                                      \
                    vec s = vec_splat(x[(size_t)r * lda]);                                         \
                    left[r] += s * y0;                                                             \
                    right[r] += s * y1;                                                            \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
        for (int r = 0; r < R; r++) {                                                              \
            vec_store(c + (size_t)r * ldc, left[r]);                                               \
            vec_store(c + (size_t)r * ldc + VECTOR, right[r]);                                     \
        }                                                                                          \
    }

#define TILES(R)                                                                                   \
    TILE(R, f32, float, load_weight)                                                               \
    TILE(R, bf16, uint16_t, vec_load_bf16)

#define ENTRY(R)                                                                                   \
    {                                                                                              \
        tile_f32_##R, tile_bf16_##R                                                                \
    }

TILES(1)
TILES(2)
TILES(3)
TILES(4)
TILES(5)
TILES(6)
#if VECTOR == 16
TILES(7)
TILES(8)
TILES(9)
TILES(10)
TILES(11)
TILES(12)
#define MOST_ROWS 12
#else
#define MOST_ROWS 6
#endif

static const struct {
    void (*f32)(const float *a, size_t lda, const struct product_piece *pieces, size_t count,
                const float *w, float *c, size_t ldc);
    void (*bf16)(const float *a, size_t lda, const struct product_piece *pieces, size_t count,
                 const uint16_t *w, float *c, size_t ldc);
} tiles[] = {
    {NULL, NULL}, ENTRY(1), ENTRY(2), ENTRY(3),  ENTRY(4),  ENTRY(5),  ENTRY(6),
#if VECTOR == 16
    ENTRY(7),     ENTRY(8), ENTRY(9), ENTRY(10), ENTRY(11), ENTRY(12),
#endif
};

void KERNELS_PRODUCT(size_t rows, const float *a, size_t lda, const struct product_piece *pieces,
                     size_t count, const void *w, bool bf16, float *c, size_t ldc)
{
    while (rows > 0) {
        /* The last two tiles share what is left, rather than one being thin and slow. */
        size_t n = rows >= 2 * MOST_ROWS || rows == MOST_ROWS ? MOST_ROWS : rows;
        if (n > MOST_ROWS)
            n = (n + 1) / 2;
        if (bf16)
            tiles[n].bf16(a, lda, pieces, count, w, c, ldc);
        else
            tiles[n].f32(a, lda, pieces, count, w, c, ldc);
        rows -= n;
        a += n * lda;
        c += n * ldc;
    }
}
