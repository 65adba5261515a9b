/*
 * PNG through libpng's low-level API (its simplified one had three holes in a year), in memory.
 * Limits are set before a byte is parsed. libpng reports errors by longjmp: everything that must
 * survive one lives in a struct that the function with setjmp() got by pointer.
 */
#include "engine/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gi18n-lib.h>
#include <png.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX ((goffset)256 << 20)
#define CHUNKS_MAX 64
#define CHUNK_BYTES_MAX (2u << 20)
#define TEXT_BYTES_MAX ((size_t)1 << 20)

/* ---- writing ---- */

struct writer {
    GByteArray *out;
    png_structp png;
    png_infop info;
    char message[160];
};

static void on_error(png_structp png, png_const_charp message)
{
    char *to = png_get_error_ptr(png);

    g_strlcpy(to, message, 160);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png G_GNUC_UNUSED, png_const_charp message G_GNUC_UNUSED)
{
}

static void on_write(png_structp png, png_bytep data, png_size_t size)
{
    g_byte_array_append(png_get_io_ptr(png), data, (guint)size);
}

static void on_flush(png_structp png G_GNUC_UNUSED)
{
}

static bool write_picture(struct writer *w, const struct picture *picture, png_textp text)
{
    const guint8 *rgb = g_bytes_get_data(picture->rgb, NULL);

    if (setjmp(png_jmpbuf(w->png)))
        return false;
    png_set_write_fn(w->png, w->out, on_write, on_flush);
    png_set_IHDR(w->png, w->info, (png_uint_32)picture->width, (png_uint_32)picture->height, 8,
                 PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    if (text)
        png_set_text(w->png, w->info, text, 1);
    png_write_info(w->png, w->info);
    for (int y = 0; y < picture->height; y++)
        png_write_row(w->png, rgb + (size_t)y * picture->width * 3);
    png_write_end(w->png, NULL);
    return true;
}

GBytes *picture_encode_png(const struct picture *picture, const char *parameters, GError **error)
{
    struct writer w = {.out = g_byte_array_new()};
    png_text text = {.key = (char *)"parameters"};
    g_autofree char *latin = NULL;
    bool ok;

    if (parameters) {
        gsize size = 0;

        latin = g_convert(parameters, -1, "ISO-8859-1", "UTF-8", NULL, &size, NULL);
        text.compression = latin ? PNG_TEXT_COMPRESSION_NONE : PNG_ITXT_COMPRESSION_NONE;
        text.text = latin ? latin : (char *)parameters;
        if (latin)
            text.text_length = size;
        else
            text.itxt_length = strlen(parameters);
        text.lang = text.lang_key = (char *)"";
    }
    w.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, w.message, on_error, on_warning);
    w.info = png_create_info_struct(w.png);
    ok = write_picture(&w, picture, parameters ? &text : NULL);
    png_destroy_write_struct(&w.png, &w.info);
    if (!ok) {
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_INPUT,
                    _("The picture can't be written as a PNG: %s."), w.message);
        g_byte_array_unref(w.out);
        return NULL;
    }
    return g_byte_array_free_to_bytes(w.out);
}

/* ---- reading ---- */

struct reader {
    const guint8 *data;
    size_t size, at;
    png_structp png;
    png_infop info;
    guint8 *rgb; /* whole picture, g_try_malloc */
    png_bytep *rows;
    int width, height;
    bool too_large;
    char message[160];
};

static void on_read(png_structp png, png_bytep data, png_size_t size)
{
    struct reader *r = png_get_io_ptr(png);

    if (size > r->size - r->at)
        png_error(png, _("the file ends too early"));
    memcpy(data, r->data + r->at, size);
    r->at += size;
}

/* UTF-8 without control characters but line feed and tab; NULL when it is too long or no text. */
static char *clean_text(const char *text, size_t length, bool latin)
{
    g_autofree char *utf8 = NULL;
    GString *clean;

    if (length > TEXT_BYTES_MAX)
        return NULL;
    if (latin)
        utf8 = g_convert(text, (gssize)length, "UTF-8", "ISO-8859-1", NULL, NULL, NULL);
    else if (g_utf8_validate(text, (gssize)length, NULL))
        utf8 = g_strndup(text, length);
    if (!utf8)
        return NULL;
    clean = g_string_sized_new(length);
    for (const char *p = utf8; *p; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);

        if (c == '\n' || c == '\t' || (c >= 0x20 && c != 0x7f && !(c >= 0x80 && c < 0xa0)))
            g_string_append_unichar(clean, c);
    }
    return g_string_free(clean, FALSE);
}

