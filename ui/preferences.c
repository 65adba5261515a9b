#include "ui/preferences.h"

#include "ui/names.h"

#include <glib/gi18n.h>
#include <string.h>

struct _FigPreferences {
    AdwPreferencesWindow parent_instance;

    /* Template Widgets */
    AdwComboRow *device, *precision, *theme;
    GtkSpinButton *preview_every, *quality;
    GtkSwitch *notify, *jpeg, *metadata, *low_memory;
    AdwActionRow *speed_row, *folder_row, *quality_row, *models_row, *more_models_row, *rebuild_row;
    GtkButton *choose_folder, *add_models, *clear_models, *rebuild, *measure;
    GtkSpinner *measuring;
    AdwEntryRow *pattern;

    /* Owned References */
    FigSettings *settings;
    FigBridge *bridge;
    GPtrArray *devices;          /* struct fig_device, NULL until they are known */
    struct fig_device *measured; /* one of them, just now */
    GtkFileChooserNative *chooser;
};

G_DEFINE_FINAL_TYPE(FigPreferences, fig_preferences, ADW_TYPE_PREFERENCES_WINDOW)

static const char *const precisions[] = {"auto", "bf16", "f16", "f32"};
static const char *const themes[] = {"system", "light", "dark"};

void fig_preferences_apply_theme(FigSettings *settings)
{
    const char *theme = fig_record_text(settings, "theme");
    adw_style_manager_set_color_scheme(adw_style_manager_get_default(),
                                       strcmp(theme, "light") == 0  ? ADW_COLOR_SCHEME_FORCE_LIGHT
                                       : strcmp(theme, "dark") == 0 ? ADW_COLOR_SCHEME_FORCE_DARK
                                                                    : ADW_COLOR_SCHEME_DEFAULT);
}

/* A combo row over a fixed list of values of a text setting. */
static guint index_of(const char *const *values, guint n, const char *value)
{
    for (guint i = 0; i < n; i++)
        if (strcmp(values[i], value) == 0)
            return i;
    return 0;
}

static void theme_selected(FigPreferences *self)
{
    g_object_set(self->settings, "theme", themes[adw_combo_row_get_selected(self->theme)], NULL);
    fig_preferences_apply_theme(self->settings);
}

/* A line for each device: what was measured of it in the chosen precision. */
static void show_speed(FigPreferences *self)
{
    g_autoptr(GString) text = g_string_new(NULL);
    gboolean busy, measuring = self->measured != NULL;
    g_object_get(self->bridge, "busy", &busy, NULL);
    for (guint i = 0; self->devices && i < self->devices->len; i++) {
        const struct fig_device *d = self->devices->pdata[i];
        double speed = fig_bridge_speed(self->bridge, d->name);
        g_autofree char *line =
            d == self->measured ? g_strdup_printf(_("%s: measuring…"), d->label)
            : d->problem        ? g_strdup_printf("%s: %s", d->label, d->problem)
            : speed > 0 ? g_strdup_printf(_("%s: %.0f GFLOP/s, measured"), d->label, speed / 1e9)
                        : g_strdup_printf(_("%s: not measured yet"), d->label);
        g_string_append_printf(text, "%s%s", text->len ? "\n" : "", line);
    }
    adw_action_row_set_subtitle(self->speed_row, text->str);
    gtk_spinner_set_spinning(self->measuring, measuring);
    gtk_widget_set_sensitive(GTK_WIDGET(self->measure), self->devices && !busy && !measuring);
}

static void measure_next(FigPreferences *self, guint i);

static void measured(GObject *source, GAsyncResult *result, gpointer user)
{
    g_autoptr(FigPreferences) self = user;
    g_autoptr(GError) error = NULL;
    fig_bridge_measure_finish(FIG_BRIDGE(source), result, &error);
    if (!self->settings) /* closed meanwhile */
        return;
    g_free(self->measured->problem);
    self->measured->problem = error ? g_strdup(error->message) : NULL;
    guint i = 0;
    g_ptr_array_find(self->devices, self->measured, &i);
    measure_next(self, i + 1);
}

/* One after the other: beside each other they would take each other's time. */
static void measure_next(FigPreferences *self, guint i)
{
    self->measured = i < self->devices->len ? self->devices->pdata[i] : NULL;
    if (self->measured)
        fig_bridge_measure_async(self->bridge, self->measured->name, measured, g_object_ref(self));
    show_speed(self);
}

static void measure_clicked(FigPreferences *self)
{
    measure_next(self, 0);
}

static void precision_selected(FigPreferences *self)
{
    g_object_set(self->settings, "precision",
                 precisions[adw_combo_row_get_selected(self->precision)], NULL);
    show_speed(self);
}

