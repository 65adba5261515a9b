/*
 * What the kernel files share: a vector as wide as the instruction set they are
 * compiled for, and elementary functions that the compiler vectorises. KERNELS
 * names the set.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(VECTOR) /* given: tests of a width that the machine lacks */
#elif defined(__AVX512F__)
#define VECTOR 16
#elif defined(__AVX__)
#define VECTOR 8
#else
#define VECTOR 4
#endif

typedef float vec __attribute__((vector_size(VECTOR * 4)));
typedef float vec_unaligned __attribute__((vector_size(VECTOR * 4), aligned(4), may_alias));

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

INLINE vec vec_load(const float *x)
{
    return *(const vec_unaligned *)x;
}

INLINE void vec_store(float *x, vec v)
{
    *(vec_unaligned *)x = v;
}

typedef uint16_t vec_u16 __attribute__((vector_size(VECTOR * 2), aligned(2), may_alias));
typedef uint32_t vec_u32 __attribute__((vector_size(VECTOR * 4)));

INLINE vec vec_load_bf16(const uint16_t *x)
{
    return (vec)(__builtin_convertvector(*(const vec_u16 *)x, vec_u32) << 16);
}

INLINE vec vec_splat(float x)
{
    return x - (vec){0};
}

/* Rounded to the nearest BF16, in the lower half of each lane; a NaN stays one. In hardware,
 * denormals are 0. */
INLINE vec_u32 vec_to_bf16(vec x)
{
#if defined(__AVX512BF16__)
    return (vec_u32)_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)x));
#else
    vec_u32 bits = (vec_u32)x, nan = (vec_u32)(x != x);
    vec_u32 rounded = bits + 0x7fff + ((bits >> 16) & 1), quiet = bits | 0x400000;
    return ((rounded & ~nan) | (quiet & nan)) >> 16;
#endif
}

INLINE void vec_store_bf16(uint16_t *to, vec x)
{
    *(vec_u16 *)to = __builtin_convertvector(vec_to_bf16(x), vec_u16);
}

/* The larger; y where one is NaN. */
INLINE vec vec_max(vec x, vec y)
{
#if defined(__AVX512F__)
    return (vec)_mm512_max_ps((__m512)x, (__m512)y);
#elif defined(__AVX__) && VECTOR == 8
    return (vec)_mm256_max_ps((__m256)x, (__m256)y);
#elif defined(__x86_64__) && VECTOR == 4
    return (vec)_mm_max_ps((__m128)x, (__m128)y);
#else
    vec_u32 larger = (vec_u32)(x > y);
    return (vec)(((vec_u32)x & larger) | ((vec_u32)y & ~larger));
#endif
}

/*
 * sum + the products of the pairs of BF16 in each lane of x and y, lower halves
 * first. In hardware both products are added at once, and denormals are 0.
 */
INLINE vec vec_dot_bf16(vec sum, vec_u32 x, vec_u32 y)
{
#if defined(__AVX512BF16__)
    return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)y);
#else
    sum += (vec)(x << 16) * (vec)(y << 16);
    return sum + (vec)(x & 0xffff0000u) * (vec)(y & 0xffff0000u);
#endif
}

/* The largest lane, where none is NaN. */
INLINE float vec_largest(vec x)
{
#if defined(__AVX512F__)
    return _mm512_reduce_max_ps((__m512)x);
#else
    float most = x[0];
    for (size_t k = 1; k < VECTOR; k++)
        most = x[k] > most ? x[k] : most;
    return most;
#endif
}

/* x as a whole number and a rest of at most a half, both F32; then p * 2^whole. */
#if defined(__AVX512F__)
INLINE vec vec_split(vec x, vec *whole)
{
    *whole = (vec)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return x - *whole;
}

INLINE vec vec_scale(vec p, vec whole)
{
    return (vec)_mm512_scalef_ps((__m512)p, (__m512)whole);
}
#else
INLINE vec vec_split(vec x, vec *whole)
{
    *whole = x + vec_splat(12582912.0f); /* 1.5 * 2^23: to nearest integer, in the low bits */
    return x - (*whole - vec_splat(12582912.0f));
}

