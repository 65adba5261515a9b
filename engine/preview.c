#include "engine/preview.h"

#include <math.h>
#include <string.h>

#define N (PREVIEW_CHANNELS + 1) /* with the constant */

/* Published by ComfyUI (latent_formats.py), for values -1 to 1. */
static const struct preview sd1 = {
    {{0.3512f, 0.2297f, 0.3227f},
     {0.3250f, 0.4974f, 0.2350f},
     {-0.2829f, 0.1762f, 0.2721f},
     {-0.2120f, -0.2616f, -0.7177f}},
    {0, 0, 0},
    false,
};
static const struct preview sdxl = {
    {{0.3651f, 0.4232f, 0.4341f},
     {-0.2533f, -0.0042f, 0.1068f},
     {0.1076f, 0.1111f, -0.0362f},
     {-0.3165f, -0.2492f, -0.2188f}},
    {0.1084f, -0.0175f, -0.0011f},
    false,
};

void preview_init(struct preview *preview, double scaling)
{
    *preview = fabs(scaling - 0.13025) < 1e-4 ? sdxl : sd1;
}

struct picture preview_picture(const struct preview *preview, const float *latent, int width,
                               int height)
{
    size_t pixels = (size_t)width * height;
    guint8 *rgb = g_malloc(pixels * 3);

    for (size_t i = 0; i < pixels; i++)
        for (int k = 0; k < 3; k++) {
            float value = preview->bias[k];

            for (int c = 0; c < PREVIEW_CHANNELS; c++)
                value += preview->matrix[c][k] * latent[i * PREVIEW_CHANNELS + c];
            value = CLAMP(value * 0.5f + 0.5f, 0.0f, 1.0f); /* a NaN becomes 0 below */
            rgb[i * 3 + k] = (guint8)(value >= 0 ? value * 255 + 0.5f : 0);
        }
    return (struct picture){width, height, g_bytes_new_take(rgb, pixels * 3)};
}

/* Cholesky's method in place: a x = b for 3 right sides. False when `a` is not well positive. */
static bool solve(double a[N][N], double b[N][3])
{
    for (int j = 0; j < N; j++) {
        for (int k = 0; k < j; k++)
            a[j][j] -= a[j][k] * a[j][k];
        if (!(a[j][j] > 1e-9))
            return false;
        a[j][j] = sqrt(a[j][j]);
        for (int i = j + 1; i < N; i++) {
            for (int k = 0; k < j; k++)
                a[i][j] -= a[i][k] * a[j][k];
            a[i][j] /= a[j][j];
        }
    }
    for (int k = 0; k < 3; k++) {
        for (int i = 0; i < N; i++) {
            for (int j = 0; j < i; j++)
                b[i][k] -= a[i][j] * b[j][k];
            b[i][k] /= a[i][i];
        }
        for (int i = N; i-- > 0;) {
            for (int j = i + 1; j < N; j++)
                b[i][k] -= a[j][i] * b[j][k];
            b[i][k] /= a[i][i];
        }
    }
    return true;
}

void preview_fit(struct preview *preview, const float *latent, int width, int height,
                 const float *picture, int factor)
{
    double a[N][N] = {{0}}, b[N][3] = {{0}}, cells = (double)width * height;

    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            double v[N] = {1}, colour[3] = {0};

            for (int c = 0; c < PREVIEW_CHANNELS; c++)
                v[c + 1] = latent[((size_t)y * width + x) * PREVIEW_CHANNELS + c];
            for (int i = 0; i < factor * factor; i++) {
                const float *pixel = picture + (((size_t)y * factor + i / factor) * width * factor +
                                                (size_t)x * factor + i % factor) *
                                                   3;

                for (int k = 0; k < 3; k++)
                    colour[k] += CLAMP(pixel[k], -1.0f, 1.0f) / (factor * factor);
            }
            for (int i = 0; i < N; i++) {
                for (int j = 0; j <= i; j++)
                    a[i][j] += v[i] * v[j] / cells;
                for (int k = 0; k < 3; k++)
                    b[i][k] += v[i] * colour[k] / cells;
            }
        }
    for (int i = 1; i < N; i++) /* a little towards zero: one picture may lack a direction */
        a[i][i] += 1e-3;
    if (!solve(a, b))
        return;
    for (int k = 0; k < 3; k++) {
        preview->bias[k] = (float)b[0][k];
        for (int c = 0; c < PREVIEW_CHANNELS; c++)
            preview->matrix[c][k] = (float)b[c + 1][k];
    }
    preview->fitted = true;
}
