/* PNG files chunk by chunk, for tests that need what libpng would not write. */
#pragma once

#include <glib.h>
#include <string.h>
#include <zlib.h>

static inline void chunks_put32(GByteArray *out, guint32 value)
{
    guint8 bytes[4] = {(guint8)(value >> 24), (guint8)(value >> 16), (guint8)(value >> 8),
                       (guint8)value};

    g_byte_array_append(out, bytes, 4);
}

static inline void chunks_put(GByteArray *out, const char *type, const void *data, guint size)
{
    guint at = out->len + 4;

    chunks_put32(out, size);
    g_byte_array_append(out, (const guint8 *)type, 4);
    if (size)
        g_byte_array_append(out, data, size);
    chunks_put32(out, (guint32)crc32(0, out->data + at, size + 4));
}

/* Signature and IHDR: 8 bits, RGB. */
static inline GByteArray *chunks_start(guint32 width, guint32 height)
{
    GByteArray *out = g_byte_array_new();
    guint8 header[13] = {[8] = 8, [9] = 2};

    for (int i = 0; i < 4; i++) {
        header[i] = (guint8)(width >> (24 - 8 * i));
        header[4 + i] = (guint8)(height >> (24 - 8 * i));
    }
    g_byte_array_append(out, (const guint8 *)"\x89PNG\r\n\x1a\n", 8);
    chunks_put(out, "IHDR", header, 13);
    return out;
}

/* The pixel of a picture of 1 x 1, and the end. */
static inline void chunks_finish(GByteArray *out)
{
    guint8 pixel[64];
    uLongf size = sizeof pixel;

    compress2(pixel, &size, (const guint8 *)"\0abc", 4, 9);
    chunks_put(out, "IDAT", pixel, (guint)size);
    chunks_put(out, "IEND", NULL, 0);
}

/* tEXt, zTXt or iTXt (not compressed) with the value's own bytes. */
static inline void chunks_text(GByteArray *out, const char *type, const char *key,
                               const char *value)
{
    g_autoptr(GByteArray) data = g_byte_array_new();
    uLongf size = compressBound(strlen(value));
    g_autofree guint8 *packed = g_malloc(size);

    g_byte_array_append(data, (const guint8 *)key, (guint)strlen(key) + 1);
    if (!strcmp(type, "zTXt")) {
        compress2(packed, &size, (const guint8 *)value, strlen(value), 9);
        g_byte_array_append(data, (const guint8 *)"\0", 1);
        g_byte_array_append(data, packed, (guint)size);
    } else {
        if (!strcmp(type, "iTXt"))
            g_byte_array_append(data, (const guint8 *)"\0\0\0", 4);
        g_byte_array_append(data, (const guint8 *)value, (guint)strlen(value));
    }
    chunks_put(out, type, data->data, data->len);
}
