#include "ui/gallery.h"

#include "ui/adjustment.h"
#include "ui/names.h"
#include "ui/tile.h"

#include <adwaita.h>
#include <glib/gi18n.h>
#include <string.h>

#define TILE_SIDE 160
#define TILE_PADDING 12 /* style.css: both sides of a grid's child */

struct _FigGallery {
    GtkBox parent_instance;

    /* Template Widgets */
    GtkSearchEntry *search;
    GtkDropDown *model, *time;
    GtkToggleButton *favourites;
    GtkStack *stack;
    AdwStatusPage *empty;
    GtkScrolledWindow *scroller;
    GtkGridView *grid;
    GtkLabel *count;
    GtkButton *export, *use_settings, *compare, *star, *trash;

    /* Owned References */
    FigBridge *bridge;
    GtkMultiSelection *selection;

    guint fitting; /* source: the number of columns follows the width */
    guint asking;  /* source: the rows come */
    gboolean filling;
};

enum {
    SIGNAL_OPEN,
    SIGNAL_USE_SETTINGS,
    SIGNAL_EXPORT,
    SIGNAL_COMPARE,
    SIGNAL_MESSAGE,
    SIGNAL_CHANGED,
    N_SIGNALS
};
static guint signals[N_SIGNALS];

G_DEFINE_FINAL_TYPE(FigGallery, fig_gallery, GTK_TYPE_BOX)

static GListModel *selected(FigGallery *self)
{
    g_autoptr(GtkBitset) set =
        gtk_selection_model_get_selection(GTK_SELECTION_MODEL(self->selection));
    GListModel *list = gtk_multi_selection_get_model(self->selection);
    return list ? fig_bridge_history_part(list, set)
                : G_LIST_MODEL(g_list_store_new(FIG_TYPE_PICTURE)); /* it is on its way */
}

static void show_why_empty(FigGallery *self)
{
    gboolean any = fig_bridge_history_count(self->bridge) > 0;
    adw_status_page_set_icon_name(self->empty,
                                  any ? "system-search-symbolic" : "image-x-generic-symbolic");
    adw_status_page_set_title(self->empty, any ? _("No Pictures Found") : _("No Pictures Yet"));
    adw_status_page_set_description(self->empty,
                                    any ? _("Try other words, another model or a longer time.")
                                        : _("The pictures you make are kept here."));
}

static void show_count(FigGallery *self)
{
    guint n = g_list_model_get_n_items(G_LIST_MODEL(self->selection));
    g_autoptr(GtkBitset) set =
        gtk_selection_model_get_selection(GTK_SELECTION_MODEL(self->selection));
    guint chosen = (guint)gtk_bitset_get_size(set);
    g_autofree char *text =
        chosen ? g_strdup_printf(_("%u of %u selected"), chosen, n)
               : g_strdup_printf(g_dngettext(NULL, "%u picture", "%u pictures", n), n);
    gtk_label_set_label(self->count, text);
    gtk_widget_set_sensitive(GTK_WIDGET(self->export), n > 0);
    gtk_widget_set_sensitive(GTK_WIDGET(self->use_settings), chosen == 1);
    gtk_widget_set_sensitive(GTK_WIDGET(self->compare), chosen == 2);
    gtk_widget_set_sensitive(GTK_WIDGET(self->star), chosen > 0);
    gtk_widget_set_sensitive(GTK_WIDGET(self->trash), chosen > 0);
    gtk_stack_set_visible_child_name(self->stack, n ? "grid" : "empty");
    if (!n)
        show_why_empty(self);
}

/* Does the list say "All models" and then these? */
static gboolean lists(GListModel *list, GStrv models)
{
    guint n = list ? g_list_model_get_n_items(list) : 0;
    if (n != g_strv_length(models) + 1)
        return FALSE;
    for (guint i = 1; i < n; i++)
        if (strcmp(gtk_string_list_get_string(GTK_STRING_LIST(list), i), models[i - 1]) != 0)
            return FALSE;
    return TRUE;
}