static void device_selected(FigPreferences *self)
{
    guint i = adw_combo_row_get_selected(self->device);
    if (!self->devices || i > self->devices->len)
        return;
    const struct fig_device *d = i ? self->devices->pdata[i - 1] : NULL;
    g_object_set(self->settings, "device", d ? d->name : "auto", NULL);
}

static void devices_known(GObject *source, GAsyncResult *result, gpointer user)
{
    g_autoptr(FigPreferences) self = user;
    self->devices = fig_bridge_devices_finish(FIG_BRIDGE(source), result, NULL);
    if (!self->devices || !self->settings)
        return;
    const char *current = fig_record_text(self->settings, "device");
    g_autoptr(GtkStringList) labels = gtk_string_list_new(NULL);
    gtk_string_list_append(labels, _("Automatic"));
    guint selected = 0;
    for (guint i = 0; i < self->devices->len; i++) {
        const struct fig_device *d = self->devices->pdata[i];
        g_autofree char *size = d->memory ? g_format_size(d->memory) : NULL;
        g_autofree char *label =
            size ? g_strdup_printf("%s · %s", d->label, size) : g_strdup(d->label);
        gtk_string_list_append(labels, label);
        if (strcmp(d->name, current) == 0)
            selected = i + 1;
    }
    adw_combo_row_set_model(self->device, G_LIST_MODEL(labels));
    adw_combo_row_set_selected(self->device, selected);
    g_signal_connect_swapped(self->device, "notify::selected", G_CALLBACK(device_selected), self);
    show_speed(self);
}

static void show_folders(FigPreferences *self)
{
    g_autofree char *pictures = fig_bridge_pictures_folder(self->bridge);
    g_autofree char *models = fig_bridge_models_folder(self->bridge);
    adw_action_row_set_subtitle(self->folder_row, pictures);
    adw_action_row_set_subtitle(self->models_row, models);
    g_auto(GStrv) more = g_strsplit(fig_record_text(self->settings, "model-folders"), ";", -1);
    g_autofree char *lines = g_strjoinv("\n", more);
    adw_action_row_set_subtitle(self->more_models_row, *lines ? lines : _("None"));
    gtk_widget_set_sensitive(GTK_WIDGET(self->clear_models), *lines != 0);
}

static void show_quality(FigPreferences *self)
{
    gtk_widget_set_sensitive(GTK_WIDGET(self->quality_row),
                             fig_record_bool(self->settings, "jpeg"));
}

static void folder_chosen(FigPreferences *self, int response)
{
    g_autoptr(GFile) file = gtk_file_chooser_get_file(GTK_FILE_CHOOSER(self->chooser));
    g_autofree char *path = file ? g_file_get_path(file) : NULL;
    gboolean models = g_object_get_data(G_OBJECT(self->chooser), "models") != NULL;
    g_clear_object(&self->chooser);
    if (response != GTK_RESPONSE_ACCEPT || !path)
        return;
    if (models) {
        const char *old = fig_record_text(self->settings, "model-folders");
        g_autofree char *all = *old ? g_strconcat(old, ";", path, NULL) : g_strdup(path);
        g_object_set(self->settings, "model-folders", all, NULL);
    } else {
        g_object_set(self->settings, "folder", path, NULL);
    }
    show_folders(self);
}

static void choose(FigPreferences *self, gboolean models)
{
    self->chooser = gtk_file_chooser_native_new(
        models ? _("Folder with models") : _("Folder for pictures"), GTK_WINDOW(self),
        GTK_FILE_CHOOSER_ACTION_SELECT_FOLDER, _("_Choose"), NULL);
    if (models)
        g_object_set_data(G_OBJECT(self->chooser), "models", self);
    g_signal_connect_swapped(self->chooser, "response", G_CALLBACK(folder_chosen), self);
    gtk_native_dialog_show(GTK_NATIVE_DIALOG(self->chooser));
}

static void choose_folder_clicked(FigPreferences *self)
{
    choose(self, FALSE);
}

static void add_models_clicked(FigPreferences *self)
{
    choose(self, TRUE);
}

static void clear_models_clicked(FigPreferences *self)
{
    g_object_set(self->settings, "model-folders", "", NULL);
    show_folders(self);
}

static void rebuilt(GObject *source, GAsyncResult *result, gpointer user)
{
    g_autoptr(FigPreferences) self = user;
    g_autoptr(GError) error = NULL;
    gint64 n = fig_bridge_rebuild_finish(FIG_BRIDGE(source), result, &error);
    if (!self->settings) /* closed meanwhile */
        return;
    g_autofree char *text =
        n < 0 ? g_strdup(error->message)
              : g_strdup_printf(
                    g_dngettext(NULL, "%d picture found", "%d pictures found", (gulong)n), (int)n);
    adw_action_row_set_subtitle(self->rebuild_row, text);
    gtk_widget_set_sensitive(GTK_WIDGET(self->rebuild), TRUE);
}

