/*
 * The transforms of winograd.c, four outputs of a 3-tap filter from six products (Toom-Cook), in
 * both directions. Compiled once per instruction set; see kernels.h.
 *
 * The points are 0, 5/8, -5/8, 3/2, -3/2 and infinity: among small fractions those that lose the
 * least in F32, 2.2e-6 of a product over 640 channels against 5.3e-6 with 1 and 2 (4.7e-7 without
 * any transform).
 */
#include "compute/cpu/kernels_private.h"
#include "compute/cpu/vector.h"

#define P 0.625f
#define Q 1.5f
#define P2 (P * P)
#define Q2 (Q * Q)
#define POINTS WINOGRAD_POINTS
#define OUTPUTS WINOGRAD_OUTPUTS

/* Six inputs, elements `step` apart. */
INLINE void input_1d(const vec *d, size_t step, vec *v, size_t v_step)
{
    vec d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step];
    vec even = d4 - Q2 * d2, odd = P * d3 - (P * Q2) * d1;
    vec even2 = d4 - P2 * d2, odd2 = Q * d3 - (Q * P2) * d1;
    v[0] = (P2 * Q2) * d0 - (P2 + Q2) * d2 + d4;
    v[v_step] = even + odd;
    v[2 * v_step] = even - odd;
    v[3 * v_step] = even2 + odd2;
    v[4 * v_step] = even2 - odd2;
    v[5 * v_step] = (P2 * Q2) * d1 - (P2 + Q2) * d3 + d[5 * step];
}

/* Three taps of a filter. */
INLINE void filter_1d(const vec *g, size_t step, vec *u, size_t u_step)
{
    const float p = 1.0f / (2.0f * P2 * (P2 - Q2)), q = 1.0f / (2.0f * Q2 * (Q2 - P2));
    vec g0 = g[0], g1 = g[step], g2 = g[2 * step];
    vec even = p * g0 + (p * P2) * g2, odd = (p * P) * g1;
    vec even2 = q * g0 + (q * Q2) * g2, odd2 = (q * Q) * g1;
    u[0] = (1.0f / (P2 * Q2)) * g0;
    u[u_step] = even + odd;
    u[2 * u_step] = even - odd;
    u[3 * u_step] = even2 + odd2;
    u[4 * u_step] = even2 - odd2;
    u[5 * u_step] = g2;
}

INLINE void output_1d(const vec *m, size_t step, vec *y, size_t y_step)
{
    vec sum = m[step] + m[2 * step], difference = m[step] - m[2 * step];
    vec sum2 = m[3 * step] + m[4 * step], difference2 = m[3 * step] - m[4 * step];
    y[0] = m[0] + sum + sum2;
    y[y_step] = P * difference + Q * difference2;
    y[2 * y_step] = P2 * sum + Q2 * sum2;
    y[3 * y_step] = (P2 * P) * difference + (Q2 * Q) * difference2 + m[5 * step];
}

void KERNELS_WINOGRAD_WEIGHTS(const float *panel, size_t in, float *to, size_t stride)
{
    size_t tap = in * 2 * VECTOR;
    for (size_t i = 0; i < tap; i += VECTOR) {
        vec g[9], t[3 * POINTS], u[POINTS * POINTS];
        for (size_t k = 0; k < 9; k++)
            g[k] = vec_load(panel + k * tap + i);
        for (size_t x = 0; x < 3; x++)
            filter_1d(g + x, 3, t + x, 3);
        for (size_t y = 0; y < POINTS; y++)
            filter_1d(t + 3 * y, 1, u + POINTS * y, 1);
        for (size_t k = 0; k < POINTS * POINTS; k++)
            vec_store(to + k * stride + i, u[k]);
    }
}

INLINE void input_2d(const float *x, size_t row, size_t pixel, float *to, size_t stride)
{
    vec d[POINTS], t[POINTS * POINTS], v[POINTS];
    for (size_t i = 0; i < POINTS; i++) {
        for (size_t k = 0; k < POINTS; k++)
            d[k] = vec_load(x + k * row + i * pixel);
        input_1d(d, 1, t + i, POINTS);
    }
    for (size_t i = 0; i < POINTS; i++) {
        input_1d(t + POINTS * i, 1, v, 1);
        for (size_t k = 0; k < POINTS; k++)
            vec_store(to + (POINTS * i + k) * stride, v[k]);
    }
}

void KERNELS_WINOGRAD_INPUT(const float *x, size_t row, size_t pixel, size_t channels, float *to,
                            size_t stride)
{
    size_t c = 0;
    for (; c + VECTOR <= channels; c += VECTOR)
        input_2d(x + c, row, pixel, to + c, stride);
    if (c == channels)
        return;
    /* The last few through a copy: nothing is read or written beside them. */
    size_t rest = channels - c;
    float from[POINTS * POINTS * VECTOR] = {0}, made[POINTS * POINTS * VECTOR];
    for (size_t k = 0; k < POINTS * POINTS; k++)
        memcpy(from + k * VECTOR, x + c + k / POINTS * row + k % POINTS * pixel,
               rest * sizeof *from);
    input_2d(from, POINTS * VECTOR, VECTOR, made, VECTOR);
    for (size_t k = 0; k < POINTS * POINTS; k++)
        memcpy(to + c + k * stride, made + k * VECTOR, rest * sizeof *to);
}

void KERNELS_WINOGRAD_OUTPUT(const float *m, size_t stride, const float *start,
                             const float *residual, float *y, size_t row, size_t pixel)
{
    for (size_t i = 0; i < 2 * VECTOR; i += VECTOR) {
        vec t[OUTPUTS * POINTS], out[OUTPUTS], from = vec_load(start + i);
        for (size_t x = 0; x < POINTS; x++) {
            vec column[POINTS];
            for (size_t k = 0; k < POINTS; k++)
                column[k] = vec_load(m + (k * POINTS + x) * stride + i);
            output_1d(column, 1, t + x, POINTS);
        }
        for (size_t r = 0; r < OUTPUTS; r++) {
            output_1d(t + r * POINTS, 1, out, 1);
            for (size_t k = 0; k < OUTPUTS; k++) {
                size_t at = r * row + k * pixel + i;
                vec v = out[k] + from;
                vec_store(y + at, residual ? v + vec_load(residual + at) : v);
            }
        }
    }
}
