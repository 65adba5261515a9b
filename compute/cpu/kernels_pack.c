/*
 * Weights on their way from a file's order and format to what kernels_product.c reads. Compiled
 * once per instruction set; see kernels.h.
 */
#include "compute/cpu/kernels_private.h"
#include "compute/cpu/vector.h"

#include <glib.h>

#define PANEL (2 * VECTOR)
#define BLOCK 8 /* elements of each row at a time */

INLINE float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Exact, subnormals included: the exponent is moved by a product, which takes care of them. */
INLINE float f16_of(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = (uint32_t)(h & 0x7fff) << 13;
    float x = float_of(rest) * 0x1p112f;
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (rest >= 0x0f800000) /* infinity and NaN, which files are searched for before */
        bits |= 0x7f800000;
    return float_of(sign | bits);
}

INLINE float f8_e4m3_of(uint8_t b)
{
    uint32_t sign = (uint32_t)(b & 0x80) << 24, rest = (uint32_t)(b & 0x7f) << 20;
    float x = rest == 0x7f00000 ? float_of(0x7fc00000) : float_of(rest) * 0x1p120f;
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return float_of(sign | bits);
}

/* Element i of a row, whatever its format. */
INLINE float element(enum dtype dtype, const void *w, size_t i)
{
    switch (dtype) {
    case DTYPE_F16:
        return f16_of(((const uint16_t *)w)[i]);
    case DTYPE_BF16:
        return float_of((uint32_t)((const uint16_t *)w)[i] << 16);
    case DTYPE_F8_E4M3:
        return f8_e4m3_of(((const uint8_t *)w)[i]);
    case DTYPE_F8_E5M2:
        return f16_of((uint16_t)(((const uint8_t *)w)[i] << 8));
    default:
        return ((const float *)w)[i];
    }
}

/* Bytes of an element of a file. */
INLINE size_t size_of(enum dtype dtype)
{
    return dtype == DTYPE_F32 ? 4 : dtype == DTYPE_F16 || dtype == DTYPE_BF16 ? 2 : 1;
}

#if defined(__AVX2__) && defined(__F16C__)

/* Elements [i, i + 8). */
INLINE __m256 load(enum dtype dtype, const void *w, size_t i)
{
    float some[BLOCK];
    switch (dtype) {
    case DTYPE_F32:
        return _mm256_loadu_ps((const float *)w + i);
    case DTYPE_F16:
        return _mm256_cvtph_ps(
            _mm_loadu_si128((const __m128i *)(const void *)((const uint16_t *)w + i)));
    case DTYPE_BF16:
        return _mm256_castsi256_ps(
            _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(
                                  (const __m128i *)(const void *)((const uint16_t *)w + i))),
                              16));
    default:
        for (size_t k = 0; k < BLOCK; k++)
            some[k] = element(dtype, w, i + k);
        return _mm256_loadu_ps(some);
    }
}

/* Elements [i, i + 8) of 8 rows, `stride` elements apart, each to its place in `panel`. */
INLINE void turn(enum dtype dtype, const char *w, size_t stride, size_t i, float *panel,
                 const size_t *places)
{
    size_t bytes = stride * size_of(dtype);
    __m256 r[8], s[8], t[8];
    for (int k = 0; k < 8; k++)
        r[k] = load(dtype, w + (size_t)k * bytes, i);
    for (int k = 0; k < 8; k += 2) {
        s[k] = _mm256_unpacklo_ps(r[k], r[k + 1]);
        s[k + 1] = _mm256_unpackhi_ps(r[k], r[k + 1]);
    }
    for (int k = 0; k < 8; k += 4) {
        t[k] = _mm256_shuffle_ps(s[k], s[k + 2], 0x44);
        t[k + 1] = _mm256_shuffle_ps(s[k], s[k + 2], 0xee);
        t[k + 2] = _mm256_shuffle_ps(s[k + 1], s[k + 3], 0x44);
        t[k + 3] = _mm256_shuffle_ps(s[k + 1], s[k + 3], 0xee);
    }
    for (int k = 0; k < 4; k++) {
        _mm256_storeu_ps(panel + places[k], _mm256_permute2f128_ps(t[k], t[k + 4], 0x20));
        _mm256_storeu_ps(panel + places[k + 4], _mm256_permute2f128_ps(t[k], t[k + 4], 0x31));
    }
}

#define TURNS 1
#else
#define TURNS 0
#endif

/* Where in a panel the elements of a row go, one after the other. */
struct walk {
    size_t in, taps, i, tap;
};

INLINE size_t next_place(struct walk *walk)
{
    size_t place = (walk->tap * walk->in + walk->i) * PANEL;
    if (++walk->tap == walk->taps) {
        walk->tap = 0;
        walk->i++;
    }
    return place;
}

INLINE void pack(enum dtype dtype, const char *w, size_t stride, size_t rows, size_t in,
                 size_t taps, float *panel)
{
    struct walk walk = {.in = in, .taps = taps};
    size_t n = in * taps, i = 0, places[BLOCK];
#if TURNS
    for (; rows == PANEL && i + BLOCK <= n; i += BLOCK) {
        for (size_t k = 0; k < BLOCK; k++)
            places[k] = next_place(&walk);
        for (size_t r = 0; r < PANEL; r += 8)
            turn(dtype, w + r * stride * size_of(dtype), stride, i, panel + r, places);
    }
#endif
    while (i < n) {
        size_t some = n - i < BLOCK ? n - i : BLOCK;
        for (size_t k = 0; k < some; k++)
            places[k] = next_place(&walk);
        for (size_t r = 0; r < rows; r++)
            for (size_t k = 0; k < some; k++)
                panel[places[k] + r] = element(dtype, w, r * stride + i + k);
        i += some;
    }
}

void KERNELS_PACK(enum dtype dtype, const void *w, size_t stride, size_t rows, size_t in,
                  size_t taps, float *panel)
{
    if (rows < PANEL)
        memset(panel, 0, in * taps * PANEL * sizeof *panel);
    switch (dtype) {
    case DTYPE_F32:
        pack(DTYPE_F32, w, stride, rows, in, taps, panel);
        break;
    case DTYPE_F16:
        pack(DTYPE_F16, w, stride, rows, in, taps, panel);
        break;
    case DTYPE_BF16:
        pack(DTYPE_BF16, w, stride, rows, in, taps, panel);
        break;
    case DTYPE_F8_E4M3:
        pack(DTYPE_F8_E4M3, w, stride, rows, in, taps, panel);
        break;
    case DTYPE_F8_E5M2:
        pack(DTYPE_F8_E5M2, w, stride, rows, in, taps, panel);
        break;
    default:
        g_assert_not_reached();
    }
}
