#include "ui/picture.h"

#include <gdk-pixbuf/gdk-pixbuf.h>
#include <glib/gi18n.h>
#include <glib/gstdio.h>

#define THUMBNAIL_SIDE 256

struct _FigPicture {
    GObject parent_instance;

    /* Owned */
    struct fig_picture_facts facts;
    GdkPaintable *thumbnail;
    GBytes *fresh; /* pixels, while it is being told that there is a new picture */

    gboolean thumbnail_wanted;
};

enum { PROP_PATH = 1, PROP_FAVOURITE, PROP_THUMBNAIL, PROP_DESCRIPTION, N_PROPS };
static GParamSpec *props[N_PROPS];

G_DEFINE_FINAL_TYPE(FigPicture, fig_picture, G_TYPE_OBJECT)

static void fig_picture_finalize(GObject *object)
{
    FigPicture *self = FIG_PICTURE(object);
    g_free(self->facts.path);
    g_free(self->facts.prompt);
    g_free(self->facts.negative);
    g_free(self->facts.model);
    g_free(self->facts.sampler);
    g_free(self->facts.parameters);
    g_clear_pointer(&self->facts.rgb, g_bytes_unref);
    g_clear_object(&self->thumbnail);
    g_clear_pointer(&self->fresh, g_bytes_unref);
    G_OBJECT_CLASS(fig_picture_parent_class)->finalize(object);
}

static void fig_picture_get_property(GObject *object, guint id, GValue *value, GParamSpec *spec)
{
    FigPicture *self = FIG_PICTURE(object);
    switch (id) {
    case PROP_PATH:
        g_value_set_string(value, self->facts.path);
        break;
    case PROP_FAVOURITE:
        g_value_set_boolean(value, self->facts.favourite);
        break;
    case PROP_THUMBNAIL:
        g_value_set_object(value, self->thumbnail);
        break;
    case PROP_DESCRIPTION:
        g_value_take_string(value, fig_picture_describe(self));
        break;
    default:
        G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
    }
}

static void fig_picture_class_init(FigPictureClass *class)
{
    GObjectClass *object_class = G_OBJECT_CLASS(class);
    object_class->finalize = fig_picture_finalize;
    object_class->get_property = fig_picture_get_property;

    GParamFlags flags = G_PARAM_READABLE | G_PARAM_STATIC_STRINGS;
    props[PROP_PATH] = g_param_spec_string("path", NULL, NULL, NULL, flags);
    props[PROP_FAVOURITE] = g_param_spec_boolean("favourite", NULL, NULL, FALSE, flags);
    props[PROP_THUMBNAIL] = g_param_spec_object("thumbnail", NULL, NULL, GDK_TYPE_PAINTABLE, flags);
    props[PROP_DESCRIPTION] = g_param_spec_string("description", NULL, NULL, NULL, flags);
    g_object_class_install_properties(object_class, N_PROPS, props);
}

static void fig_picture_init(FigPicture *self)
{
    (void)self;
}

FigPicture *fig_picture_new_take(struct fig_picture_facts facts)
{
    FigPicture *self = g_object_new(FIG_TYPE_PICTURE, NULL);
    self->facts = facts;
    return self;
}

const struct fig_picture_facts *fig_picture_facts(FigPicture *self)
{
    return &self->facts;
}

void fig_picture_set_favourite(FigPicture *self, gboolean favourite)
{
    if (self->facts.favourite == favourite)
        return;
    self->facts.favourite = favourite;
    g_object_notify_by_pspec(G_OBJECT(self), props[PROP_FAVOURITE]);
}

void fig_picture_set_saved(FigPicture *self, gint64 id, const char *path)
{
    self->facts.id = id;
    g_free(self->facts.path);
    self->facts.path = g_strdup(path);
    g_clear_pointer(&self->facts.rgb, g_bytes_unref);
    g_object_notify_by_pspec(G_OBJECT(self), props[PROP_PATH]);
}

char *fig_picture_describe(FigPicture *self)
{
    const struct fig_picture_facts *f = &self->facts;
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_local(f->created / 1000);
    g_autofree char *date = time ? g_date_time_format(time, "%x %R") : g_strdup("");
    return g_strdup_printf("%s\n%d × %d · %s · %s",
                           f->prompt && *f->prompt ? f->prompt : _("No prompt"), f->width,
                           f->height, f->model && *f->model ? f->model : _("Unknown model"), date);
}

GdkTexture *fig_picture_load(FigPicture *self, GError **error)
{
    const struct fig_picture_facts *f = &self->facts;
    GBytes *rgb = f->rgb ? f->rgb : self->fresh;
    if (rgb)
        return gdk_memory_texture_new(f->width, f->height, GDK_MEMORY_R8G8B8, rgb,
                                      (gsize)f->width * 3);
    if (!f->path) {
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                            _("The picture is not there."));
        return NULL;
    }
    return gdk_texture_new_from_filename(f->path, error);
}

void fig_picture_set_fresh(FigPicture *self, GBytes *rgb)
{
    g_clear_pointer(&self->fresh, g_bytes_unref);
    self->fresh = rgb ? g_bytes_ref(rgb) : NULL;
}

