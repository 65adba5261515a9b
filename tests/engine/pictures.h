/* What the tests of history and journal share: small pictures with settings, on disk. */
#pragma once

#include "engine/picture.h"
#include "tests/check.h"

/* 8 x 8 black pixels; parameters NULL: no settings in it. */
static inline void save_picture(const char *folder, const char *name, const char *parameters)
{
    struct picture picture = {8, 8, g_bytes_new_take(g_malloc0(8 * 8 * 3), 8 * 8 * 3)};
    g_autoptr(GBytes) png = picture_encode_png(&picture, parameters, NULL);
    g_autofree char *file = g_build_filename(folder, name, NULL);

    CHECK(g_file_set_contents(file, g_bytes_get_data(png, NULL), (gssize)g_bytes_get_size(png),
                              NULL));
    picture_clear(&picture);
}