/* stable-diffusion.cpp writes UTF-8 where the format says Latin-1. */
static bool is_latin(const png_text *text)
{
    return !text->text ||
           !g_strstr_len(text->text, (gssize)text->text_length, "stable-diffusion.cpp") ||
           !g_utf8_validate(text->text, (gssize)text->text_length, NULL);
}

static void collect_texts(struct reader *r, GHashTable *texts)
{
    png_textp text = NULL;
    int n = png_get_text(r->png, r->info, &text, NULL);

    for (int i = 0; i < n; i++) {
        bool international = text[i].compression >= PNG_ITXT_COMPRESSION_NONE;
        size_t length = international ? text[i].itxt_length : text[i].text_length;
        g_autofree char *key = clean_text(text[i].key, strlen(text[i].key), true);
        char *value = clean_text(text[i].text ? text[i].text : "", length,
                                 !international && is_latin(text + i));

        if (key && value && !g_hash_table_contains(texts, key))
            g_hash_table_insert(texts, g_steal_pointer(&key), value);
        else
            g_free(value);
    }
}

/* After IHDR: everything becomes 8-bit RGB over white. */
static void set_transforms(struct reader *r)
{
    png_color_16 white = {.red = 255, .green = 255, .blue = 255, .gray = 255};
    int type = png_get_color_type(r->png, r->info);

    if (png_get_bit_depth(r->png, r->info) == 16)
        png_set_scale_16(r->png);
    if (type == PNG_COLOR_TYPE_PALETTE)
        png_set_palette_to_rgb(r->png);
    if (type == PNG_COLOR_TYPE_GRAY && png_get_bit_depth(r->png, r->info) < 8)
        png_set_expand_gray_1_2_4_to_8(r->png);
    if (png_get_valid(r->png, r->info, PNG_INFO_tRNS))
        png_set_tRNS_to_alpha(r->png);
    if (type == PNG_COLOR_TYPE_GRAY || type == PNG_COLOR_TYPE_GRAY_ALPHA)
        png_set_gray_to_rgb(r->png);
    if ((type & PNG_COLOR_MASK_ALPHA) || png_get_valid(r->png, r->info, PNG_INFO_tRNS))
        png_set_background(r->png, &white, PNG_BACKGROUND_GAMMA_SCREEN, 0, 1.0);
    png_set_interlace_handling(r->png);
    png_read_update_info(r->png, r->info);
}

static bool read_header(struct reader *r)
{
    if (setjmp(png_jmpbuf(r->png)))
        return false;
    png_set_read_fn(r->png, r, on_read);
    png_set_user_limits(r->png, PICTURE_SIDE_MAX, PICTURE_SIDE_MAX);
    png_set_chunk_cache_max(r->png, CHUNKS_MAX);
    png_set_chunk_malloc_max(r->png, CHUNK_BYTES_MAX);
    png_set_keep_unknown_chunks(r->png, PNG_HANDLE_CHUNK_NEVER, NULL, 0);
    png_set_benign_errors(r->png, 1);
    png_read_info(r->png, r->info);
    r->width = (int)png_get_image_width(r->png, r->info);
    r->height = (int)png_get_image_height(r->png, r->info);
    if ((size_t)r->width * r->height > PICTURE_PIXELS_MAX) {
        r->too_large = true;
        png_error(r->png, "too large");
    }
    return true;
}

static bool read_pixels(struct reader *r)
{
    if (setjmp(png_jmpbuf(r->png)))
        return false;
    set_transforms(r);
    if (png_get_rowbytes(r->png, r->info) != (size_t)r->width * 3)
        png_error(r->png, _("an unknown pixel format"));
    r->rgb = g_try_malloc0((size_t)r->width * 3 * r->height);
    r->rows = g_try_new(png_bytep, r->height);
    if (!r->rgb || !r->rows)
        png_error(r->png, _("too little memory"));
    for (int y = 0; y < r->height; y++)
        r->rows[y] = r->rgb + (size_t)y * r->width * 3;
    png_read_image(r->png, r->rows);
    png_read_end(r->png, r->info);
    return true;
}

