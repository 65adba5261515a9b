#include "engine/picture.h"

#include <math.h>

struct picture picture_ref(const struct picture *picture)
{
    struct picture copy = *picture;

    if (copy.rgb)
        g_bytes_ref(copy.rgb);
    return copy;
}

void picture_clear(struct picture *picture)
{
    g_clear_pointer(&picture->rgb, g_bytes_unref);
    picture->width = picture->height = 0;
}

bool picture_from_floats(struct picture *picture, const float *values, int width, int height)
{
    size_t n = (size_t)width * height * 3;
    guint8 *rgb = g_malloc(n);

    for (size_t i = 0; i < n; i++) {
        if (!isfinite(values[i])) {
            g_free(rgb);
            return false;
        }
        rgb[i] = (guint8)lrintf(CLAMP(values[i] * 0.5f + 0.5f, 0.0f, 1.0f) * 255.0f);
    }
    *picture = (struct picture){width, height, g_bytes_new_take(rgb, n)};
    return true;
}

struct picture picture_scaled(const struct picture *picture, int width, int height)
{
    size_t n = (size_t)width * height * 3;
    guint8 *to = g_malloc(n);
    const guint8 *from = g_bytes_get_data(picture->rgb, NULL);

    for (int y = 0; y < height; y++) {
        size_t row = (size_t)((int64_t)y * picture->height / height) * picture->width;

        for (int x = 0; x < width; x++) {
            const guint8 *pixel = from + (row + (int64_t)x * picture->width / width) * 3;
            guint8 *target = to + ((size_t)y * width + x) * 3;

            target[0] = pixel[0];
            target[1] = pixel[1];
            target[2] = pixel[2];
        }
    }
    return (struct picture){width, height, g_bytes_new_take(to, n)};
}
