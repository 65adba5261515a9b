#include "weights/convert.h"

#include <string.h>

#if G_BYTE_ORDER != G_LITTLE_ENDIAN
#error "safetensors files are little-endian; a big-endian host would need swaps here"
#endif

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#define HAVE_F16C 1
#endif

enum { BLOCK = 1024 }; /* elements on their way through F32: 4 KiB stay in the first cache */

static uint32_t bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static float float_of(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

float convert_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = h & 0x7fff;
    if (rest >= 0x7c00)
        return float_of(sign | 0x7f800000 | (rest & 0x3ff) << 13);
    if (rest >= 0x400)
        return float_of(sign | ((rest << 13) + (112u << 23)));
    return float_of(sign | bits_of((float)rest * 0x1p-24f));
}

uint16_t convert_f32_to_f16(float f)
{
    uint32_t u = bits_of(f), sign = u >> 16 & 0x8000, rest = u & 0x7fffffff;
    if (rest > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (rest >> 13 & 0x3ff)); /* stays a NaN */
    if (rest >= 0x477ff000) /* 65520: half way between the largest and what would follow */
        return (uint16_t)(sign | 0x7c00);
    if (rest <
        0x38800000) { /* below 2^-14: adding 0.5 moves the bits of the subnormal to the bottom */
        uint32_t r = bits_of(float_of(rest) + 0.5f) - bits_of(0.5f);
        return (uint16_t)(sign | r);
    }
    rest += 0xfff + (rest >> 13 & 1);
    return (uint16_t)(sign | (rest - (112u << 23)) >> 13);
}

float convert_bf16_to_f32(uint16_t b)
{
    return float_of((uint32_t)b << 16);
}

uint16_t convert_f32_to_bf16(float f)
{
    uint32_t u = bits_of(f);
    uint32_t rounded = (u + 0x7fff + (u >> 16 & 1)) >> 16;
    return (uint16_t)((u & 0x7fffffff) > 0x7f800000 ? u >> 16 | 0x40 : rounded);
}

float convert_f8_to_f32(enum dtype dtype, uint8_t b)
{
    uint32_t sign = (uint32_t)(b & 0x80) << 24;
    if (dtype == DTYPE_F8_E5M2)
        return convert_f16_to_f32((uint16_t)(b << 8));
    uint32_t rest = b & 0x7f;
    if (rest == 0x7f)
        return float_of(sign | 0x7fc00000);
    if (rest >= 8)
        return float_of(sign | ((rest << 20) + (120u << 23)));
    return float_of(sign | bits_of((float)rest * 0x1p-9f));
}

static const float *f8_table(enum dtype dtype)
{
    static float tables[2][256];
    static gsize ready;
    if (g_once_init_enter(&ready)) {
        for (int i = 0; i < 256; i++) {
            tables[0][i] = convert_f8_to_f32(DTYPE_F8_E4M3, (uint8_t)i);
            tables[1][i] = convert_f8_to_f32(DTYPE_F8_E5M2, (uint8_t)i);
        }
        g_once_init_leave(&ready, 1);
    }
    return tables[dtype == DTYPE_F8_E5M2];
}

#ifdef HAVE_F16C
static bool have_f16c(void)
{
    static gsize answer; /* 1 no, 2 yes */
    if (g_once_init_enter(&answer)) {
        unsigned a, b, c = 0, d;
        bool yes = __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C && __builtin_cpu_supports("avx2");
        g_once_init_leave(&answer, yes ? 2 : 1);
    }
    return answer == 2;
}

__attribute__((target("avx2,f16c"))) static size_t f16_to_f32_f16c(const uint16_t *src, float *dst,
                                                                   size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(src + i))));
    return i;
}

__attribute__((target("avx2,f16c"))) static size_t f32_to_f16_f16c(const float *src, uint16_t *dst,
                                                                   size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(dst + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(src + i), _MM_FROUND_TO_NEAREST_INT));
    return i;
}
#endif

static void load_f16(const uint16_t *src, float *dst, size_t n)
{
    size_t i = 0;
#ifdef HAVE_F16C
    if (have_f16c())
        i = f16_to_f32_f16c(src, dst, n);
#endif
    for (; i < n; i++)
        dst[i] = convert_f16_to_f32(src[i]);
}

