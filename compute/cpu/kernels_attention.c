/*
 * Flash attention over one tile of queries (Dao et al. 2022): scores of
 * ATTENTION_ROWS queries against ATTENTION_KEYS keys at a time, a running
 * maximum and sum per row, and the output rescaled when the maximum grows.
 * Compiled once per instruction set, and once more with KERNELS_PAIRS for
 * BF16: there an item is two neighbours of the sum in one lane, the products
 * are BF16 and the sums F32; see kernels.h.
 */
#include "compute/cpu/kernels_items.h"

#include <math.h>

#ifdef KERNELS_PAIRS
#define NAME KERNELS_ATTENTION_BF16
#else
#define NAME KERNELS_ATTENTION
#endif

/*
 * All rows of the tile: c[..][N vectors] = or += a[..][depth] * b[depth][N vectors], R rows at a
 * time: R * N accumulators stay in registers. R divides ATTENTION_ROWS.
 */
#define MICRO(R, N)                                                                                \
    static void product_##R##_##N(size_t depth, const item *a, size_t lda, const item *b,          \
                                  size_t ldb, float *c, size_t ldc, bool accumulate)               \
    {                                                                                              \
        for (size_t row = 0; row < ATTENTION_ROWS; row += R, a += R * lda, c += R * ldc) {         \
            vec sum[R][N];                                                                         \
            for (int r = 0; r < R; r++)                                                            \
                for (int i = 0; i < N; i++)                                                        \
                    sum[r][i] = accumulate ? vec_load(c + (size_t)r * ldc + (size_t)i * VECTOR)    \
                                           : (vec){0};                                             \
            for (size_t k = 0; k < depth; k++) {                                                   \
                vec_item w[N];                                                                     \
                for (int i = 0; i < N; i++)                                                        \
                    w[i] = items_load(b + k * ldb + (size_t)i * VECTOR);                           \
                for (int r = 0; r < R; r++) {                                                      \
                    item x = a[(size_t)r * lda + k];                                               \
                    for (int i = 0; i < N; i++)                                                    \
                        sum[r][i] = multiply_add(sum[r][i], x, w[i]);                              \
                }                                                                                  \
            }                                                                                      \
            for (int r = 0; r < R; r++)                                                            \
                for (int i = 0; i < N; i++)                                                        \
                    vec_store(c + (size_t)r * ldc + (size_t)i * VECTOR, sum[r][i]);                \
        }                                                                                          \
    }

#if VECTOR == 16
MICRO(12, 1)
MICRO(12, 2)
MICRO(8, 3)
MICRO(6, 4)
MICRO(4, 5)
#define product_ROWS_1 product_12_1
#define product_ROWS_2 product_12_2
#define product_ROWS_3 product_8_3
#define product_ROWS_4 product_6_4
#define product_ROWS_5 product_4_5
#else
MICRO(6, 1)
MICRO(6, 2)
MICRO(4, 3)
MICRO(3, 4)
MICRO(2, 5)
#define product_ROWS_1 product_6_1
#define product_ROWS_2 product_6_2
#define product_ROWS_3 product_4_3
#define product_ROWS_4 product_3_4
#define product_ROWS_5 product_2_5
#endif

typedef void product(size_t depth, const item *a, size_t lda, const item *b, size_t ldb, float *c,
                     size_t ldc, bool accumulate);

/* All rows of the tile against `vectors` columns. */
static void product_columns(int vectors, size_t depth, const item *a, size_t lda, const item *b,
                            size_t ldb, float *c, size_t ldc, bool accumulate)
{
    static product *const kinds[] = {NULL,           product_ROWS_1, product_ROWS_2,
                                     product_ROWS_3, product_ROWS_4, product_ROWS_5};
    kinds[vectors](depth, a, lda, b, ldb, c, ldc, accumulate);
}

/* How many vectors of columns to take of those left: whole groups of 5 or 4
 * keep registers full. */
static int group_of(int left, int total)
{
    int group = total % 5 == 0 ? 5 : 4;
    return left < group ? left : group;
}

static void scores(const struct attention_tile *tile, int64_t first, float *s)
{
    const size_t vectors = ATTENTION_PANEL / VECTOR, depth = ITEMS((size_t)tile->size);
    for (int64_t key = first; key < first + ATTENTION_KEYS && key < tile->key_count;
         key += ATTENTION_PANEL) {
        const item *panel = (const item *)tile->keys + (size_t)key * depth;
        for (size_t v = 0; v < vectors; v += 2)
            product_columns(2, depth, (const item *)tile->queries, depth, panel + v * VECTOR,
                            ATTENTION_PANEL, s + (key - first) + (int64_t)(v * VECTOR),
                            ATTENTION_KEYS, false);
    }
}

