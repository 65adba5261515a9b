#include "ui/add-ons.h"

#include <glib/gi18n.h>
#include <string.h>

struct _FigAddOns {
    GtkPopover parent_instance;

    /* Children, owned by the widget tree */
    GtkWidget *search, *list;
};

static guint signal_chosen;

G_DEFINE_FINAL_TYPE(FigAddOns, fig_add_ons, GTK_TYPE_POPOVER)

enum { MANY = 8 }; /* from here on they are searched */

static const char *words_of(GtkListBoxRow *row)
{
    return g_object_get_data(G_OBJECT(row), "words");
}

static const char *kind_of(GtkListBoxRow *row)
{
    return g_object_get_data(G_OBJECT(row), "kind");
}

static void row_activated(FigAddOns *self, GtkListBoxRow *row)
{
    g_autofree char *words = g_strdup(words_of(row));
    g_signal_emit(self, signal_chosen, 0, words);
}

static gboolean is_found(GtkListBoxRow *row, gpointer user)
{
    FigAddOns *self = user;
    g_autofree char *wanted =
        g_utf8_casefold(gtk_editable_get_text(GTK_EDITABLE(self->search)), -1);
    g_autofree char *words = g_utf8_casefold(words_of(row), -1);
    return strstr(words, wanted) != NULL;
}

static void head(GtkListBoxRow *row, GtkListBoxRow *before, gpointer user)
{
    (void)user;
    if (before && kind_of(before) == kind_of(row)) {
        gtk_list_box_row_set_header(row, NULL);
        return;
    }
    GtkWidget *label = gtk_label_new(kind_of(row));
    gtk_label_set_xalign(GTK_LABEL(label), 0);
    gtk_widget_add_css_class(label, "caption-heading");
    gtk_widget_add_css_class(label, "dim-label");
    gtk_list_box_row_set_header(row, label);
}

/* `kind` is a constant: rows of one kind have the same pointer. */
static void add(FigAddOns *self, GStrv names, const char *kind, const char *pattern)
{
    for (char **name = names; *name; name++) {
        GtkWidget *label = gtk_label_new(*name);
        gtk_label_set_ellipsize(GTK_LABEL(label), PANGO_ELLIPSIZE_MIDDLE);
        gtk_label_set_max_width_chars(GTK_LABEL(label), 36);
        gtk_label_set_xalign(GTK_LABEL(label), 0);
        GtkWidget *row = gtk_list_box_row_new();
        gtk_list_box_row_set_child(GTK_LIST_BOX_ROW(row), label);
        GString *words = g_string_new(pattern);
        g_string_replace(words, "*", *name, 1);
        g_object_set_data_full(G_OBJECT(row), "words", g_string_free(words, FALSE), g_free);
        g_object_set_data(G_OBJECT(row), "kind", (gpointer)kind);
        gtk_list_box_append(GTK_LIST_BOX(self->list), row);
    }
}

static GtkWidget *why_empty(void)
{
    GtkWidget *label = gtk_label_new(_("There is no LoRA and no embedding in the model folders."));
    gtk_label_set_wrap(GTK_LABEL(label), TRUE);
    gtk_label_set_max_width_chars(GTK_LABEL(label), 32);
    gtk_widget_add_css_class(label, "dim-label");
    return label;
}

GtkWidget *fig_add_ons_new(FigBridge *bridge)
{
    FigAddOns *self = g_object_new(FIG_TYPE_ADD_ONS, NULL);
    g_auto(GStrv) loras = fig_bridge_loras(bridge);
    g_auto(GStrv) embeddings = fig_bridge_embeddings(bridge);
    add(self, loras, _("LoRAs"), "<lora:*:1>");
    add(self, embeddings, _("Embeddings"), "*");
    gtk_widget_set_visible(self->search, g_strv_length(loras) + g_strv_length(embeddings) >= MANY);
    return GTK_WIDGET(self);
}

static void fig_add_ons_class_init(FigAddOnsClass *class)
{
    signal_chosen = g_signal_new("chosen", G_TYPE_FROM_CLASS(class), G_SIGNAL_RUN_LAST, 0, NULL,
                                 NULL, NULL, G_TYPE_NONE, 1, G_TYPE_STRING);
}

static void fig_add_ons_init(FigAddOns *self)
{
    self->search = gtk_search_entry_new();
    gtk_accessible_update_property(GTK_ACCESSIBLE(self->search), GTK_ACCESSIBLE_PROPERTY_LABEL,
                                   _("Search add-ons"), -1);
    self->list = gtk_list_box_new();
    gtk_list_box_set_selection_mode(GTK_LIST_BOX(self->list), GTK_SELECTION_NONE);
    gtk_list_box_set_header_func(GTK_LIST_BOX(self->list), head, NULL, NULL);
    gtk_list_box_set_filter_func(GTK_LIST_BOX(self->list), is_found, self, NULL);
    gtk_list_box_set_placeholder(GTK_LIST_BOX(self->list), why_empty());
    gtk_accessible_update_property(GTK_ACCESSIBLE(self->list), GTK_ACCESSIBLE_PROPERTY_LABEL,
                                   _("Add-ons"), -1);
    g_signal_connect_swapped(self->list, "row-activated", G_CALLBACK(row_activated), self);
    g_signal_connect_swapped(self->search, "search-changed",
                             G_CALLBACK(gtk_list_box_invalidate_filter), self->list);

    GtkWidget *scroller = gtk_scrolled_window_new();
    gtk_scrolled_window_set_policy(GTK_SCROLLED_WINDOW(scroller), GTK_POLICY_NEVER,
                                   GTK_POLICY_AUTOMATIC);
    gtk_scrolled_window_set_propagate_natural_height(GTK_SCROLLED_WINDOW(scroller), TRUE);
    gtk_scrolled_window_set_propagate_natural_width(GTK_SCROLLED_WINDOW(scroller), TRUE);
    gtk_scrolled_window_set_max_content_height(GTK_SCROLLED_WINDOW(scroller), 320);
    gtk_scrolled_window_set_child(GTK_SCROLLED_WINDOW(scroller), self->list);
    GtkWidget *box = gtk_box_new(GTK_ORIENTATION_VERTICAL, 6);
    gtk_box_append(GTK_BOX(box), self->search);
    gtk_box_append(GTK_BOX(box), scroller);
    gtk_widget_set_size_request(box, 200, -1);
    gtk_popover_set_child(GTK_POPOVER(self), box);
    gtk_widget_add_css_class(GTK_WIDGET(self), "recent");
}