static void fill_models(FigGallery *self)
{
    g_auto(GStrv) models = fig_bridge_history_models(self->bridge);
    if (lists(gtk_drop_down_get_model(self->model), models))
        return;
    g_autoptr(GtkStringList) list = gtk_string_list_new(NULL);
    g_autofree char *before = NULL;
    GtkStringObject *current = gtk_drop_down_get_selected_item(self->model);
    if (current && gtk_drop_down_get_selected(self->model) > 0)
        before = g_strdup(gtk_string_object_get_string(current));
    gtk_string_list_append(list, _("All models"));
    guint select = 0;
    for (guint i = 0; models[i]; i++) {
        gtk_string_list_append(list, models[i]);
        if (g_strcmp0(models[i], before) == 0)
            select = i + 1;
    }
    self->filling = TRUE;
    gtk_drop_down_set_model(self->model, G_LIST_MODEL(list));
    gtk_drop_down_set_selected(self->model, select);
    self->filling = FALSE;
}

/* What is asked for; strings are borrowed from the widgets. */
static struct fig_filter filter_of(FigGallery *self)
{
    static const int days[] = {0, 1, 7, 30};
    guint model = gtk_drop_down_get_selected(self->model);
    GtkStringObject *item = gtk_drop_down_get_selected_item(self->model);
    return (struct fig_filter){
        .text = gtk_editable_get_text(GTK_EDITABLE(self->search)),
        .model = model > 0 && item ? gtk_string_object_get_string(item) : NULL,
        .days = days[MIN(gtk_drop_down_get_selected(self->time), G_N_ELEMENTS(days) - 1)],
        .favourites = gtk_toggle_button_get_active(self->favourites),
    };
}

static gboolean ask(gpointer user)
{
    FigGallery *self = user;
    struct fig_filter filter = filter_of(self);
    self->asking = 0;
    g_autoptr(GListModel) pictures = fig_bridge_history(self->bridge, &filter, 0);
    gtk_multi_selection_set_model(self->selection, pictures);
    show_count(self);
    return G_SOURCE_REMOVE;
}

/*
 * From one list to another the grid would read every row, to see where its own have gone: it gets
 * none in between. And the two in two rounds of the main loop, as each of them makes or ends some
 * hundred widgets; nothing is drawn between them.
 */
static void query(FigGallery *self)
{
    if (self->filling)
        return;
    gtk_multi_selection_set_model(self->selection, NULL);
    if (!self->asking)
        self->asking = g_idle_add_full(G_PRIORITY_HIGH_IDLE, ask, self, NULL);
}

/* Pictures came or went: the view keeps its place. */
static void update(FigGallery *self)
{
    GListModel *pictures = gtk_multi_selection_get_model(self->selection);
    struct fig_filter filter = filter_of(self);
    if (!pictures) {
        query(self);
        return;
    }
    fig_bridge_history_update(self->bridge, pictures, &filter);
    show_count(self);
}

void fig_gallery_refresh(FigGallery *self)
{
    fill_models(self);
    update(self);
}

void fig_gallery_focus_search(FigGallery *self)
{
    gtk_widget_grab_focus(GTK_WIDGET(self->search));
}

static void activated(FigGallery *self, guint position)
{
    g_autoptr(FigPicture) picture = g_list_model_get_item(G_LIST_MODEL(self->selection), position);
    g_signal_emit(self, signals[SIGNAL_OPEN], 0, picture);
}

/* What is selected, or everything the search found. */
static void export_clicked(FigGallery *self)
{
    g_autoptr(GListModel) chosen = selected(self);
    GListModel *all = gtk_multi_selection_get_model(self->selection);
    if (all)
        g_signal_emit(self, signals[SIGNAL_EXPORT], 0,
                      g_list_model_get_n_items(chosen) ? chosen : all);
}

static void use_settings_clicked(FigGallery *self)
{
    g_autoptr(GListModel) chosen = selected(self);
    g_autoptr(FigPicture) picture = g_list_model_get_item(chosen, 0);
    if (picture)
        g_signal_emit(self, signals[SIGNAL_USE_SETTINGS], 0, picture);
}

static void compare_clicked(FigGallery *self)
{
    g_autoptr(GListModel) chosen = selected(self);
    if (g_list_model_get_n_items(chosen) == 2)
        g_signal_emit(self, signals[SIGNAL_COMPARE], 0, chosen);
}