#ifdef KERNELS_PAIRS
typedef uint16_t weight_item;
#define EXP2 vec_exp2_short
#define STORE vec_store_bf16
#else
typedef float weight_item;
#define EXP2 vec_exp2
#define STORE vec_store
#endif

/* Scores become weights, which may lie in their place; n is a multiple of 16. The sum stays in
 * lanes. */
static void soften(const float *s, size_t n, float scale, weight_item *weights, float *maximum,
                   float *sum, float *correction)
{
    float before = *maximum;
    vec most = vec_splat(-3.0e38f), factor = vec_splat(scale);
    for (size_t i = 0; i < n; i += VECTOR)
        most = vec_max(vec_load(s + i), most);
    float top = vec_largest(most) * scale;
    top = top > before ? top : before;
    *correction = top > before ? exp2_of(before - top) : 1.0f;
    *maximum = top;
    vec total = vec_load(sum) * *correction;
    for (size_t i = 0; i < n; i += VECTOR) {
        vec e = EXP2(vec_load(s + i) * factor - top);
        STORE(weights + i, e);
        total += e;
    }
    vec_store(sum, total);
}

static void mask(const struct attention_tile *tile, int64_t first, size_t n, float *s)
{
    for (int64_t r = 0; r < ATTENTION_ROWS; r++) {
        int64_t end = tile->key_count;
        if (tile->first_causal >= 0 && tile->first_causal + r + 1 < end)
            end = tile->first_causal + r + 1;
        for (int64_t i = end > first ? end - first : 0; i < (int64_t)n; i++)
            s[r * ATTENTION_KEYS + i] = -INFINITY;
    }
}

void NAME(const struct attention_tile *tile, float *scratch)
{
    float *s = scratch, *maximum = s + ATTENTION_ROWS * ATTENTION_KEYS;
    float *sum = maximum + ATTENTION_ROWS, *correction = sum + ATTENTION_ROWS * VECTOR;
    /* F32 weights take the place of their scores. */
    weight_item *weights =
        ITEMS(2) == 2 ? (weight_item *)s : (weight_item *)(correction + ATTENTION_ROWS);
    size_t padded = ((size_t)tile->size + 15) / 16 * 16;
    /* Columns beyond the head's size are computed only where a vector crosses
     * them. */
    int vectors = (tile->size + VECTOR - 1) / VECTOR;
    int64_t end = tile->key_count;
    if (tile->first_causal >= 0 && tile->first_causal + ATTENTION_ROWS < end)
        end = tile->first_causal + ATTENTION_ROWS;
    for (size_t r = 0; r < ATTENTION_ROWS; r++) {
        /* Finite: an infinite score less an infinite maximum would be NaN in a
         * masked row. */
        maximum[r] = -3.0e38f;
        vec_store(sum + r * VECTOR, vec_splat(0));
    }
    memset(tile->out, 0, sizeof(float) * ATTENTION_ROWS * padded);
    for (int64_t first = 0; first < end; first += ATTENTION_KEYS) {
        size_t keys = (size_t)(end - first < ATTENTION_KEYS ? end - first : ATTENTION_KEYS);
        size_t rounded = (keys + 15) / 16 * 16;
        scores(tile, first, s);
        if (first + (int64_t)rounded > tile->key_count || tile->first_causal >= 0)
            mask(tile, first, rounded, s);
        for (size_t r = 0; r < ATTENTION_ROWS; r++) {
            soften(s + r * ATTENTION_KEYS, rounded, tile->scale, weights + r * ATTENTION_KEYS,
                   &maximum[r], sum + r * VECTOR, &correction[r]);
            float *out = tile->out + r * padded;
            if (correction[r] != 1.0f)
                for (size_t i = 0; i < padded; i++)
                    out[i] *= correction[r];
        }
        for (int v = 0; v < vectors;) {
            int group = group_of(vectors - v, vectors);
            const item *values = (const item *)tile->values + ITEMS((size_t)first) * padded;
            product_columns(group, ITEMS(keys), (const item *)weights, ITEMS(ATTENTION_KEYS),
                            values + (size_t)v * VECTOR, padded, tile->out + (size_t)v * VECTOR,
                            padded, true);
            v += group;
        }
    }
    for (size_t r = 0; r < ATTENTION_ROWS; r++) {
        float all = 0;
        for (size_t k = 0; k < VECTOR; k++)
            all += sum[r * VECTOR + k];
        for (size_t i = 0; i < padded; i++)
            tile->out[r * padded + i] /= all;
    }
}
