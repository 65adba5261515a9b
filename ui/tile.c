#include "ui/tile.h"

/*
 * FigTile: a thumbnail with a star. One widget that draws all of it and never changes its size: a
 * grid has some hundred, and binds all of them again when it jumps.
 */
#define FIG_TYPE_TILE (fig_tile_get_type())
G_DECLARE_FINAL_TYPE(FigTile, fig_tile, FIG, TILE, GtkWidget)

struct _FigTile {
    GtkWidget parent_instance;

    /* Owned References */
    FigPicture *picture;
    GtkWidget *star; /* a child; made for the first favourite */

    int side;
};

G_DEFINE_FINAL_TYPE(FigTile, fig_tile, GTK_TYPE_WIDGET)

#define RADIUS 7

static void fig_tile_measure(GtkWidget *widget, GtkOrientation orientation, int for_size,
                             int *minimum, int *natural, int *minimum_baseline,
                             int *natural_baseline)
{
    (void)orientation;
    (void)for_size;
    *minimum = *natural = FIG_TILE(widget)->side;
    *minimum_baseline = *natural_baseline = -1;
}

static void fig_tile_size_allocate(GtkWidget *widget, int width, int height, int baseline)
{
    GtkWidget *star = FIG_TILE(widget)->star;
    int w, h;
    (void)height;
    (void)baseline;
    if (!star || !gtk_widget_should_layout(star))
        return;
    gtk_widget_measure(star, GTK_ORIENTATION_HORIZONTAL, -1, NULL, &w, NULL, NULL);
    gtk_widget_measure(star, GTK_ORIENTATION_VERTICAL, -1, NULL, &h, NULL, NULL);
    gtk_widget_size_allocate(star, &(GtkAllocation){MAX(0, width - w), 0, w, h}, -1);
}

static void append_thumbnail(GtkSnapshot *snapshot, GdkPaintable *thumbnail, float width,
                             float height)
{
    float w = (float)gdk_paintable_get_intrinsic_width(thumbnail);
    float h = (float)gdk_paintable_get_intrinsic_height(thumbnail);
    if (w < 1 || h < 1)
        return;
    float scale = MIN(width / w, height / h);
    GskRoundedRect frame;
    gsk_rounded_rect_init_from_rect(&frame,
                                    &GRAPHENE_RECT_INIT((width - w * scale) / 2,
                                                        (height - h * scale) / 2, w * scale,
                                                        h * scale),
                                    RADIUS);
    gtk_snapshot_push_rounded_clip(snapshot, &frame);
    gtk_snapshot_translate(snapshot, &frame.bounds.origin);
    gdk_paintable_snapshot(thumbnail, snapshot, w * scale, h * scale);
    gtk_snapshot_pop(snapshot);
}

static void fig_tile_snapshot(GtkWidget *widget, GtkSnapshot *snapshot)
{
    FigTile *self = FIG_TILE(widget);
    GdkPaintable *thumbnail = self->picture ? fig_picture_get_thumbnail(self->picture) : NULL;
    if (thumbnail) {
        gtk_snapshot_save(snapshot);
        append_thumbnail(snapshot, thumbnail, (float)gtk_widget_get_width(widget),
                         (float)gtk_widget_get_height(widget));
        gtk_snapshot_restore(snapshot);
    }
    if (self->star)
        gtk_widget_snapshot_child(widget, self->star, snapshot);
}

static gboolean fig_tile_query_tooltip(GtkWidget *widget, int x, int y, gboolean keyboard,
                                       GtkTooltip *tooltip)
{
    FigTile *self = FIG_TILE(widget);
    (void)x;
    (void)y;
    (void)keyboard;
    if (!self->picture)
        return FALSE;
    g_autofree char *description = fig_picture_describe(self->picture);
    gtk_tooltip_set_text(tooltip, description);
    return TRUE;
}

/* Only what is to be seen needs its thumbnail. */
static void fig_tile_map(GtkWidget *widget)
{
    FigTile *self = FIG_TILE(widget);
    GTK_WIDGET_CLASS(fig_tile_parent_class)->map(widget);
    if (self->picture)
        fig_picture_want_thumbnail(self->picture);
}

