/* The picture that img2img starts from, read and brought to size. */
#pragma once

#include <glib.h>

/* A PNG as [height, width, 3], -1 to 1, stretched to the size (area average when it shrinks, linear
 * when it grows), as A1111's "just resize". g_free(). */
float *init_load(const char *path, int width, int height, GError **error);
