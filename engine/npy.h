/*
 * NumPy's .npy files of F32, C order: the only arrays that cross the command line. Any thread.
 * Source: numpy/lib/format.py (version 1.0 written; 1.0 and 2.0 read).
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define NPY_MAX_RANK 4

/* g_free(). Fails with a sentence when the file is no little-endian F32 array in C order of at most
 * 1 GiB. */
float *npy_read(const char *path, int *rank, int64_t *dims, GError **error);
bool npy_write(const char *path, const float *data, int rank, const int64_t *dims, GError **error);

/* [B, H, W, C] to [B, C, H, W], for files, and back. */
void npy_to_torch(const float *from, float *to, int64_t batch, int64_t height, int64_t width,
                  int64_t channels);
void npy_from_torch(const float *from, float *to, int64_t batch, int64_t height, int64_t width,
                    int64_t channels);