static void show_star(FigTile *self)
{
    gboolean favourite = self->picture && fig_picture_facts(self->picture)->favourite;
    if (favourite && !self->star) {
        self->star = gtk_image_new_from_icon_name("starred-symbolic");
        gtk_widget_add_css_class(self->star, "tile-star");
        gtk_widget_set_parent(self->star, GTK_WIDGET(self));
    }
    if (self->star)
        gtk_widget_set_visible(self->star, favourite);
}

static void set_picture(FigTile *self, FigPicture *picture)
{
    if (self->picture)
        g_signal_handlers_disconnect_by_data(self->picture, self);
    g_set_object(&self->picture, picture);
    gtk_widget_queue_draw(GTK_WIDGET(self));
    show_star(self);
    if (!picture)
        return;
    g_signal_connect_swapped(picture, "notify::thumbnail", G_CALLBACK(gtk_widget_queue_draw), self);
    g_signal_connect_swapped(picture, "notify::favourite", G_CALLBACK(show_star), self);
    g_autofree char *description = fig_picture_describe(picture);
    gtk_accessible_update_property(GTK_ACCESSIBLE(self), GTK_ACCESSIBLE_PROPERTY_LABEL, description,
                                   -1);
    if (gtk_widget_get_mapped(GTK_WIDGET(self)))
        fig_picture_want_thumbnail(picture);
}

static void fig_tile_dispose(GObject *object)
{
    FigTile *self = FIG_TILE(object);
    set_picture(self, NULL);
    g_clear_pointer(&self->star, gtk_widget_unparent);
    G_OBJECT_CLASS(fig_tile_parent_class)->dispose(object);
}

static void fig_tile_class_init(FigTileClass *class)
{
    GtkWidgetClass *widget_class = GTK_WIDGET_CLASS(class);
    G_OBJECT_CLASS(class)->dispose = fig_tile_dispose;
    widget_class->measure = fig_tile_measure;
    widget_class->size_allocate = fig_tile_size_allocate;
    widget_class->snapshot = fig_tile_snapshot;
    widget_class->query_tooltip = fig_tile_query_tooltip;
    widget_class->map = fig_tile_map;
    gtk_widget_class_set_css_name(widget_class, "tile");
    gtk_widget_class_set_accessible_role(widget_class, GTK_ACCESSIBLE_ROLE_IMG);
}

/* Dragging a tile out gives its file. */
static GdkContentProvider *drag_prepare(FigTile *self)
{
    return self->picture ? fig_picture_content(self->picture) : NULL;
}

static void fig_tile_init(FigTile *self)
{
    GtkWidget *widget = GTK_WIDGET(self);
    gtk_widget_set_halign(widget, GTK_ALIGN_CENTER);
    gtk_widget_set_valign(widget, GTK_ALIGN_CENTER);
    gtk_widget_set_overflow(widget, GTK_OVERFLOW_HIDDEN);
    gtk_widget_set_has_tooltip(widget, TRUE);
    GtkDragSource *drag = gtk_drag_source_new();
    g_signal_connect_swapped(drag, "prepare", G_CALLBACK(drag_prepare), self);
    gtk_widget_add_controller(widget, GTK_EVENT_CONTROLLER(drag));
}

/* ---- the factory ---- */

static void set_up(GtkListItemFactory *factory, GtkListItem *item)
{
    FigTile *tile = g_object_new(FIG_TYPE_TILE, NULL);
    tile->side = GPOINTER_TO_INT(g_object_get_data(G_OBJECT(factory), "side"));
    gtk_list_item_set_child(item, GTK_WIDGET(tile));
}

static void bind_item(GtkListItemFactory *factory, GtkListItem *item)
{
    (void)factory;
    set_picture(FIG_TILE(gtk_list_item_get_child(item)), gtk_list_item_get_item(item));
}

static void unbind_item(GtkListItemFactory *factory, GtkListItem *item)
{
    (void)factory;
    set_picture(FIG_TILE(gtk_list_item_get_child(item)), NULL);
}

GtkListItemFactory *fig_tile_factory_new(int side)
{
    GtkListItemFactory *factory = gtk_signal_list_item_factory_new();
    g_object_set_data(G_OBJECT(factory), "side", GINT_TO_POINTER(side));
    g_signal_connect(factory, "setup", G_CALLBACK(set_up), NULL);
    g_signal_connect(factory, "bind", G_CALLBACK(bind_item), NULL);
    g_signal_connect(factory, "unbind", G_CALLBACK(unbind_item), NULL);
    return factory;
}
