#include "ui/tile.h"

/* Dragging a tile out gives its file. */
static GdkContentProvider *drag_prepare(GtkListItem *item)
{
    FigPicture *picture = gtk_list_item_get_item(item);
    const char *path = picture ? fig_picture_facts(picture)->path : NULL;
    if (!path)
        return NULL;
    g_autoptr(GFile) file = g_file_new_for_path(path);
    GdkFileList *files = gdk_file_list_new_from_array(&file, 1);
    GdkContentProvider *provider = gdk_content_provider_new_typed(GDK_TYPE_FILE_LIST, files);
    g_boxed_free(GDK_TYPE_FILE_LIST, files);
    return provider;
}

static void setup(GtkListItemFactory *factory, GtkListItem *item)
{
    int side = GPOINTER_TO_INT(g_object_get_data(G_OBJECT(factory), "side"));
    GtkWidget *image = gtk_picture_new();
    gtk_picture_set_can_shrink(GTK_PICTURE(image), TRUE);
    gtk_widget_set_size_request(image, side, side);
    gtk_widget_set_overflow(image, GTK_OVERFLOW_HIDDEN);
    gtk_widget_add_css_class(image, "tile");

    GtkWidget *star = gtk_image_new_from_icon_name("starred-symbolic");
    gtk_widget_set_halign(star, GTK_ALIGN_END);
    gtk_widget_set_valign(star, GTK_ALIGN_START);
    gtk_widget_add_css_class(star, "tile-star");

    GtkWidget *overlay = gtk_overlay_new();
    gtk_overlay_set_child(GTK_OVERLAY(overlay), image);
    gtk_overlay_add_overlay(GTK_OVERLAY(overlay), star);
    gtk_widget_set_halign(overlay, GTK_ALIGN_CENTER);
    gtk_widget_set_valign(overlay, GTK_ALIGN_CENTER);
    gtk_list_item_set_child(item, overlay);
    g_object_set_data(G_OBJECT(item), "image", image);
    g_object_set_data(G_OBJECT(item), "star", star);

    GtkDragSource *drag = gtk_drag_source_new();
    g_signal_connect_swapped(drag, "prepare", G_CALLBACK(drag_prepare), item);
    gtk_widget_add_controller(overlay, GTK_EVENT_CONTROLLER(drag));
}

static void show_thumbnail(GtkListItem *item)
{
    FigPicture *picture = gtk_list_item_get_item(item);
    gtk_picture_set_paintable(g_object_get_data(G_OBJECT(item), "image"),
                              picture ? fig_picture_get_thumbnail(picture) : NULL);
}

static void show_star(GtkListItem *item)
{
    FigPicture *picture = gtk_list_item_get_item(item);
    gtk_widget_set_visible(g_object_get_data(G_OBJECT(item), "star"),
                           picture && fig_picture_facts(picture)->favourite);
}

static void bind_item(GtkListItemFactory *factory, GtkListItem *item)
{
    (void)factory;
    FigPicture *picture = gtk_list_item_get_item(item);
    g_autofree char *description = fig_picture_describe(picture);
    GtkWidget *child = gtk_list_item_get_child(item);
    gtk_widget_set_tooltip_text(child, description);
    gtk_accessible_update_property(
        GTK_ACCESSIBLE((GtkWidget *)g_object_get_data(G_OBJECT(item), "image")),
        GTK_ACCESSIBLE_PROPERTY_LABEL, description, -1);
    g_signal_connect_swapped(picture, "notify::thumbnail", G_CALLBACK(show_thumbnail), item);
    g_signal_connect_swapped(picture, "notify::favourite", G_CALLBACK(show_star), item);
    show_thumbnail(item);
    show_star(item);
    fig_picture_want_thumbnail(picture);
}

static void unbind_item(GtkListItemFactory *factory, GtkListItem *item)
{
    (void)factory;
    g_signal_handlers_disconnect_by_data(gtk_list_item_get_item(item), item);
    gtk_picture_set_paintable(g_object_get_data(G_OBJECT(item), "image"), NULL);
}

GtkListItemFactory *fig_tile_factory_new(int side)
{
    GtkListItemFactory *factory = gtk_signal_list_item_factory_new();
    g_object_set_data(G_OBJECT(factory), "side", GINT_TO_POINTER(side));
    g_signal_connect(factory, "setup", G_CALLBACK(setup), NULL);
    g_signal_connect(factory, "bind", G_CALLBACK(bind_item), NULL);
    g_signal_connect(factory, "unbind", G_CALLBACK(unbind_item), NULL);
    return factory;
}
