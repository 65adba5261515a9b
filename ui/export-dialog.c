#include "ui/export-dialog.h"

#include "ui/names.h"

#include <glib/gi18n.h>

struct _FigExportDialog {
    AdwWindow parent_instance;

    /* Template Widgets */
    GtkButton *cancel, *export, *choose;
    GtkProgressBar *progress;
    AdwPreferencesPage *page;
    AdwActionRow *folder_row, *quality_row;
    AdwEntryRow *pattern;
    AdwComboRow *format, *list;
    GtkSpinButton *quality, *side;
    GtkSwitch *metadata;
    GtkLabel *heading, *message;

    /* Owned References */
    FigBridge *bridge;
    GListModel *pictures;
    GCancellable *running; /* NULL = not yet */
    GtkFileChooserNative *chooser;
    char *folder;
};

static guint signal_exported;

G_DEFINE_FINAL_TYPE(FigExportDialog, fig_export_dialog, ADW_TYPE_WINDOW)

static void show_folder(FigExportDialog *self)
{
    adw_action_row_set_subtitle(self->folder_row, self->folder ? self->folder : _("Choose where"));
    gtk_widget_set_sensitive(GTK_WIDGET(self->export), self->folder && !self->running);
}

static void show_format(FigExportDialog *self)
{
    gtk_widget_set_visible(GTK_WIDGET(self->quality_row),
                           adw_combo_row_get_selected(self->format) == FIG_EXPORT_JPEG);
}

static void folder_chosen(FigExportDialog *self, int response)
{
    if (response == GTK_RESPONSE_ACCEPT) {
        g_autoptr(GFile) file = gtk_file_chooser_get_file(GTK_FILE_CHOOSER(self->chooser));
        g_free(self->folder);
        self->folder = file ? g_file_get_path(file) : NULL;
        if (self->folder)
            g_object_set(fig_bridge_settings(self->bridge), "export-folder", self->folder, NULL);
        show_folder(self);
    }
    g_clear_object(&self->chooser);
}

static void choose_clicked(FigExportDialog *self)
{
    self->chooser =
        gtk_file_chooser_native_new(_("Export to"), GTK_WINDOW(self),
                                    GTK_FILE_CHOOSER_ACTION_SELECT_FOLDER, _("_Choose"), NULL);
    g_signal_connect_swapped(self->chooser, "response", G_CALLBACK(folder_chosen), self);
    gtk_native_dialog_show(GTK_NATIVE_DIALOG(self->chooser));
}

static void tell_progress(int done, int of, gpointer user)
{
    FigExportDialog *self = user;
    if (self->bridge) /* not closed meanwhile */
        gtk_progress_bar_set_fraction(self->progress, of ? (double)done / of : 1);
}

static void set_running(FigExportDialog *self, gboolean running)
{
    g_clear_object(&self->running);
    if (running)
        self->running = g_cancellable_new();
    gtk_widget_set_visible(GTK_WIDGET(self->progress), running);
    gtk_widget_set_sensitive(GTK_WIDGET(self->page), !running);
    show_folder(self);
}

static void say(FigExportDialog *self, const char *message)
{
    gtk_label_set_label(self->message, message);
    gtk_widget_set_visible(GTK_WIDGET(self->message), *message != 0);
}

static void finished(GObject *source, GAsyncResult *result, gpointer user)
{
    g_autoptr(FigExportDialog) self = user;
    g_autoptr(GError) error = NULL;
    int n = fig_bridge_export_finish(FIG_BRIDGE(source), result, &error);
    if (!self->bridge) /* closed meanwhile */
        return;
    set_running(self, FALSE);
    if (n < 0) {
        say(self, error->message);
        return;
    }
    g_signal_emit(self, signal_exported, 0, n, self->folder);
    gtk_window_destroy(GTK_WINDOW(self));
}

static void start(FigExportDialog *self, FigExportClash clash, GAsyncReadyCallback callback)
{
    struct fig_export export = {
        .folder = self->folder,
        .pattern = (char *)gtk_editable_get_text(GTK_EDITABLE(self->pattern)),
        .format = adw_combo_row_get_selected(self->format),
        .quality = gtk_spin_button_get_value_as_int(self->quality),
        .side = gtk_spin_button_get_value_as_int(self->side),
        .metadata = gtk_switch_get_active(self->metadata),
        .list = adw_combo_row_get_selected(self->list),
        .clash = clash,
    };
    say(self, "");
    set_running(self, TRUE);
    fig_bridge_export_async(self->bridge, self->pictures, &export, tell_progress, self,
                            self->running, callback, g_object_ref(self));
}

static void clash_answered(FigExportDialog *self, const char *response)
{
    if (g_strcmp0(response, "replace") == 0)
        start(self, FIG_EXPORT_REPLACE, finished);
    else if (g_strcmp0(response, "both") == 0)
        start(self, FIG_EXPORT_KEEP_BOTH, finished);
}

