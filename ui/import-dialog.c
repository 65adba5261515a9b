#include "ui/import-dialog.h"

#include "ui/names.h"

#include <glib/gi18n.h>

struct import {
    FigRequest *request, *changed;
};

static void import_free(gpointer data, GClosure *closure)
{
    (void)closure;
    struct import *import = data;
    g_object_unref(import->request);
    g_object_unref(import->changed);
    g_free(import);
}

static void answered(AdwMessageDialog *dialog, const char *response, struct import *import)
{
    (void)dialog;
    if (g_strcmp0(response, "use") == 0)
        fig_record_assign(import->request, import->changed);
}

static GtkWidget *lines_new(GPtrArray *lines)
{
    GtkWidget *box = gtk_box_new(GTK_ORIENTATION_VERTICAL, 6);
    for (guint i = 0; i < lines->len; i++) {
        GtkWidget *label = gtk_label_new(lines->pdata[i]); /* plain text: it comes from a file */
        gtk_label_set_xalign(GTK_LABEL(label), 0);
        gtk_label_set_wrap(GTK_LABEL(label), TRUE);
        gtk_label_set_wrap_mode(GTK_LABEL(label), PANGO_WRAP_WORD_CHAR);
        gtk_label_set_lines(GTK_LABEL(label), 4);
        gtk_label_set_ellipsize(GTK_LABEL(label), PANGO_ELLIPSIZE_END);
        gtk_label_set_max_width_chars(GTK_LABEL(label), 56);
        gtk_box_append(GTK_BOX(box), label);
    }
    return box;
}

static void add_lines(GtkBox *box, const char *heading, GPtrArray *lines)
{
    if (!lines->len)
        return;
    GtkWidget *title = gtk_label_new(heading);
    gtk_label_set_xalign(GTK_LABEL(title), 0);
    gtk_widget_add_css_class(title, "heading");
    gtk_widget_set_margin_top(title, 6);
    gtk_box_append(box, title);
    gtk_box_append(box, lines_new(lines));
}

/* What is the same already, folded away. */
static void add_folded(GtkBox *box, GPtrArray *lines)
{
    if (!lines->len)
        return;
    g_autofree char *heading = g_strdup_printf(_("Unchanged (%u)"), lines->len);
    GtkWidget *expander = gtk_expander_new(heading);
    gtk_accessible_update_property(GTK_ACCESSIBLE(expander), GTK_ACCESSIBLE_PROPERTY_LABEL, heading,
                                   -1);
    GtkWidget *inside = lines_new(lines);
    gtk_widget_add_css_class(inside, "dim-label");
    gtk_widget_set_margin_top(inside, 6);
    gtk_expander_set_child(GTK_EXPANDER(expander), inside);
    gtk_widget_set_margin_top(expander, 6);
    gtk_box_append(box, expander);
}

void fig_import_dialog_show(GtkWindow *parent, FigRequest *request, FigRequest *changed,
                            const struct fig_import *what)
{
    g_autofree char *body =
        what->changes->len
            ? g_strdup_printf(_("Settings found, written by %s."), what->origin)
            : g_strdup_printf(_("Settings found, written by %s. They are the ones you have."),
                              what->origin);
    GtkWidget *dialog = adw_message_dialog_new(parent, _("Use This Picture’s Settings?"), body);
    GtkWidget *box = gtk_box_new(GTK_ORIENTATION_VERTICAL, 6);
    gtk_widget_set_size_request(box, 380, -1);
    gtk_widget_set_margin_bottom(box, 12);
    add_lines(GTK_BOX(box), _("Will Change"), what->changes);
    add_lines(GTK_BOX(box), _("Cannot Be Followed"), what->notices);
    add_folded(GTK_BOX(box), what->same);
    GtkWidget *scroller = gtk_scrolled_window_new();
    gtk_scrolled_window_set_policy(GTK_SCROLLED_WINDOW(scroller), GTK_POLICY_NEVER,
                                   GTK_POLICY_AUTOMATIC);
    gtk_scrolled_window_set_propagate_natural_height(GTK_SCROLLED_WINDOW(scroller), TRUE);
    gtk_scrolled_window_set_min_content_height(GTK_SCROLLED_WINDOW(scroller), 132);
    gtk_scrolled_window_set_max_content_height(GTK_SCROLLED_WINDOW(scroller), 420);
    gtk_scrolled_window_set_child(GTK_SCROLLED_WINDOW(scroller), box);
    adw_message_dialog_set_extra_child(ADW_MESSAGE_DIALOG(dialog), scroller);
    adw_message_dialog_add_responses(ADW_MESSAGE_DIALOG(dialog), "cancel", _("_Cancel"), "use",
                                     _("_Use Settings"), NULL);
    adw_message_dialog_set_response_appearance(ADW_MESSAGE_DIALOG(dialog), "use",
                                               ADW_RESPONSE_SUGGESTED);
    adw_message_dialog_set_default_response(ADW_MESSAGE_DIALOG(dialog), "use");
    adw_message_dialog_set_close_response(ADW_MESSAGE_DIALOG(dialog), "cancel");

    fig_names_set(dialog);
    struct import *import = g_new(struct import, 1);
    *import = (struct import){g_object_ref(request), g_object_ref(changed)};
    g_signal_connect_data(dialog, "response", G_CALLBACK(answered), import, import_free, 0);
    gtk_window_present(GTK_WINDOW(dialog));
}