static void store_f16(const float *src, uint16_t *dst, size_t n)
{
    size_t i = 0;
#ifdef HAVE_F16C
    if (have_f16c())
        i = f32_to_f16_f16c(src, dst, n);
#endif
    for (; i < n; i++)
        dst[i] = convert_f32_to_f16(src[i]);
}

static void load(enum dtype from, const void *src, float *dst, size_t n)
{
    switch (from) {
    case DTYPE_F32:
        memcpy(dst, src, n * sizeof *dst);
        break;
    case DTYPE_F16:
        load_f16(src, dst, n);
        break;
    case DTYPE_BF16:
        for (size_t i = 0; i < n; i++)
            dst[i] = convert_bf16_to_f32(((const uint16_t *)src)[i]);
        break;
    case DTYPE_F64:
        for (size_t i = 0; i < n; i++)
            dst[i] = (float)((const double *)src)[i];
        break;
    case DTYPE_F8_E4M3:
    case DTYPE_F8_E5M2: {
        const float *table = f8_table(from);
        for (size_t i = 0; i < n; i++)
            dst[i] = table[((const uint8_t *)src)[i]];
        break;
    }
    case DTYPE_I32:
        g_assert_not_reached();
    }
}

static void store(enum dtype to, const float *src, void *dst, size_t n)
{
    switch (to) {
    case DTYPE_F32:
        memcpy(dst, src, n * sizeof *src);
        break;
    case DTYPE_F16:
        store_f16(src, dst, n);
        break;
    case DTYPE_BF16:
        for (size_t i = 0; i < n; i++)
            ((uint16_t *)dst)[i] = convert_f32_to_bf16(src[i]);
        break;
    default:
        g_assert_not_reached();
    }
}

/* The loops below count instead of leaving early: so they vectorize. */
static bool finite16(const uint16_t *src, size_t n, uint16_t exponent)
{
    uint16_t bad = 0;
    for (size_t i = 0; i < n; i++)
        bad |= (src[i] & exponent) == exponent;
    return !bad;
}

static bool finite32(const uint32_t *src, size_t n)
{
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++)
        bad |= (src[i] & 0x7f800000) == 0x7f800000;
    return !bad;
}

bool convert_all_finite(enum dtype dtype, const void *src, size_t n)
{
    uint64_t bad = 0;
    switch (dtype) {
    case DTYPE_F32:
        return finite32(src, n);
    case DTYPE_F16:
        return finite16(src, n, 0x7c00);
    case DTYPE_BF16:
        return finite16(src, n, 0x7f80);
    case DTYPE_F64: {
        const uint64_t exponent = (uint64_t)0x7ff << 52;
        for (size_t i = 0; i < n; i++)
            bad |= (((const uint64_t *)src)[i] & exponent) == exponent;
        return !bad;
    }
    case DTYPE_F8_E4M3:
        for (size_t i = 0; i < n; i++)
            bad |= (((const uint8_t *)src)[i] & 0x7f) == 0x7f;
        return !bad;
    case DTYPE_F8_E5M2:
        for (size_t i = 0; i < n; i++)
            bad |= (((const uint8_t *)src)[i] & 0x7c) == 0x7c;
        return !bad;
    case DTYPE_I32:
        break;
    }
    return true;
}

bool convert_elements(enum dtype from, const void *src, enum dtype to, void *dst, size_t n)
{
    if (from == to) {
        memcpy(dst, src, n * dtype_size(from));
        return convert_all_finite(from, src, n);
    }
    float block[BLOCK];
    bool finite = true;
    for (size_t done = 0; done < n;) {
        size_t some = MIN(n - done, BLOCK);
        const char *in = (const char *)src + done * dtype_size(from);
        char *out = (char *)dst + done * dtype_size(to);
        if (to == DTYPE_F32) {
            load(from, in, (float *)(void *)out, some);
        } else if (from == DTYPE_F32) {
            store(to, (const float *)(const void *)in, out, some);
        } else {
            load(from, in, block, some);
            store(to, block, out, some);
        }
        finite &= convert_all_finite(to, out, some);
        done += some;
    }
    return finite;
}