GdkContentProvider *fig_picture_content(FigPicture *self)
{
    if (!self->facts.path)
        return NULL;
    g_autoptr(GFile) file = g_file_new_for_path(self->facts.path);
    GdkFileList *files = gdk_file_list_new_from_array(&file, 1);
    GdkContentProvider *provider = gdk_content_provider_new_typed(GDK_TYPE_FILE_LIST, files);
    g_boxed_free(GDK_TYPE_FILE_LIST, files);
    return provider;
}

GdkPaintable *fig_picture_get_thumbnail(FigPicture *self)
{
    return self->thumbnail;
}

/* One request for a thumbnail, on its way to a worker and back. */
struct thumbnail {
    FigPicture *picture; /* a reference */
    guint turn;          /* the later, the sooner: it is what somebody looks at now */
    char *path;
    GBytes *rgb;
    int width, height;
    GdkPixbuf *result;
};

static char *cache_path(const char *path)
{
    GStatBuf info;
    if (g_stat(path, &info) != 0)
        return NULL;
    g_autofree char *key = g_strdup_printf("%s %" G_GINT64_FORMAT " %" G_GINT64_FORMAT, path,
                                           (gint64)info.st_mtime, (gint64)info.st_size);
    g_autofree char *sum = g_compute_checksum_for_string(G_CHECKSUM_SHA1, key, -1);
    g_autofree char *name = g_strconcat(sum, ".png", NULL);
    return g_build_filename(g_get_user_cache_dir(), "figment", "thumbnails", name, NULL);
}

static GdkPixbuf *shrink(GdkPixbuf *whole)
{
    int width = gdk_pixbuf_get_width(whole), height = gdk_pixbuf_get_height(whole);
    double factor = (double)THUMBNAIL_SIDE / MAX(width, height);
    if (factor >= 1)
        return g_object_ref(whole);
    return gdk_pixbuf_scale_simple(whole, MAX(1, (int)(width * factor)),
                                   MAX(1, (int)(height * factor)), GDK_INTERP_BILINEAR);
}

static gboolean thumbnail_arrived(gpointer data)
{
    struct thumbnail *t = data;
    if (t->result) {
        g_clear_object(&t->picture->thumbnail);
        t->picture->thumbnail = GDK_PAINTABLE(gdk_texture_new_for_pixbuf(t->result));
        g_object_notify_by_pspec(G_OBJECT(t->picture), props[PROP_THUMBNAIL]);
    }
    g_clear_object(&t->result);
    g_clear_pointer(&t->rgb, g_bytes_unref);
    g_object_unref(t->picture);
    g_free(t->path);
    g_free(t);
    return G_SOURCE_REMOVE;
}

static void make_thumbnail(gpointer data, gpointer user)
{
    (void)user;
    struct thumbnail *t = data;
    if (t->rgb) {
        g_autoptr(GdkPixbuf) whole = gdk_pixbuf_new_from_bytes(t->rgb, GDK_COLORSPACE_RGB, FALSE, 8,
                                                               t->width, t->height, t->width * 3);
        t->result = shrink(whole);
    } else {
        g_autofree char *cached = cache_path(t->path);
        if (cached)
            t->result = gdk_pixbuf_new_from_file(cached, NULL);
        g_autoptr(GdkPixbuf) whole = t->result ? NULL : gdk_pixbuf_new_from_file(t->path, NULL);
        if (whole)
            t->result = shrink(whole);
        if (whole && cached && t->result != whole) { /* small pictures are their own thumbnails */
            g_autofree char *folder = g_path_get_dirname(cached);
            g_mkdir_with_parents(folder, 0700);
            g_autofree char *temporary = g_strconcat(cached, ".new", NULL);
            if (gdk_pixbuf_save(t->result, temporary, "png", NULL, NULL))
                g_rename(temporary, cached);
        }
    }
    g_idle_add_full(G_PRIORITY_DEFAULT_IDLE, thumbnail_arrived, t, NULL);
}

static int last_first(gconstpointer a, gconstpointer b, gpointer user)
{
    (void)user;
    const struct thumbnail *one = a, *other = b;
    return (one->turn < other->turn) - (one->turn > other->turn);
}

void fig_picture_want_thumbnail(FigPicture *self)
{
    static GThreadPool *pool;
    static guint turn;
    if (self->thumbnail_wanted)
        return;
    self->thumbnail_wanted = TRUE;
    if (!pool) {
        pool = g_thread_pool_new(make_thumbnail, NULL, 1, FALSE, NULL);
        g_thread_pool_set_sort_function(pool, last_first, NULL);
    }
    struct thumbnail *t = g_new0(struct thumbnail, 1);
    t->picture = g_object_ref(self);
    t->turn = turn++;
    t->path = g_strdup(self->facts.path);
    t->rgb = self->facts.rgb ? g_bytes_ref(self->facts.rgb) : NULL;
    t->width = self->facts.width;
    t->height = self->facts.height;
    if (t->path || t->rgb)
        g_thread_pool_push(pool, t, NULL);
    else
        thumbnail_arrived(t);
}