static void star_clicked(FigGallery *self)
{
    g_autoptr(GListModel) chosen = selected(self);
    gboolean all = TRUE;
    for (guint i = 0; i < g_list_model_get_n_items(chosen); i++) {
        g_autoptr(FigPicture) picture = g_list_model_get_item(chosen, i);
        all &= fig_picture_facts(picture)->favourite;
    }
    for (guint i = 0; i < g_list_model_get_n_items(chosen); i++) {
        g_autoptr(FigPicture) picture = g_list_model_get_item(chosen, i);
        fig_bridge_set_favourite(self->bridge, picture, !all);
    }
}

/* Back to the picture, as from a dialog. */
static void search_left(FigGallery *self)
{
    if (*gtk_editable_get_text(GTK_EDITABLE(self->search)))
        gtk_editable_set_text(GTK_EDITABLE(self->search), "");
    else
        gtk_widget_activate_action(GTK_WIDGET(self), "win.history", NULL);
}

static void trash_clicked(FigGallery *self)
{
    g_autoptr(GListModel) chosen = selected(self);
    guint n = g_list_model_get_n_items(chosen), gone = 0;
    for (guint i = 0; i < n; i++) {
        g_autoptr(FigPicture) picture = g_list_model_get_item(chosen, i);
        g_autoptr(GError) error = NULL;
        if (!fig_bridge_trash(self->bridge, picture, &error)) {
            g_signal_emit(self, signals[SIGNAL_MESSAGE], 0, error->message);
            break;
        }
        gone++;
    }
    if (gone) {
        g_autofree char *text = g_strdup_printf(g_dngettext(NULL, "%u picture moved to the trash",
                                                            "%u pictures moved to the trash", gone),
                                                gone);
        g_signal_emit(self, signals[SIGNAL_MESSAGE], 0, text);
        g_signal_emit(self, signals[SIGNAL_CHANGED], 0);
        update(self);
    }
}

static gboolean delete_pressed(GtkWidget *widget, GVariant *arguments, gpointer user)
{
    (void)arguments;
    (void)user;
    trash_clicked(FIG_GALLERY(widget));
    return TRUE;
}

/* First nothing is selected any more, then the picture is back. */
static gboolean escape_pressed(GtkWidget *widget, GVariant *arguments, gpointer user)
{
    (void)arguments;
    (void)user;
    GtkSelectionModel *selection = GTK_SELECTION_MODEL(FIG_GALLERY(widget)->selection);
    g_autoptr(GtkBitset) chosen = gtk_selection_model_get_selection(selection);
    if (!gtk_bitset_is_empty(chosen))
        gtk_selection_model_unselect_all(selection);
    else
        gtk_widget_activate_action(widget, "win.history", NULL);
    return TRUE;
}

static gboolean star_pressed(GtkWidget *widget, GVariant *arguments, gpointer user)
{
    (void)arguments;
    (void)user;
    star_clicked(FIG_GALLERY(widget));
    return TRUE;
}

void fig_gallery_set_up(FigGallery *self, FigBridge *bridge)
{
    self->bridge = g_object_ref(bridge);
    g_signal_connect_swapped(self->search, "search-changed", G_CALLBACK(query), self);
    g_signal_connect_swapped(self->search, "stop-search", G_CALLBACK(search_left), self);
    g_signal_connect_swapped(self->model, "notify::selected", G_CALLBACK(query), self);
    g_signal_connect_swapped(self->time, "notify::selected", G_CALLBACK(query), self);
    g_signal_connect_swapped(self->favourites, "toggled", G_CALLBACK(query), self);
    g_signal_connect_swapped(self->grid, "activate", G_CALLBACK(activated), self);
    g_signal_connect_swapped(self->export, "clicked", G_CALLBACK(export_clicked), self);
    g_signal_connect_swapped(self->use_settings, "clicked", G_CALLBACK(use_settings_clicked), self);
    g_signal_connect_swapped(self->compare, "clicked", G_CALLBACK(compare_clicked), self);
    g_signal_connect_swapped(self->star, "clicked", G_CALLBACK(star_clicked), self);
    g_signal_connect_swapped(self->trash, "clicked", G_CALLBACK(trash_clicked), self);
}

static guint columns_that_fit(FigGallery *self)
{
    double width =
        gtk_adjustment_get_page_size(gtk_scrolled_window_get_hadjustment(self->scroller));
    return (guint)CLAMP(width / (TILE_SIDE + TILE_PADDING), 2, 24);
}