static void rebuild_clicked(FigPreferences *self)
{
    gtk_widget_set_sensitive(GTK_WIDGET(self->rebuild), FALSE);
    adw_action_row_set_subtitle(self->rebuild_row, _("Reading…"));
    fig_bridge_rebuild_async(self->bridge, NULL, rebuilt, g_object_ref(self));
}

static void set_up(FigPreferences *self)
{
    const struct {
        const char *setting;
        gpointer widget;
        const char *property;
    } bindings[] = {
        {"preview-every", gtk_spin_button_get_adjustment(self->preview_every), "value"},
        {"quality", gtk_spin_button_get_adjustment(self->quality), "value"},
        {"low-memory", self->low_memory, "active"},
        {"notify", self->notify, "active"},
        {"jpeg", self->jpeg, "active"},
        {"metadata", self->metadata, "active"},
        {"pattern", self->pattern, "text"},
    };
    for (guint i = 0; i < G_N_ELEMENTS(bindings); i++)
        g_object_bind_property(self->settings, bindings[i].setting, bindings[i].widget,
                               bindings[i].property,
                               G_BINDING_SYNC_CREATE | G_BINDING_BIDIRECTIONAL);

    adw_combo_row_set_selected(self->precision,
                               index_of(precisions, G_N_ELEMENTS(precisions),
                                        fig_record_text(self->settings, "precision")));
    adw_combo_row_set_selected(self->theme, index_of(themes, G_N_ELEMENTS(themes),
                                                     fig_record_text(self->settings, "theme")));
    g_signal_connect_swapped(self->precision, "notify::selected", G_CALLBACK(precision_selected),
                             self);
    g_signal_connect_swapped(self->theme, "notify::selected", G_CALLBACK(theme_selected), self);
    g_signal_connect_swapped(self->choose_folder, "clicked", G_CALLBACK(choose_folder_clicked),
                             self);
    g_signal_connect_swapped(self->add_models, "clicked", G_CALLBACK(add_models_clicked), self);
    g_signal_connect_swapped(self->clear_models, "clicked", G_CALLBACK(clear_models_clicked), self);
    g_signal_connect_swapped(self->rebuild, "clicked", G_CALLBACK(rebuild_clicked), self);
    g_signal_connect_swapped(self->measure, "clicked", G_CALLBACK(measure_clicked), self);
    g_signal_connect_object(self->bridge, "notify::busy", G_CALLBACK(show_speed), self,
                            G_CONNECT_SWAPPED);
    g_signal_connect_object(self->settings, "notify::jpeg", G_CALLBACK(show_quality), self,
                            G_CONNECT_SWAPPED);
    show_folders(self);
    show_quality(self);
    show_speed(self);
    fig_bridge_devices_async(self->bridge, devices_known, g_object_ref(self));
}

static void fig_preferences_dispose(GObject *object)
{
    FigPreferences *self = FIG_PREFERENCES(object);
    g_clear_object(&self->settings);
    g_clear_object(&self->bridge);
    g_clear_object(&self->chooser);
    g_clear_pointer(&self->devices, g_ptr_array_unref);
    G_OBJECT_CLASS(fig_preferences_parent_class)->dispose(object);
}

static void fig_preferences_class_init(FigPreferencesClass *class)
{
    GtkWidgetClass *widget_class = GTK_WIDGET_CLASS(class);
    G_OBJECT_CLASS(class)->dispose = fig_preferences_dispose;
    gtk_widget_class_set_template_from_resource(widget_class,
                                                "/io/github/figment_app/Figment/ui/preferences.ui");
#define CHILD(name) gtk_widget_class_bind_template_child(widget_class, FigPreferences, name)
    CHILD(device);
    CHILD(precision);
    CHILD(theme);
    CHILD(preview_every);
    CHILD(quality);
    CHILD(low_memory);
    CHILD(notify);
    CHILD(jpeg);
    CHILD(metadata);
    CHILD(speed_row);
    CHILD(measure);
    CHILD(measuring);
    CHILD(folder_row);
    CHILD(quality_row);
    CHILD(models_row);
    CHILD(more_models_row);
    CHILD(rebuild_row);
    CHILD(choose_folder);
    CHILD(add_models);
    CHILD(clear_models);
    CHILD(rebuild);
    CHILD(pattern);
#undef CHILD
}

static void fig_preferences_init(FigPreferences *self)
{
    gtk_widget_init_template(GTK_WIDGET(self));
    fig_names_set(GTK_WIDGET(self));
}

FigPreferences *fig_preferences_new(GtkWindow *parent, FigSettings *settings, FigBridge *bridge)
{
    FigPreferences *self = g_object_new(FIG_TYPE_PREFERENCES, "transient-for", parent, NULL);
    self->settings = g_object_ref(settings);
    self->bridge = g_object_ref(bridge);
    set_up(self);
    return self;
}
