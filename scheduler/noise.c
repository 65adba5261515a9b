#include "scheduler/noise.h"

#include <glib.h>
#include <math.h>
#include <string.h>

enum { MT_WORDS = 624, MT_SHIFT = 397, LANES = 8 };

static void mt_refill(struct noise *noise)
{
    uint32_t *s = noise->state;
    for (int i = 0; i < MT_WORDS; i++) {
        uint32_t y = (s[i] & 0x80000000u) | (s[(i + 1) % MT_WORDS] & 0x7fffffffu);
        s[i] = s[(i + MT_SHIFT) % MT_WORDS] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    noise->used = 0;
}

static uint32_t mt_next(struct noise *noise)
{
    if (noise->used == MT_WORDS)
        mt_refill(noise);
    uint32_t y = noise->state[noise->used++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

void noise_init(struct noise *noise, enum noise_kind kind, uint64_t seed)
{
    *noise = (struct noise){.kind = kind, .seed = seed, .used = MT_WORDS};
    noise->state[0] = (uint32_t)seed;
    for (uint32_t i = 1; i < MT_WORDS; i++) {
        uint32_t last = noise->state[i - 1];
        noise->state[i] = 1812433253u * (last ^ (last >> 30)) + i;
    }
}

/* 24 bits: every float in [0, 1) that torch can give. */
static float uniform_f32(struct noise *noise)
{
    return (float)(mt_next(noise) & 0xffffffu) * 0x1p-24f;
}

/* 53 bits of two words, the high one first. */
static double uniform_f64(struct noise *noise)
{
    uint64_t high = mt_next(noise), low = mt_next(noise);
    return (double)((high << 32 | low) & ((UINT64_C(1) << 53) - 1)) * 0x1p-53;
}

/*
 * Natural logarithm of a positive normal float by the polynomial of Cephes' logf, in the order and
 * with the fused operations of torch's AVX2 build: the last bit depends on each.
 */
static float log_avx2(float x)
{
    static const float p[] = {7.0376836292e-2f,  -1.1514610310e-1f, 1.1676998740e-1f,
                              -1.2420140846e-1f, 1.4249322787e-1f,  -1.6668057665e-1f,
                              2.0000714765e-1f,  -2.4999993993e-1f, 3.3333331174e-1f};
    int exponent;
    float m = frexpf(x, &exponent), e = (float)exponent; /* x = m * 2^e, 0.5 <= m < 1 */
    if (m < 0.707106781186547524f) {
        e -= 1.0f;
        m += m;
    }
    m -= 1.0f;
    float z = m * m, y = p[0];
    for (int i = 1; i < (int)G_N_ELEMENTS(p); i++)
        y = fmaf(y, m, p[i]);
    y *= m;
    y = fmaf(y, z, e * -2.12194440e-4f);
    y = fmaf(z, -0.5f, y);
    return fmaf(e, 0.693359375f, m + y);
}

/* Sine and cosine of 0 <= x < 2 pi, likewise (Cephes' sinf and cosf). */
static void sincos_avx2(float x, float *sine, float *cosine)
{
    int octant = ((int)(x * 1.27323954473516f) + 1) & ~1;
    float j = (float)octant;
    x = fmaf(j, -0.78515625f, x);
    x = fmaf(j, -2.4187564849853515625e-4f, x);
    x = fmaf(j, -3.77489497744594108e-8f, x);
    float z = x * x;
    float c = fmaf(2.443315711809948e-5f, z, -1.388731625493765e-3f);
    c = fmaf(c, z, 4.166664568298827e-2f) * z;
    c = fmaf(c, z, -(z * 0.5f)) + 1.0f;
    float s = fmaf(-1.9515295891e-4f, z, 8.3321608736e-3f);
    s = fmaf(s, z, -1.6666654611e-1f) * z;
    s = fmaf(s, x, x);
    bool swap = octant & 2;
    *sine = swap ? c : s;
    *cosine = swap ? s : c;
    if (octant & 4)
        *sine = -*sine;
    if (!((octant - 2) & 4))
        *cosine = -*cosine;
}

/* Box-Muller on 16 uniform values in place: value k and value k + 8 make a pair. */
static void normal_16(float *values, bool libm)
{
    for (int k = 0; k < LANES; k++) {
        float u1 = 1.0f - values[k], u2 = values[k + LANES];
        float radius, s, c;
        if (libm) {
            radius = sqrtf(-2.0f * logf(u1));
            float theta = (float)(2.0 * G_PI * (double)u2);
            s = sinf(theta);
            c = cosf(theta);
        } else {
            radius = sqrtf(-2.0f * log_avx2(u1));
            sincos_avx2((float)(2.0 * G_PI) * u2, &s, &c);
        }
        values[k] = radius * c;
        values[k + LANES] = radius * s;
    }
}

static void draw_large(struct noise *noise, float *values, size_t n)
{
    bool libm = noise->kind == NOISE_CPU_LIBM;
    for (size_t i = 0; i < n; i++)
        values[i] = uniform_f32(noise);
    for (size_t i = 0; i + 16 <= n; i += 16)
        normal_16(values + i, libm);
    if (n % 16 == 0)
        return;
    /* The last 16 values are drawn anew, over some that were already normal. */
    for (size_t i = n - 16; i < n; i++)
        values[i] = uniform_f32(noise);
    normal_16(values + n - 16, libm);
}

static void draw_small(struct noise *noise, float *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (noise->has_spare) {
            noise->has_spare = false;
            values[i] = (float)noise->spare;
            continue;
        }
        double u1 = uniform_f64(noise), u2 = uniform_f64(noise);
        double radius = sqrt(-2.0 * log1p(-u2)), theta = 2.0 * G_PI * u1;
        noise->spare = radius * sin(theta);
        noise->has_spare = true;
        values[i] = (float)(radius * cos(theta));
    }
}

static void philox_round(uint32_t c[4], uint32_t k0, uint32_t k1)
{
    uint64_t a = UINT64_C(0xD2511F53) * c[0], b = UINT64_C(0xCD9E8D57) * c[2];
    uint32_t c1 = c[1], c3 = c[3];
    c[0] = (uint32_t)(b >> 32) ^ c1 ^ k0;
    c[1] = (uint32_t)b;
    c[2] = (uint32_t)(a >> 32) ^ c3 ^ k1;
    c[3] = (uint32_t)a;
}

static void draw_philox(struct noise *noise, float *values, size_t n)
{
    /* A1111 rounds both factors to float and goes on in doubles. */
    static const float to_unit = 2.3283064e-10f, to_angle = (float)(2.3283064e-10 * 6.2831855);
    for (size_t i = 0; i < n; i++) {
        uint32_t c[4] = {noise->draws, 0, (uint32_t)i, 0};
        uint32_t k0 = (uint32_t)noise->seed, k1 = (uint32_t)(noise->seed >> 32);
        for (int round = 0; round < 10; round++) {
            philox_round(c, k0, k1);
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        double u = (double)c[0] * to_unit + (double)(to_unit / 2);
        double v = (double)c[1] * to_angle + (double)(to_angle / 2);
        values[i] = (float)(sqrt(-2.0 * log(u)) * sin(v));
    }
    noise->draws++;
}

void noise_draw(struct noise *noise, float *values, size_t n)
{
    if (noise->kind == NOISE_GPU)
        draw_philox(noise, values, n);
    else if (n >= 16)
        draw_large(noise, values, n);
    else
        draw_small(noise, values, n);
}

/* Cosine of the angle between two columns of `height` values, `stride` apart. */
static double column_cosine(const float *a, const float *b, int height, int stride)
{
    double aa = 0.0, bb = 0.0, ab = 0.0;
    for (int y = 0; y < height; y++) {
        double u = a[(size_t)y * stride], v = b[(size_t)y * stride];
        aa += u * u;
        bb += v * v;
        ab += u * v;
    }
    return aa > 0.0 && bb > 0.0 ? CLAMP(ab / sqrt(aa * bb), -1.0, 1.0) : 1.0;
}

void noise_slerp(float *into, const float *low, const float *high, double strength, int channels,
                 int height, int width)
{
    size_t area = (size_t)height * width, columns = (size_t)channels * width;
    g_autofree double *cosine = g_new(double, columns);
    double sum = 0.0;
    for (int c = 0; c < channels; c++) {
        for (int x = 0; x < width; x++) {
            size_t at = c * area + x;
            sum += cosine[(size_t)c * width + x] =
                column_cosine(low + at, high + at, height, width);
        }
    }
    bool parallel = sum / (double)columns > 0.9995;
    for (int c = 0; c < channels; c++) {
        for (int x = 0; x < width; x++) {
            double omega = acos(cosine[(size_t)c * width + x]), so = sin(omega);
            double on_low = 1.0 - strength, on_high = strength;
            if (parallel) {
                on_low = strength;
                on_high = 1.0 - strength;
            } else if (so > 1e-6) { /* A1111 divides by 0 in a column of one value */
                on_low = sin((1.0 - strength) * omega) / so;
                on_high = sin(strength * omega) / so;
            }
            for (int y = 0; y < height; y++) {
                size_t at = c * area + (size_t)y * width + x;
                into[at] = (float)(on_low * low[at] + on_high * high[at]);
            }
        }
    }
}

/* Copies the middle of a small (or large) noise onto the middle of another. */
static void paste_centred(float *into, int height, int width, const float *from, int from_height,
                          int from_width, int channels)
{
    /* A1111's // rounds down, also below 0. */
    int dx = (int)floor((width - from_width) / 2.0), dy = (int)floor((height - from_height) / 2.0);
    int w = dx >= 0 ? from_width : from_width + 2 * dx;
    int h = dy >= 0 ? from_height : from_height + 2 * dy;
    int tx = MAX(dx, 0), ty = MAX(dy, 0), fx = MAX(-dx, 0), fy = MAX(-dy, 0);
    for (int c = 0; c < channels; c++) {
        for (int y = 0; y < h; y++) {
            const float *source = from + ((size_t)c * from_height + fy + y) * from_width + fx;
            float *target = into + ((size_t)c * height + ty + y) * width + tx;
            memcpy(target, source, sizeof *target * (size_t)w);
        }
    }
}

void noise_first(struct noise *noise, enum noise_kind kind, const struct noise_start *start,
                 float *values)
{
    bool resize = start->from_height > 0 && start->from_width > 0 &&
                  (start->from_height != start->height || start->from_width != start->width);
    int h = resize ? start->from_height : start->height,
        w = resize ? start->from_width : start->width;
    size_t n = (size_t)start->channels * h * w;
    g_autofree float *first = g_new(float, n);
    struct noise own;
    noise_init(noise, kind, start->seed);
    noise_init(&own, kind, start->seed);
    noise_draw(resize ? &own : noise, first, n);
    if (start->variation != 0.0) {
        g_autofree float *other = g_new(float, n);
        noise_init(&own, kind, start->variation_seed);
        noise_draw(&own, other, n);
        noise_slerp(first, first, other, start->variation, start->channels, h, w);
    }
    if (resize) {
        noise_draw(noise, values, (size_t)start->channels * start->height * start->width);
        paste_centred(values, start->height, start->width, first, h, w, start->channels);
    } else {
        memcpy(values, first, sizeof *values * n);
    }
    if (start->eta_delta)
        noise_init(noise, kind, start->seed + (uint64_t)start->eta_delta);
}
