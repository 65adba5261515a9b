/*
 * FigPicture: one finished picture as the window sees it: where its file is, how it was made, a
 * thumbnail when somebody looks. Immutable but for the properties "favourite", "path" (saved later)
 * and "thumbnail". Main thread only.
 */
#pragma once

#include <gdk/gdk.h>

#define FIG_TYPE_PICTURE (fig_picture_get_type())
G_DECLARE_FINAL_TYPE(FigPicture, fig_picture, FIG, PICTURE, GObject)

struct fig_picture_facts {
    gint64 id;      /* in the history, 0 = not there */
    char *path;     /* NULL while it could not be saved */
    gint64 created; /* Unix time, milliseconds */
    int width, height;
    char *prompt, *negative, *model, *sampler;
    guint64 seed;
    char *parameters;
    gboolean favourite;
    GBytes *rgb; /* the pixels, only while there is no file */
    guint job;   /* that made it in this session, 0 = none */
};

/* Takes the strings and bytes of the facts. */
FigPicture *fig_picture_new_take(struct fig_picture_facts facts);
const struct fig_picture_facts *fig_picture_facts(FigPicture *self);

void fig_picture_set_favourite(FigPicture *self, gboolean favourite);
void fig_picture_set_saved(FigPicture *self, gint64 id, const char *path);

/* A line for people: prompt, size, model, date. g_free(). */
char *fig_picture_describe(FigPicture *self);

/* The whole picture, loaded now (main thread; small files) or from memory. NULL when the file is
 * gone. */
GdkTexture *fig_picture_load(FigPicture *self, GError **error);
/* Pixels that are at hand anyway, so that the file need not be read; NULL = no more. */
void fig_picture_set_fresh(FigPicture *self, GBytes *rgb);

/* Its file, for dragging it out; NULL while it has none. */
GdkContentProvider *fig_picture_content(FigPicture *self);

/*
 * Asks for the thumbnail (at most 256 pixels a side): the property "thumbnail" (GdkPaintable) is
 * set some time later, from a worker thread. Cached in $XDG_CACHE_HOME/figment/thumbnails.
 */
void fig_picture_want_thumbnail(FigPicture *self);
GdkPaintable *fig_picture_get_thumbnail(FigPicture *self); /* borrowed or NULL */
