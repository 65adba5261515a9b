/*
 * Pictures that img2img starts from: PNG by png.c, JPEG through gdk-pixbuf, which is kept up to
 * date by the system. Sizes are checked before a pixel is decoded.
 */
#include "engine/engine.h"

#include <glib/gi18n-lib.h>
#include <string.h>

#ifdef FIGMENT_HAVE_PIXBUF
#include <gdk-pixbuf/gdk-pixbuf.h>

static void check_size(GdkPixbufLoader *loader, int width, int height, gpointer data)
{
    bool *too_large = data;

    if (width > PICTURE_SIDE_MAX || height > PICTURE_SIDE_MAX ||
        (size_t)width * (size_t)height > PICTURE_PIXELS_MAX) {
        *too_large = true;
        gdk_pixbuf_loader_set_size(loader, 1, 1);
    }
}

static struct picture from_pixbuf(const GdkPixbuf *pixbuf)
{
    int width = gdk_pixbuf_get_width(pixbuf), height = gdk_pixbuf_get_height(pixbuf);
    int channels = gdk_pixbuf_get_n_channels(pixbuf), stride = gdk_pixbuf_get_rowstride(pixbuf);
    const guint8 *from = gdk_pixbuf_read_pixels(pixbuf);
    guint8 *rgb = g_malloc((gsize)width * height * 3);

    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            memcpy(rgb + ((gsize)y * width + x) * 3, from + (gsize)y * stride + (gsize)x * channels,
                   3);
    return (struct picture){width, height, g_bytes_new_take(rgb, (gsize)width * height * 3)};
}

static bool decode_jpeg(GBytes *bytes, const char *name, struct picture *picture, GError **error)
{
    GdkPixbufLoader *loader = gdk_pixbuf_loader_new_with_type("jpeg", NULL);
    GError *problem = NULL;
    bool too_large = false, ok = loader != NULL;

    if (ok)
        g_signal_connect(loader, "size-prepared", G_CALLBACK(check_size), &too_large);
    ok = ok && gdk_pixbuf_loader_write_bytes(loader, bytes, &problem);
    ok = (!loader || gdk_pixbuf_loader_close(loader, ok ? &problem : NULL)) && ok;
    if (ok && !too_large && gdk_pixbuf_loader_get_pixbuf(loader)) {
        g_autoptr(GdkPixbuf) upright =
            gdk_pixbuf_apply_embedded_orientation(gdk_pixbuf_loader_get_pixbuf(loader));

        *picture = from_pixbuf(upright);
    } else if (too_large) {
        ok = engine_input_error(error, _("“%s” is too large. The limit is %d pixels a side."), name,
                                PICTURE_SIDE_MAX);
    } else {
        ok = engine_input_error(error, _("“%s” is damaged, or no JPEG that can be read here."),
                                name);
    }
    g_clear_error(&problem);
    g_clear_object(&loader);
    return ok;
}
#else
static bool decode_jpeg(GBytes *bytes, const char *name, struct picture *picture, GError **error)
{
    (void)bytes;
    (void)picture;
    return engine_input_error(error, _("“%s” is a JPEG, which this build can't read; use a PNG."),
                              name);
}
#endif

bool picture_read(const char *path, struct picture *picture, GError **error)
{
    g_autofree char *name = g_path_get_basename(path);
    g_autoptr(GBytes) bytes = picture_load(path, error);
    const guint8 *data;
    gsize size;

    if (!bytes)
        return false;
    data = g_bytes_get_data(bytes, &size);
    if (size >= 3 && data[0] == 0xff && data[1] == 0xd8 && data[2] == 0xff)
        return decode_jpeg(bytes, name, picture, error);
    return picture_decode_png(bytes, name, picture, NULL, error);
}
