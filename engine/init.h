/*
 * The picture that img2img starts from and the mask of inpainting, read and brought to size. Any
 * thread.
 */
#pragma once

#include <glib.h>

#define MASK_BLUR 4 /* pixels of a mask's border that are blended */

/* A PNG or JPEG as [height, width, 3], -1 to 1, stretched to the size (area average when it
 * shrinks, linear when it grows), as A1111's "just resize". g_free(). */
float *init_load(const char *path, int width, int height, GError **error);
/* The same as a mask [height, width] of 0 and 1: 1 where the picture is light and may change. */
float *mask_load(const char *path, int width, int height, GError **error);
/* A mask of pixels as one of cells [height, width], `factor` pixels a side: 1 where any pixel is.
 */
float *mask_cells(const float *mask, int width, int height, int factor);
/* In place: picture [height, width, 3] with the first one's pixels where the mask is 0, a border of
 * `blur` pixels blended. */
void mask_put_back(float *picture, const float *first, const float *mask, int width, int height,
                   int blur);