/* The grid keeps thirty rows of as many columns as it may have: no more than fit. */
static gboolean fit_columns(gpointer user)
{
    FigGallery *self = user;
    self->fitting = 0;
    gtk_grid_view_set_max_columns(self->grid, columns_that_fit(self));
    return G_SOURCE_REMOVE;
}

static void width_changed(FigGallery *self)
{
    if (!self->fitting && columns_that_fit(self) != gtk_grid_view_get_max_columns(self->grid))
        self->fitting = g_idle_add(fit_columns, self); /* not in the middle of a layout */
}

static void fig_gallery_dispose(GObject *object)
{
    FigGallery *self = FIG_GALLERY(object);
    g_clear_handle_id(&self->fitting, g_source_remove);
    g_clear_handle_id(&self->asking, g_source_remove);
    g_clear_object(&self->bridge);
    g_clear_object(&self->selection);
    G_OBJECT_CLASS(fig_gallery_parent_class)->dispose(object);
}

static void fig_gallery_class_init(FigGalleryClass *class)
{
    GtkWidgetClass *widget_class = GTK_WIDGET_CLASS(class);
    G_OBJECT_CLASS(class)->dispose = fig_gallery_dispose;
    gtk_widget_class_set_template_from_resource(widget_class,
                                                "/io/github/figment_app/Figment/ui/gallery.ui");
#define CHILD(name) gtk_widget_class_bind_template_child(widget_class, FigGallery, name)
    CHILD(search);
    CHILD(model);
    CHILD(time);
    CHILD(favourites);
    CHILD(stack);
    CHILD(empty);
    CHILD(scroller);
    CHILD(grid);
    CHILD(count);
    CHILD(export);
    CHILD(use_settings);
    CHILD(compare);
    CHILD(star);
    CHILD(trash);
#undef CHILD
    gtk_widget_class_add_binding(widget_class, GDK_KEY_Delete, 0, delete_pressed, NULL);
    gtk_widget_class_add_binding(widget_class, GDK_KEY_Delete, GDK_CONTROL_MASK, delete_pressed,
                                 NULL);
    gtk_widget_class_add_binding(widget_class, GDK_KEY_b, GDK_CONTROL_MASK, star_pressed, NULL);
    gtk_widget_class_add_binding(widget_class, GDK_KEY_Escape, 0, escape_pressed, NULL);
    GType type = G_TYPE_FROM_CLASS(class);
    const struct {
        const char *name;
        GType argument;
    } table[N_SIGNALS] = {{"open", FIG_TYPE_PICTURE},    {"use-settings", FIG_TYPE_PICTURE},
                          {"export", G_TYPE_LIST_MODEL}, {"compare", G_TYPE_LIST_MODEL},
                          {"message", G_TYPE_STRING},    {"changed", G_TYPE_NONE}};
    for (int i = 0; i < N_SIGNALS; i++)
        signals[i] = table[i].argument == G_TYPE_NONE
                         ? g_signal_new(table[i].name, type, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL,
                                        G_TYPE_NONE, 0)
                         : g_signal_new(table[i].name, type, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL,
                                        G_TYPE_NONE, 1, table[i].argument);
}

static void fig_gallery_init(FigGallery *self)
{
    gtk_widget_init_template(GTK_WIDGET(self));
    fig_names_set(GTK_WIDGET(self));
    g_autoptr(GtkAdjustment) vertical = fig_adjustment_new(GTK_WIDGET(self->grid));
    gtk_scrolled_window_set_vadjustment(self->scroller, vertical);
    g_signal_connect_object(gtk_scrolled_window_get_hadjustment(self->scroller),
                            "notify::page-size", G_CALLBACK(width_changed), self,
                            G_CONNECT_SWAPPED);
    self->selection = gtk_multi_selection_new(NULL);
    gtk_grid_view_set_model(self->grid, GTK_SELECTION_MODEL(self->selection));
    g_autoptr(GtkListItemFactory) factory = fig_tile_factory_new(TILE_SIDE);
    gtk_grid_view_set_factory(self->grid, factory);
    g_signal_connect_swapped(self->selection, "selection-changed", G_CALLBACK(show_count), self);
}
