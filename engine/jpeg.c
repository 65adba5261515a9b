/*
 * JPEG out through stb_image_write, with the settings in EXIF's UserComment (tag 0x9286), and that
 * comment back, or a plain one. Foreign JPEG pixels are never decoded here.
 */
#include "engine/engine.h"

#include <glib/gi18n-lib.h>
#include <string.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#include <stb/stb_image_write.h>
#pragma GCC diagnostic pop

#define TAG_EXIF_IFD 0x8769
#define TAG_USER_COMMENT 0x9286
#define SEGMENT_MAX 65535 /* with its own two length bytes */

static void append(void *out, void *data, int size)
{
    g_byte_array_append(out, data, (guint)size);
}

static void append16(GByteArray *out, guint16 value)
{
    guint8 bytes[2] = {(guint8)(value >> 8), (guint8)value};

    g_byte_array_append(out, bytes, 2);
}

static void append32(GByteArray *out, guint32 value)
{
    append16(out, (guint16)(value >> 16));
    append16(out, (guint16)value);
}

/* APP1 with one tag: TIFF header, IFD0 -> Exif IFD -> UserComment. NULL when it is too long. */
static GByteArray *exif_segment(const char *parameters)
{
    gsize size = 0;
    g_autofree char *text = g_convert(parameters, -1, "UTF-16BE", "UTF-8", NULL, &size, NULL);
    GByteArray *out;

    if (!text || size > SEGMENT_MAX - 60)
        return NULL;
    out = g_byte_array_new();
    append16(out, 0xffe1);
    append16(out, (guint16)(2 + 6 + 8 + 18 + 18 + 8 + size));
    g_byte_array_append(out, (const guint8 *)"Exif\0\0MM\0*\0\0\0\10", 14);
    append16(out, 1); /* IFD0, at 8 from the TIFF header */
    append16(out, TAG_EXIF_IFD);
    append16(out, 4); /* LONG */
    append32(out, 1);
    append32(out, 26);
    append32(out, 0);
    append16(out, 1); /* Exif IFD, at 26 */
    append16(out, TAG_USER_COMMENT);
    append16(out, 7); /* UNDEFINED */
    append32(out, (guint32)(8 + size));
    append32(out, 44);
    append32(out, 0);
    g_byte_array_append(out, (const guint8 *)"UNICODE\0", 8);
    g_byte_array_append(out, (const guint8 *)text, (guint)size);
    return out;
}

GBytes *picture_encode_jpeg(const struct picture *picture, int quality, const char *parameters,
                            GError **error)
{
    g_autoptr(GByteArray) jpeg = g_byte_array_new();
    GByteArray *exif = NULL, *out;

    if (parameters && !(exif = exif_segment(parameters))) {
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_INPUT,
                    _("The prompt is too long to be kept in a JPEG file (64 KB); save as PNG."));
        return NULL;
    }
    if (!stbi_write_jpg_to_func(append, jpeg, picture->width, picture->height, 3,
                                g_bytes_get_data(picture->rgb, NULL), quality)) {
        g_clear_pointer(&exif, g_byte_array_unref);
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_INPUT,
                    _("The picture can't be written as a JPEG."));
        return NULL;
    }
    out = g_byte_array_new();
    g_byte_array_append(out, jpeg->data, 2);
    if (exif)
        g_byte_array_append(out, exif->data, exif->len);
    g_clear_pointer(&exif, g_byte_array_unref);
    g_byte_array_append(out, jpeg->data + 2, jpeg->len - 2);
    return g_byte_array_free_to_bytes(out);
}

/* ---- reading the comment: every number from the file is checked against what is left ---- */

struct tiff {
    const guint8 *data;
    size_t size;
    bool little;
};

static guint32 number(const struct tiff *t, size_t at, int bytes)
{
    guint32 value = 0;

    if (at > t->size || t->size - at < (size_t)bytes)
        return 0;
    for (int i = 0; i < bytes; i++)
        value |= (guint32)t->data[at + i] << 8 * (t->little ? i : bytes - 1 - i);
    return value;
}

/* Offset of the 12 bytes of an entry, or 0. */
static size_t find_tag(const struct tiff *t, size_t ifd, guint16 tag)
{
    guint32 n = number(t, ifd, 2);

    for (guint32 i = 0; i < n; i++) {
        size_t entry = ifd + 2 + (size_t)i * 12;

        if (entry > t->size || t->size - entry < 12)
            return 0;
        if (number(t, entry, 2) == tag)
            return entry;
    }
    return 0;
}

static char *user_comment(const guint8 *data, size_t size)
{
    struct tiff t = {data, size, size >= 2 && data[0] == 'I'};
    size_t entry, count, offset;
    const char *from = t.little ? "UTF-16LE" : "UTF-16BE";

    if (!(entry = find_tag(&t, number(&t, 4, 4), TAG_EXIF_IFD)) ||
        !(entry = find_tag(&t, number(&t, entry + 8, 4), TAG_USER_COMMENT)))
        return NULL;
    count = number(&t, entry + 4, 4);
    offset = number(&t, entry + 8, 4);
    if (count < 8 || offset > size || size - offset < count)
        return NULL;
    if (memcmp(data + offset, "UNICODE\0", 8) == 0) {
        /* A1111 (piexif) writes big-endian whatever the header says. */
        if (count >= 10 && data[offset + 8] == 0)
            from = "UTF-16BE";
        return g_convert((const char *)data + offset + 8, (gssize)(count - 8), "UTF-8", from, NULL,
                         NULL, NULL);
    }
    if (memcmp(data + offset, "ASCII\0\0\0", 8) == 0 &&
        g_utf8_validate((const char *)data + offset + 8, (gssize)(count - 8), NULL))
        return g_strndup((const char *)data + offset + 8, count - 8);
    return NULL;
}

/* stable-diffusion.cpp's comment: "parameters", NUL, text, NUL. */
static char *plain_comment(const guint8 *data, size_t size)
{
    static const char key[] = "parameters";
    g_autofree char *text = NULL;

    if (size <= sizeof key || memcmp(data, key, sizeof key) != 0)
        return NULL;
    text = g_strndup((const char *)data + sizeof key, size - sizeof key);
    return g_utf8_validate(text, -1, NULL) ? g_steal_pointer(&text) : NULL;
}

char *picture_read_jpeg_comment(const char *path, GError **error)
{
    g_autoptr(GBytes) bytes = picture_load(path, error);
    g_autofree char *name = g_path_get_basename(path);
    const guint8 *data;
    size_t size, at = 2;

    if (!bytes)
        return NULL;
    data = g_bytes_get_data(bytes, &size);
    if (size < 4 || data[0] != 0xff || data[1] != 0xd8) {
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_INPUT, _("“%s” is not a JPEG picture."),
                    name);
        return NULL;
    }
    while (size - at >= 4 && data[at] == 0xff && data[at + 1] != 0xda) {
        size_t length = (size_t)data[at + 2] << 8 | data[at + 3];
        char *comment;

        if (length < 2 || length > size - at - 2)
            break;
        if (data[at + 1] == 0xe1 && length >= 8 && memcmp(data + at + 4, "Exif\0\0", 6) == 0 &&
            (comment = user_comment(data + at + 10, length - 8)))
            return comment;
        if (data[at + 1] == 0xfe && (comment = plain_comment(data + at + 4, length - 2)))
            return comment;
        at += 2 + length;
    }
    g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_INPUT, _("“%s” carries no settings."), name);
    return NULL;
}
