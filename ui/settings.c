#include "ui/settings.h"

#include <glib/gstdio.h>

struct _FigSettings {
    FigRecord parent_instance;

    /* Owned */
    FigRequest *request;
    char *path;
    guint save_source;
};

G_DEFINE_FINAL_TYPE(FigSettings, fig_settings, FIG_TYPE_RECORD)

static const struct fig_field fields[] = {
    {"theme", G_TYPE_STRING, "system", 0, 0, 0}, /* system, light, dark */
    {"device", G_TYPE_STRING, "auto", 0, 0, 0},
    {"precision", G_TYPE_STRING, "auto", 0, 0, 0},
    {"low-memory", G_TYPE_BOOLEAN, NULL, FALSE, 0, 0},
    {"speeds", G_TYPE_STRING, "", 0, 0, 0}, /* of the devices, as they were measured */
    {"folder", G_TYPE_STRING, "", 0, 0, 0}, /* "" = Pictures/Figment */
    {"pattern", G_TYPE_STRING, "", 0, 0, 0},
    {"jpeg", G_TYPE_BOOLEAN, NULL, FALSE, 0, 0},
    {"quality", G_TYPE_INT, NULL, 90, 1, 100},
    {"metadata", G_TYPE_BOOLEAN, NULL, TRUE, 0, 0},
    {"preview-every", G_TYPE_INT, NULL, 1, 0, 20}, /* 0 = never */
    {"notify", G_TYPE_BOOLEAN, NULL, TRUE, 0, 0},
    {"welcomed", G_TYPE_BOOLEAN, NULL, FALSE, 0, 0},
    {"model-folders", G_TYPE_STRING, "", 0, 0, 0}, /* separated by ; */
    {"export-folder", G_TYPE_STRING, "", 0, 0, 0}, /* "" = Pictures */
    {"window-width", G_TYPE_INT, NULL, 1280, 360, 8192},
    {"window-height", G_TYPE_INT, NULL, 800, 300, 8192},
    {"window-maximized", G_TYPE_BOOLEAN, NULL, FALSE, 0, 0},
};

void fig_settings_flush(FigSettings *self)
{
    g_clear_handle_id(&self->save_source, g_source_remove);
    g_autoptr(GKeyFile) file = g_key_file_new();
    fig_record_save(self, file, "Settings");
    fig_record_save(self->request, file, "Request");
    g_autofree char *folder = g_path_get_dirname(self->path);
    g_mkdir_with_parents(folder, 0700);
    g_autofree char *text = g_key_file_to_data(file, NULL, NULL);
    g_autoptr(GError) error = NULL;
    if (!g_file_set_contents_full(self->path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600,
                                  &error))
        g_message("the settings could not be saved: %s", error->message);
}

static gboolean save_now(gpointer data)
{
    FigSettings *self = data;
    self->save_source = 0;
    fig_settings_flush(self);
    return G_SOURCE_REMOVE;
}

static void save_soon(FigSettings *self)
{
    g_clear_handle_id(&self->save_source, g_source_remove);
    self->save_source = g_timeout_add(500, save_now, self);
}

static void fig_settings_finalize(GObject *object)
{
    FigSettings *self = FIG_SETTINGS(object);
    g_clear_handle_id(&self->save_source, g_source_remove);
    g_signal_handlers_disconnect_by_data(self->request, self);
    g_clear_object(&self->request);
    g_free(self->path);
    G_OBJECT_CLASS(fig_settings_parent_class)->finalize(object);
}

static void fig_settings_class_init(FigSettingsClass *class)
{
    G_OBJECT_CLASS(class)->finalize = fig_settings_finalize;
    fig_record_class_set_fields(FIG_RECORD_CLASS(class), fields, G_N_ELEMENTS(fields));
}

static void fig_settings_init(FigSettings *self)
{
    self->path = g_build_filename(g_get_user_config_dir(), "figment", "settings.ini", NULL);
}

FigSettings *fig_settings_new(FigRequest *request)
{
    FigSettings *self = g_object_new(FIG_TYPE_SETTINGS, NULL);
    self->request = g_object_ref(request);
    g_autoptr(GKeyFile) file = g_key_file_new();
    if (g_key_file_load_from_file(file, self->path, G_KEY_FILE_NONE, NULL)) {
        fig_record_load(self, file, "Settings");
        fig_record_load(request, file, "Request");
    }
    g_signal_connect(self, "notify", G_CALLBACK(save_soon), NULL);
    g_signal_connect_swapped(request, "notify", G_CALLBACK(save_soon), self);
    return self;
}

const char *fig_settings_export_folder(FigSettings *self)
{
    const char *last = fig_record_text(self, "export-folder");
    return g_file_test(last, G_FILE_TEST_IS_DIR)
               ? last
               : g_get_user_special_dir(G_USER_DIRECTORY_PICTURES);
}
