/* Files dropped on the window, or opened: pictures give their settings, models join the library. */
#include "ui/window-private.h"

#include "ui/import-dialog.h"

#include <glib/gi18n.h>

static gboolean is_model(const char *path)
{
    g_autofree char *lower = g_ascii_strdown(path, -1);
    return g_file_test(path, G_FILE_TEST_IS_DIR) || g_str_has_suffix(lower, ".safetensors") ||
           g_str_has_suffix(lower, ".ckpt") || g_str_has_suffix(lower, ".pt") ||
           g_str_has_suffix(lower, ".sft");
}

static void add_model(FigWindow *self, const char *path)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *name = fig_bridge_add_model(self->bridge, path, &error);
    if (!name) {
        fig_messages_tell(self->messages, error->message);
        return;
    }
    g_object_set(self->request, "model", name, NULL);
    fig_panel_refresh_models(self->panel);
    g_autofree char *base = g_path_get_basename(name);
    g_autofree char *text = g_strdup_printf(_("“%s” is used from where it lies"), base);
    fig_messages_tell(self->messages, text);
}

void fig_window_open_file(FigWindow *self, const char *path)
{
    if (is_model(path)) {
        add_model(self, path);
        return;
    }
    g_autoptr(GError) error = NULL;
    g_autoptr(FigRequest) changed = NULL;
    struct fig_import import = {0};
    if (fig_bridge_read_settings(self->bridge, path, self->request, &changed, &import, &error))
        fig_import_dialog_show(GTK_WINDOW(self), self->request, changed, &import);
    else
        fig_messages_tell(self->messages, error->message);
    fig_import_clear(&import);
}

static gboolean dropped(FigWindow *self, const GValue *value)
{
    GSList *files = g_value_get_boxed(value); /* GdkFileList */
    for (GSList *file = files; file; file = file->next) {
        g_autofree char *path = g_file_get_path(file->data);
        if (path)
            fig_window_open_file(self, path);
        else
            fig_messages_tell(self->messages,
                              _("Only files on this computer can be dropped here."));
    }
    return files != NULL;
}

void fig_window_accept_drops(FigWindow *self)
{
    GtkDropTarget *target = gtk_drop_target_new(GDK_TYPE_FILE_LIST, GDK_ACTION_COPY);
    g_signal_connect_swapped(target, "drop", G_CALLBACK(dropped), self);
    gtk_widget_add_controller(GTK_WIDGET(self), GTK_EVENT_CONTROLLER(target));
}
