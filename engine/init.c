#include "engine/init.h"

#include <math.h>

#include "engine/picture.h"

/* One axis: out[i] = sum of in[first..] by a triangle as wide as the larger of the two pixels. */
static void resample(const float *in, float *out, int from, int to, int stride, int lines,
                     int line_stride_in, int line_stride_out)
{
    double scale = (double)from / to, radius = MAX(scale, 1.0);

    for (int i = 0; i < to; i++) {
        double centre = (i + 0.5) * scale, total = 0;
        int first = MAX((int)floor(centre - radius), 0);
        int last = MIN((int)ceil(centre + radius), from);
        g_autofree double *weights = g_new(double, last - first + 1);

        for (int j = first; j < last; j++) {
            weights[j - first] = MAX(1 - fabs(j + 0.5 - centre) / radius, 0.0);
            total += weights[j - first];
        }
        for (int line = 0; line < lines; line++)
            for (int k = 0; k < 3; k++) {
                double sum = 0;

                for (int j = first; j < last; j++)
                    sum += weights[j - first] *
                           in[(size_t)line * line_stride_in + (size_t)j * stride + k];
                out[(size_t)line * line_stride_out + (size_t)i * stride + k] = (float)(sum / total);
            }
    }
}

float *init_load(const char *path, int width, int height, GError **error)
{
    struct picture picture = {0};
    g_autofree float *in = NULL, *wide = NULL;
    const guint8 *rgb;
    float *out;
    size_t n;

    if (!picture_read(path, &picture, error))
        return NULL;
    n = (size_t)picture.width * picture.height * 3;
    rgb = g_bytes_get_data(picture.rgb, NULL);
    in = g_new(float, n);
    for (size_t i = 0; i < n; i++)
        in[i] = rgb[i] / 127.5f - 1;
    wide = g_new(float, (size_t)width *picture.height * 3);
    out = g_new(float, (size_t)width *height * 3);
    resample(in, wide, picture.width, width, 3, picture.height, picture.width * 3, width * 3);
    /* Columns: pixels of a column lie a row apart, columns three values apart. */
    {
        g_autofree float *turned = g_new(float, (size_t)width *picture.height * 3);
        g_autofree float *turned_out = g_new(float, (size_t)width *height * 3);

        for (int y = 0; y < picture.height; y++)
            for (int x = 0; x < width * 3; x++)
                turned[((size_t)(x / 3) * picture.height + y) * 3 + x % 3] =
                    wide[(size_t)y * width * 3 + x];
        resample(turned, turned_out, picture.height, height, 3, width, picture.height * 3,
                 height * 3);
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width * 3; x++)
                out[(size_t)y * width * 3 + x] =
                    turned_out[((size_t)(x / 3) * height + y) * 3 + x % 3];
    }
    picture_clear(&picture);
    return out;
}

float *mask_load(const char *path, int width, int height, GError **error)
{
    float *picture = init_load(path, width, height, error);
    size_t n = (size_t)width * height;

    for (size_t i = 0; picture && i < n; i++) {
        float *p = picture + i * 3;

        picture[i] = (p[0] + p[1] + p[2]) / 3 >= 0 ? 1 : 0;
    }
    return picture;
}

float *mask_cells(const float *mask, int width, int height, int factor)
{
    float *cells = g_new0(float, (size_t)width *height);

    for (int y = 0; y < height * factor; y++)
        for (int x = 0; x < width * factor; x++)
            if (mask[(size_t)y * width * factor + x] > 0)
                cells[(size_t)(y / factor) * width + x / factor] = 1;
    return cells;
}

/* Along one axis, the mean over 2 * blur + 1 values; beyond the ends the last one counts on. */
static void blur_line(const float *in, float *out, int n, int stride, int blur)
{
    for (int i = 0; i < n; i++) {
        float sum = 0;

        for (int k = -blur; k <= blur; k++)
            sum += in[(size_t)CLAMP(i + k, 0, n - 1) * stride];
        out[(size_t)i * stride] = sum / (float)(2 * blur + 1);
    }
}

void mask_put_back(float *picture, const float *first, const float *mask, int width, int height,
                   int blur)
{
    size_t n = (size_t)width * height;
    g_autofree float *across = g_new(float, n);
    g_autofree float *soft = g_new(float, n);

    for (int y = 0; y < height; y++)
        blur_line(mask + (size_t)y * width, across + (size_t)y * width, width, 1, blur);
    for (int x = 0; x < width; x++)
        blur_line(across + x, soft + x, height, width, blur);
    for (size_t i = 0; i < n * 3; i++)
        picture[i] = first[i] + (picture[i] - first[i]) * soft[i / 3];
}
