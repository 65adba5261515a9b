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