INLINE vec vec_scale(vec p, vec whole)
{
    return p * (vec)((vec_u32)(whole + vec_splat(127.0f)) << 23);
}
#endif

/* 2^x for x <= 0, at least 2^-126; NaN stays NaN. The polynomial of the rest, highest power first.
 */
INLINE vec vec_exp2_by(const float *c, size_t n, vec x)
{
    vec whole, r = vec_split(vec_max(vec_splat(-126.0f), x), &whole);
    vec p = vec_splat(c[0]);
    for (size_t i = 1; i < n; i++)
        p = p * r + vec_splat(c[i]);
    return vec_scale(p, whole);
}

/* To 3e-6 of it: enough for a BF16. */
INLINE vec vec_exp2_short(vec x)
{
    static const float c[] = {9.570101908e-3f, 5.591786032e-2f, 2.402474483e-1f, 6.931218147e-1f,
                              9.999992614e-1f};
    return vec_exp2_by(c, sizeof c / sizeof *c, x);
}

/* To 2 ulp. */
INLINE vec vec_exp2(vec x)
{
    static const float c[] = {1.535336188319500e-4f,
                              1.339887440266574e-3f,
                              9.618437357674640e-3f,
                              5.550332471162809e-2f,
                              2.402264791363012e-1f,
                              6.931472028550421e-1f,
                              1.0f};
    return vec_exp2_by(c, sizeof c / sizeof *c, x);
}

/*
 * 2^x to 2 ulp; 0 below -126, and 2^127.4 above that, never infinity. NaN stays
 * NaN: every comparison is written so that NaN takes the branch that keeps x.
 */
INLINE float exp2_of(float x)
{
    float clamped = x > 127.4f ? 127.4f : x;
    clamped = clamped < -126.0f ? -126.0f : clamped;
    float rounded = (clamped + 12582912.0f) - 12582912.0f; /* 1.5 * 2^23: to nearest integer */
    float r = clamped - rounded;
    /* Minimax on [-0.5, 0.5]; relative error 2e-8. */
    float p = 1.535336188319500e-4f;
    p = p * r + 1.339887440266574e-3f;
    p = p * r + 9.618437357674640e-3f;
    p = p * r + 5.550332471162809e-2f;
    p = p * r + 2.402264791363012e-1f;
    p = p * r + 6.931472028550421e-1f;
    p = p * r + 1.0f;
    float bits = clamped + 12582912.0f + 127.0f; /* the exponent in the low bits */
    uint32_t exponent;
    memcpy(&exponent, &bits, sizeof exponent);
    exponent <<= 23;
    float power;
    memcpy(&power, &exponent, sizeof power);
    float y = p * power; /* of a NaN: p is one */
    return x < -126.0f ? 0.0f : y;
}

INLINE float exp_of(float x)
{
    return exp2_of(x * 1.44269504088896341f);
}

INLINE float silu_of(float x)
{
    return x / (1.0f + exp_of(-x));
}

INLINE float quick_gelu_of(float x)
{
    return x / (1.0f + exp_of(-1.702f * x));
}

/*
 * x * (1 + erf(x / sqrt 2)) / 2 with Abramowitz and Stegun 7.1.26 (absolute
 * error 1.5e-7); the complement is computed directly, so that the negative tail
 * keeps its digits.
 */
INLINE float gelu_of(float x)
{
    float z = x < 0 ? -x : x;
    z *= 0.70710678118654752f;
    float t = 1.0f / (1.0f + 0.3275911f * z);
    float p = 1.061405429f;
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    float complement = p * t * exp_of(-z * z); /* 1 - erf(z) */
    float twice = x < 0 ? complement : 2.0f - complement;
    return 0.5f * x * twice;
}

INLINE float soft_clamp_of(float x)
{
    float e = exp_of(x * (2.0f / 3.0f));
    return 3.0f - 6.0f / (e + 1.0f);
}
