/*
 * A picture in memory: 8 bits of red, green and blue a pixel, rows from the top, no padding.
 * Immutable once made, so it may cross threads (GBytes; a GdkMemoryTexture can hold the same
 * bytes). Plain struct; picture_clear() drops the reference.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#define PICTURE_SIDE_MAX 16384
#define PICTURE_PIXELS_MAX ((size_t)64 << 20)

struct picture {
    int width, height;
    GBytes *rgb; /* width * height * 3 bytes */
};

/* A second reference to the same pixels. */
struct picture picture_ref(const struct picture *picture);
void picture_clear(struct picture *picture); /* an empty one is fine */

/* From [h, w, 3] floats, -1 to 1 (clamped, rounded to nearest). False and no picture when a value
 * is not finite. */
bool picture_from_floats(struct picture *picture, const float *values, int width, int height);

/*
 * A PNG with text. Encoding happens in memory, so that what reaches the disk is whole (save.h).
 * `parameters` (UTF-8, NULL = none) becomes a tEXt chunk of that key when it fits Latin-1, else an
 * uncompressed iTXt, as Pillow writes it for A1111.
 */
GBytes *picture_encode_png(const struct picture *picture, const char *parameters, GError **error);
/* Quality 1 to 100. `parameters` go into EXIF's UserComment, UTF-16BE, as A1111 does. */
GBytes *picture_encode_jpeg(const struct picture *picture, int quality, const char *parameters,
                            GError **error);

/*
 * Reads a PNG (8 or 16 bits, grey or palette too; transparency is laid over white). `texts`, when
 * not NULL, gets a hash table key -> value (UTF-8) of its tEXt, zTXt and iTXt chunks; `picture` may
 * be NULL to read only those. Limits: 256 MiB, 16384 pixels a side, 64 Mpx, 64 chunks of text, 1
 * MiB each. Fails with a sentence that names the file; never crashes on any bytes (fuzzed).
 */
bool picture_read_png(const char *path, struct picture *picture, GHashTable **texts,
                      GError **error);
/* A PNG or a JPEG, by its first bytes; the same limits. */
bool picture_read(const char *path, struct picture *picture, GError **error);
/* The same from memory; `name` is for messages. */
bool picture_decode_png(GBytes *bytes, const char *name, struct picture *picture,
                        GHashTable **texts, GError **error);
/* A whole ordinary file of at most 256 MiB. */
GBytes *picture_load(const char *path, GError **error);
/* The text of EXIF's UserComment of a JPEG, or NULL with an error. */
char *picture_read_jpeg_comment(const char *path, GError **error);