static void ask(FigExportDialog *self, int clashes)
{
    g_autofree char *body = g_strdup_printf(
        g_dngettext(NULL, "%d file of that name is in the folder already.",
                    "%d files of these names are in the folder already.", (gulong)clashes),
        clashes);
    GtkWidget *dialog = adw_message_dialog_new(GTK_WINDOW(self), _("Replace Files?"), body);
    adw_message_dialog_add_responses(ADW_MESSAGE_DIALOG(dialog), "cancel", _("_Cancel"), "both",
                                     _("_Keep Both"), "replace", _("_Replace"), NULL);
    adw_message_dialog_set_response_appearance(ADW_MESSAGE_DIALOG(dialog), "replace",
                                               ADW_RESPONSE_DESTRUCTIVE);
    adw_message_dialog_set_default_response(ADW_MESSAGE_DIALOG(dialog), "both");
    g_signal_connect_swapped(dialog, "response", G_CALLBACK(clash_answered), self);
    gtk_window_present(GTK_WINDOW(dialog));
}

static void counted(GObject *source, GAsyncResult *result, gpointer user)
{
    g_autoptr(FigExportDialog) self = user;
    g_autoptr(GError) error = NULL;
    int clashes = fig_bridge_export_finish(FIG_BRIDGE(source), result, &error);
    if (!self->bridge) /* closed meanwhile */
        return;
    gboolean cancelled = g_cancellable_is_cancelled(self->running);
    set_running(self, FALSE);
    if (clashes < 0)
        say(self, error->message);
    else if (clashes > 0 && !cancelled)
        ask(self, clashes);
    else if (!cancelled)
        start(self, FIG_EXPORT_KEEP_BOTH, finished);
}

static void export_clicked(FigExportDialog *self)
{
    start(self, FIG_EXPORT_COUNT, counted);
}

/* The first press ends the export, the next one closes the dialog. */
static void cancel_clicked(FigExportDialog *self)
{
    if (self->running)
        g_cancellable_cancel(self->running);
    else
        gtk_window_destroy(GTK_WINDOW(self));
}

static void fig_export_dialog_dispose(GObject *object)
{
    FigExportDialog *self = FIG_EXPORT_DIALOG(object);
    if (self->running)
        g_cancellable_cancel(self->running);
    g_clear_object(&self->running);
    g_clear_object(&self->bridge);
    g_clear_object(&self->pictures);
    g_clear_object(&self->chooser);
    g_clear_pointer(&self->folder, g_free);
    G_OBJECT_CLASS(fig_export_dialog_parent_class)->dispose(object);
}

static void fig_export_dialog_class_init(FigExportDialogClass *class)
{
    GtkWidgetClass *widget_class = GTK_WIDGET_CLASS(class);
    G_OBJECT_CLASS(class)->dispose = fig_export_dialog_dispose;
    gtk_widget_class_set_template_from_resource(
        widget_class, "/io/github/figment_app/Figment/ui/export-dialog.ui");
#define CHILD(name) gtk_widget_class_bind_template_child(widget_class, FigExportDialog, name)
    CHILD(cancel);
    CHILD(export);
    CHILD(choose);
    CHILD(progress);
    CHILD(page);
    CHILD(folder_row);
    CHILD(quality_row);
    CHILD(pattern);
    CHILD(format);
    CHILD(list);
    CHILD(quality);
    CHILD(side);
    CHILD(metadata);
    CHILD(heading);
    CHILD(message);
#undef CHILD
    signal_exported = g_signal_new("exported", G_TYPE_FROM_CLASS(class), G_SIGNAL_RUN_LAST, 0, NULL,
                                   NULL, NULL, G_TYPE_NONE, 2, G_TYPE_INT, G_TYPE_STRING);
    gtk_widget_class_add_binding_action(widget_class, GDK_KEY_Escape, 0, "window.close", NULL);
}

static void fig_export_dialog_init(FigExportDialog *self)
{
    gtk_widget_init_template(GTK_WIDGET(self));
    fig_names_set(GTK_WIDGET(self));
    g_signal_connect_swapped(self->choose, "clicked", G_CALLBACK(choose_clicked), self);
    g_signal_connect_swapped(self->export, "clicked", G_CALLBACK(export_clicked), self);
    g_signal_connect_swapped(self->cancel, "clicked", G_CALLBACK(cancel_clicked), self);
    g_signal_connect_swapped(self->format, "notify::selected", G_CALLBACK(show_format), self);
    show_format(self);
}

FigExportDialog *fig_export_dialog_new(GtkWindow *parent, FigBridge *bridge, GListModel *pictures)
{
    FigExportDialog *self = g_object_new(FIG_TYPE_EXPORT_DIALOG, "transient-for", parent, NULL);
    self->bridge = g_object_ref(bridge);
    self->pictures = g_object_ref(pictures);
    self->folder = g_strdup(fig_settings_export_folder(fig_bridge_settings(bridge)));
    guint n = g_list_model_get_n_items(pictures);
    g_autofree char *title =
        g_strdup_printf(g_dngettext(NULL, "Export %u Picture", "Export %u Pictures", n), n);
    gtk_window_set_title(GTK_WINDOW(self), title);
    gtk_label_set_label(self->heading, title);
    show_folder(self);
    gtk_window_set_focus(GTK_WINDOW(self), GTK_WIDGET(self->folder ? self->export : self->choose));
    return self;
}