/* For what stands after them. libpng has no other way over the pixels. */
static bool skip_pixels(struct reader *r)
{
    if (setjmp(png_jmpbuf(r->png)))
        return false;
    for (int pass = png_set_interlace_handling(r->png); pass > 0; pass--)
        for (int y = 0; y < r->height; y++)
            png_read_row(r->png, NULL, NULL);
    png_read_end(r->png, r->info);
    return true;
}

/* IHDR's own numbers, for a sentence; libpng stops before it tells them. */
static bool over_limits(struct reader *r, guint32 *width, guint32 *height)
{
    if (r->size < 24 || memcmp(r->data + 12, "IHDR", 4) != 0)
        return false;
    memcpy(width, r->data + 16, 4);
    memcpy(height, r->data + 20, 4);
    *width = GUINT32_FROM_BE(*width);
    *height = GUINT32_FROM_BE(*height);
    return r->too_large || *width > PICTURE_SIDE_MAX || *height > PICTURE_SIDE_MAX;
}

static void refuse(struct reader *r, const char *name, GError **error)
{
    guint32 width, height;

    if (over_limits(r, &width, &height))
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_INPUT,
                    _("“%s” is too large (%u × %u). The limit is %d pixels a side and %d million "
                      "in all."),
                    name, width, height, PICTURE_SIDE_MAX, (int)(PICTURE_PIXELS_MAX >> 20));
    else
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_INPUT,
                    _("“%s” is damaged; the picture could not be read (%s)."), name, r->message);
}

static bool decode(struct reader *r, const char *name, struct picture *picture, GHashTable *found,
                   GError **error)
{
    bool header = read_header(r);
    bool whole = header && (picture ? read_pixels(r) : skip_pixels(r));

    if (header && found)
        collect_texts(r, found);
    /* Settings that were read before the damage are worth having. */
    if (whole || (header && !picture && found && g_hash_table_size(found) > 0)) {
        if (picture)
            *picture = (struct picture){
                r->width, r->height,
                g_bytes_new_take(g_steal_pointer(&r->rgb), (size_t)r->width * 3 * r->height)};
        return true;
    }
    refuse(r, name, error);
    return false;
}

bool picture_decode_png(GBytes *bytes, const char *name, struct picture *picture,
                        GHashTable **texts, GError **error)
{
    struct reader r = {0};
    g_autoptr(GHashTable) found = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    bool ok;

    r.data = g_bytes_get_data(bytes, &r.size);
    if (r.size < 8 || png_sig_cmp(r.data, 0, 8))
        return engine_input_error(error, _("“%s” is neither a PNG nor a JPEG picture."), name);
    r.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, r.message, on_error, on_warning);
    r.info = png_create_info_struct(r.png);
    ok = decode(&r, name, picture, texts ? found : NULL, error);
    png_destroy_read_struct(&r.png, &r.info, NULL);
    g_free(r.rgb);
    g_free(r.rows);
    if (ok && texts)
        *texts = g_steal_pointer(&found);
    return ok;
}

GBytes *picture_load(const char *path, GError **error)
{
    g_autofree char *name = g_path_get_basename(path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    g_autofree guint8 *data = NULL;
    size_t at = 0;

    if (fd < 0) {
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_INPUT, _("Can't open “%s”: %s."), path,
                    g_strerror(errno));
        return NULL;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_INPUT,
                    _("Can't open “%s”: it is not an ordinary file."), name);
    } else if (st.st_size > FILE_MAX) {
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_INPUT,
                    _("“%s” is too large for a picture file (the limit is 256 MiB)."), name);
    } else if ((data = g_try_malloc((gsize)st.st_size + 1))) {
        while (at < (size_t)st.st_size) {
            ssize_t n = read(fd, data + at, (size_t)st.st_size - at);

            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0)
                break;
            at += (size_t)n;
        }
    } else {
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_MEMORY, _("Not enough memory for “%s”."),
                    name);
    }
    close(fd);
    return data ? g_bytes_new_take(g_steal_pointer(&data), at) : NULL;
}

bool picture_read_png(const char *path, struct picture *picture, GHashTable **texts, GError **error)
{
    g_autofree char *name = g_path_get_basename(path);
    g_autoptr(GBytes) bytes = picture_load(path, error);

    return bytes && picture_decode_png(bytes, name, picture, texts, error);
}
