/* The window's actions: one flat list at the end, with their keys. */
#include "ui/window-private.h"

#include "ui/batch-dialog.h"
#include "ui/export-dialog.h"
#include "ui/preferences.h"

#include <glib/gi18n.h>
#include <string.h>

static gboolean busy(FigWindow *self)
{
    gboolean value = FALSE;
    if (self->bridge)
        g_object_get(self->bridge, "busy", &value, NULL);
    return value;
}

void fig_window_update_actions(FigWindow *self)
{
    GtkWidget *widget = GTK_WIDGET(self);
    gboolean shown = self->shown && !fig_window_in_gallery(self); /* and in sight */
    gboolean saved = shown && fig_picture_facts(self->shown)->path;
    gboolean text = shown && fig_picture_facts(self->shown)->parameters;
    gtk_widget_action_set_enabled(widget, "win.stop", busy(self));
    gtk_widget_action_set_enabled(widget, "win.generate",
                                  self->request && *fig_record_text(self->request, "prompt"));
    gtk_widget_action_set_enabled(widget, "win.copy", shown);
    gtk_widget_action_set_enabled(widget, "win.save-as", shown);
    gtk_widget_action_set_enabled(widget, "win.use-settings", text);
    gtk_widget_action_set_enabled(widget, "win.same-seed", shown);
    gtk_widget_action_set_enabled(widget, "win.new-seed", !fig_window_in_gallery(self));
    gtk_widget_action_set_enabled(widget, "win.favourite", saved);
    gtk_widget_action_set_enabled(widget, "win.trash", saved);
    gtk_widget_set_sensitive(GTK_WIDGET(self->compare), shown && self->before);
    gtk_image_set_from_icon_name(self->star, saved && fig_picture_facts(self->shown)->favourite
                                                 ? "starred-symbolic"
                                                 : "non-starred-symbolic");
}

static void generate(GtkWidget *widget, const char *name, GVariant *parameter)
{
    (void)name;
    (void)parameter;
    FigWindow *self = FIG_WINDOW(widget);
    self->following = TRUE;
    if (fig_window_in_gallery(self))
        gtk_stack_set_visible_child_name(self->pages, "viewer");
    g_object_set(self->settings, "welcomed", TRUE, NULL);
    fig_bridge_submit(self->bridge, self->request);
    gboolean paused;
    g_object_get(self->bridge, "paused", &paused, NULL);
    if (paused)
        fig_messages_ask(self->messages, _("Added to the queue, which is paused"), _("Continue"),
                         "win.resume");
    if (adw_flap_get_folded(self->flap))
        adw_flap_set_reveal_flap(self->flap, FALSE);
}

static void stop(GtkWidget *widget, const char *name, GVariant *parameter)
{
    (void)name;
    (void)parameter;
    fig_bridge_stop(FIG_WINDOW(widget)->bridge);
}

static void resume(GtkWidget *widget, const char *name, GVariant *parameter)
{
    (void)name;
    (void)parameter;
    fig_bridge_set_paused(FIG_WINDOW(widget)->bridge, FALSE);
}

static void show_queue(GtkWidget *widget, const char *name, GVariant *parameter)
{
    (void)name;
    (void)parameter;
    gtk_menu_button_popup(FIG_WINDOW(widget)->queue_button);
}

static void show_history(GtkWidget *widget, const char *name, GVariant *parameter)
{
    (void)name;
    (void)parameter;
    FigWindow *self = FIG_WINDOW(widget);
    if (fig_window_in_gallery(self)) {
        gboolean any = busy(self) || g_list_model_get_n_items(G_LIST_MODEL(self->recent));
        gtk_stack_set_visible_child_name(self->pages, any ? "viewer" : "welcome");
        gtk_widget_grab_focus(GTK_WIDGET(self->canvas));
        return;
    }
    gtk_stack_set_visible_child_name(self->pages, "gallery");
    fig_gallery_refresh(self->gallery);
    fig_gallery_focus_search(self->gallery);
}

static void zoom(GtkWidget *widget, const char *name, GVariant *parameter)
{
    (void)parameter;
    FigCanvas *canvas = FIG_WINDOW(widget)->canvas;
    if (strcmp(name, "win.zoom-fit") == 0)
        fig_canvas_set_zoom(canvas, 0);
    else if (strcmp(name, "win.zoom-100") == 0)
        fig_canvas_set_zoom(canvas, 1.0 / gtk_widget_get_scale_factor(widget));
    else
        fig_canvas_zoom_by(canvas, strcmp(name, "win.zoom-in") == 0 ? 1.25 : 0.8);
}

static void step(GtkWidget *widget, const char *name, GVariant *parameter)
{
    (void)parameter;
    fig_window_step(FIG_WINDOW(widget), strcmp(name, "win.newer") == 0 ? -1 : 1);
}

static void compare(GtkWidget *widget, const char *name, GVariant *parameter)
{
    (void)name;
    (void)parameter;
    GtkToggleButton *button = FIG_WINDOW(widget)->compare;
    if (gtk_widget_get_sensitive(GTK_WIDGET(button)))
        gtk_toggle_button_set_active(button, !gtk_toggle_button_get_active(button));
}

static void copy(GtkWidget *widget, const char *name, GVariant *parameter)
{
    (void)name;
    (void)parameter;
    FigWindow *self = FIG_WINDOW(widget);
    g_autoptr(GError) error = NULL;
    g_autoptr(GdkTexture) texture = fig_picture_load(self->shown, &error);
    if (!texture) {
        fig_messages_tell(self->messages, error->message);
        return;
    }
    gdk_clipboard_set_texture(gtk_widget_get_clipboard(widget), texture);
    fig_messages_tell(self->messages, _("Picture copied"));
}

static void saved_as(FigWindow *self, int response)
{
    g_autoptr(GFile) file = gtk_file_chooser_get_file(GTK_FILE_CHOOSER(self->chooser));
    g_autofree char *path = file ? g_file_get_path(file) : NULL;
    g_clear_object(&self->chooser);
    if (response != GTK_RESPONSE_ACCEPT || !path || !self->shown)
        return;
    g_autoptr(GError) error = NULL;
    if (fig_bridge_save_picture(self->bridge, self->shown, path,
                                fig_record_int(self->settings, "quality"),
                                fig_record_bool(self->settings, "metadata"), &error))
        fig_messages_tell(self->messages, _("Picture saved"));
    else
        fig_messages_tell(self->messages, error->message);
}

static void save_as(GtkWidget *widget, const char *name, GVariant *parameter)
{
    (void)name;
    (void)parameter;
    FigWindow *self = FIG_WINDOW(widget);
    const char *path = fig_picture_facts(self->shown)->path;
    g_autofree char *base = path ? g_path_get_basename(path) : g_strdup(_("picture.png"));
    self->chooser = gtk_file_chooser_native_new(_("Save Picture"), GTK_WINDOW(self),
                                                GTK_FILE_CHOOSER_ACTION_SAVE, NULL, NULL);
    const char *usual = fig_settings_export_folder(self->settings);
    g_autoptr(GFile) folder = g_file_new_for_path(usual ? usual : g_get_home_dir());
    gtk_file_chooser_set_current_folder(GTK_FILE_CHOOSER(self->chooser), folder, NULL);
    gtk_file_chooser_set_current_name(GTK_FILE_CHOOSER(self->chooser), base);
    g_signal_connect_swapped(self->chooser, "response", G_CALLBACK(saved_as), self);
    gtk_native_dialog_show(GTK_NATIVE_DIALOG(self->chooser));
}

static void saved_elsewhere(FigWindow *self, int response)
{
    g_autoptr(GFile) file = gtk_file_chooser_get_file(GTK_FILE_CHOOSER(self->chooser));
    g_autofree char *folder = file ? g_file_get_path(file) : NULL;
    g_clear_object(&self->chooser);
    if (response != GTK_RESPONSE_ACCEPT || !folder)
        return;
    g_autoptr(GListModel) pictures = fig_window_unsaved(self);
    guint n = g_list_model_get_n_items(pictures);
    g_autoptr(GError) error = NULL;
    for (guint i = 0; i < n; i++) {
        g_autoptr(FigPicture) picture = g_list_model_get_item(pictures, i);
        g_autofree char *path = fig_bridge_save_into(self->bridge, picture, folder, &error);
        if (!path) {
            fig_messages_ask(self->messages, error->message, _("Save Elsewhere"),
                             "win.save-elsewhere");
            return;
        }
    }
    fig_messages_drop_question(self->messages);
    fig_window_update_actions(self);
    g_autofree char *name = g_filename_display_name(folder);
    g_autofree char *text = g_strdup_printf(
        g_dngettext(NULL, "%u picture saved into “%s”", "%u pictures saved into “%s”", n), n, name);
    fig_messages_offer(self->messages, text, _("Use This Folder"), "win.use-folder", folder);
}

/* What could not be saved goes into a folder that the user chooses. */
static void save_elsewhere(GtkWidget *widget, const char *name, GVariant *parameter)
{
    (void)name;
    (void)parameter;
    FigWindow *self = FIG_WINDOW(widget);
    const char *last = fig_record_text(self->settings, "export-folder");
    g_autoptr(GFile) folder = g_file_new_for_path(*last ? last : g_get_home_dir());
    if (self->chooser)
        return;
    self->chooser =
        gtk_file_chooser_native_new(_("Save Elsewhere"), GTK_WINDOW(self),
                                    GTK_FILE_CHOOSER_ACTION_SELECT_FOLDER, _("_Save Here"), NULL);
    gtk_file_chooser_set_current_folder(GTK_FILE_CHOOSER(self->chooser), folder, NULL);
    g_signal_connect_swapped(self->chooser, "response", G_CALLBACK(saved_elsewhere), self);
    gtk_native_dialog_show(GTK_NATIVE_DIALOG(self->chooser));
}

static void use_folder(GtkWidget *widget, const char *name, GVariant *parameter)
{
    (void)name;
    FigWindow *self = FIG_WINDOW(widget);
    g_object_set(self->settings, "folder", g_variant_get_string(parameter, NULL), NULL);
    guint waiting;
    g_object_get(self->bridge, "waiting", &waiting, NULL);
    if (waiting)
        fig_messages_ask(self->messages, _("Pictures go there from now on. The queue is paused."),
                         _("Continue"), "win.resume");
    else
        fig_bridge_set_paused(self->bridge, FALSE);
}

static void use_settings(GtkWidget *widget, const char *name, GVariant *parameter)
{
    (void)name;
    (void)parameter;
    FigWindow *self = FIG_WINDOW(widget);
    fig_bridge_parse_settings(self->bridge, fig_picture_facts(self->shown)->parameters,
                              self->request);
    fig_messages_tell(self->messages, _("Settings taken over"));
}

static void same_seed(GtkWidget *widget, const char *name, GVariant *parameter)
{
    (void)name;
    (void)parameter;
    FigWindow *self = FIG_WINDOW(widget);
    g_object_set(self->request, "seed", fig_picture_facts(self->shown)->seed, "random-seed", FALSE,
                 NULL);
}

/* The shown picture again, but another; without one, only the seed. */
static void new_seed(GtkWidget *widget, const char *name, GVariant *parameter)
{
    FigWindow *self = FIG_WINDOW(widget);
    const char *text = self->shown ? fig_picture_facts(self->shown)->parameters : NULL;
    if (text && *text)
        fig_bridge_parse_settings(self->bridge, text, self->request);
    g_object_set(self->request, "random-seed", TRUE, NULL);
    if (text && *text)
        generate(widget, name, parameter);
}

static void favourite(GtkWidget *widget, const char *name, GVariant *parameter)
{
    (void)name;
    (void)parameter;
    FigWindow *self = FIG_WINDOW(widget);
    fig_bridge_set_favourite(self->bridge, self->shown, !fig_picture_facts(self->shown)->favourite);
    fig_window_update_actions(self);
}

static void trash(GtkWidget *widget, const char *name, GVariant *parameter)
{
    (void)name;
    (void)parameter;
    FigWindow *self = FIG_WINDOW(widget);
    g_autoptr(GError) error = NULL;
    if (!fig_bridge_trash(self->bridge, self->shown, &error)) {
        fig_messages_tell(self->messages, error->message);
        return;
    }
    fig_window_refresh_history(self);
    fig_messages_tell(self->messages, _("Picture moved to the trash"));
}

static void exported(FigWindow *self, int pictures, const char *folder)
{
    g_autofree char *text =
        g_strdup_printf(g_dngettext(NULL, "%d picture exported to “%s”",
                                    "%d pictures exported to “%s”", (gulong)pictures),
                        pictures, folder);
    fig_messages_offer(self->messages, text, _("Open Folder"), "win.show-folder", folder);
}

/* The selection of the gallery, or all pictures. */
static void export(GtkWidget *widget, const char *name, GVariant *parameter)
{
    (void)parameter;
    FigWindow *self = FIG_WINDOW(widget);
    g_autoptr(GListModel) pictures = NULL;
    if (strcmp(name, "win.export-selection") == 0) {
        pictures = g_object_steal_data(G_OBJECT(self), "export");
    } else {
        struct fig_filter all = {0};
        pictures = fig_bridge_history(self->bridge, &all, 0);
    }
    if (!pictures)
        return;
    if (!g_list_model_get_n_items(pictures)) {
        fig_messages_tell(self->messages, _("There is no picture to export yet."));
        return;
    }
    FigExportDialog *dialog = fig_export_dialog_new(GTK_WINDOW(self), self->bridge, pictures);
    g_signal_connect_object(dialog, "exported", G_CALLBACK(exported), self, G_CONNECT_SWAPPED);
    gtk_window_present(GTK_WINDOW(dialog));
}

static void batch(GtkWidget *widget, const char *name, GVariant *parameter)
{
    (void)name;
    (void)parameter;
    FigWindow *self = FIG_WINDOW(widget);
    GtkWindow *dialog =
        GTK_WINDOW(fig_batch_dialog_new(GTK_WINDOW(self), self->bridge, self->request));
    gtk_window_present(dialog);
}

static void opened(FigWindow *self, int response)
{
    g_autoptr(GFile) file = gtk_file_chooser_get_file(GTK_FILE_CHOOSER(self->chooser));
    g_autofree char *path = file ? g_file_get_path(file) : NULL;
    g_clear_object(&self->chooser);
    if (response == GTK_RESPONSE_ACCEPT && path)
        fig_window_open_file(self, path);
}

static void open_file(GtkWidget *widget, const char *name, GVariant *parameter)
{
    (void)name;
    (void)parameter;
    FigWindow *self = FIG_WINDOW(widget);
    self->chooser = gtk_file_chooser_native_new(_("Open a Picture or a Model"), GTK_WINDOW(self),
                                                GTK_FILE_CHOOSER_ACTION_OPEN, NULL, NULL);
    GtkFileFilter *filter = gtk_file_filter_new();
    gtk_file_filter_set_name(filter, _("Pictures and models"));
    gtk_file_filter_add_mime_type(filter, "image/png");
    gtk_file_filter_add_mime_type(filter, "image/jpeg");
    gtk_file_filter_add_suffix(filter, "safetensors");
    gtk_file_chooser_add_filter(GTK_FILE_CHOOSER(self->chooser), filter);
    g_object_unref(filter);
    g_signal_connect_swapped(self->chooser, "response", G_CALLBACK(opened), self);
    gtk_native_dialog_show(GTK_NATIVE_DIALOG(self->chooser));
}

/* The one that is named, or the pictures'. */
static void open_folder(GtkWidget *widget, const char *name, GVariant *parameter)
{
    (void)name;
    FigWindow *self = FIG_WINDOW(widget);
    g_autofree char *folder = parameter ? g_variant_dup_string(parameter, NULL)
                                        : fig_bridge_pictures_folder(self->bridge);
    g_mkdir_with_parents(folder, 0755);
    g_autofree char *uri = g_filename_to_uri(folder, NULL, NULL);
    gtk_show_uri(GTK_WINDOW(self), uri, GDK_CURRENT_TIME);
}

static void preferences(GtkWidget *widget, const char *name, GVariant *parameter)
{
    (void)name;
    (void)parameter;
    FigWindow *self = FIG_WINDOW(widget);
    gtk_window_present(
        GTK_WINDOW(fig_preferences_new(GTK_WINDOW(self), self->settings, self->bridge)));
}

static void shortcuts(GtkWidget *widget, const char *name, GVariant *parameter)
{
    (void)name;
    (void)parameter;
    g_autoptr(GtkBuilder) builder =
        gtk_builder_new_from_resource("/io/github/figment_app/Figment/ui/shortcuts.ui");
    GtkWindow *window = GTK_WINDOW(gtk_builder_get_object(builder, "shortcuts"));
    gtk_window_set_transient_for(window, GTK_WINDOW(widget));
    gtk_window_present(window);
}

static void toggle_panel(GtkWidget *widget, const char *name, GVariant *parameter)
{
    (void)name;
    (void)parameter;
    AdwFlap *flap = FIG_WINDOW(widget)->flap;
    adw_flap_set_reveal_flap(flap, !adw_flap_get_reveal_flap(flap));
}

static void focus_prompt(GtkWidget *widget, const char *name, GVariant *parameter)
{
    (void)name;
    (void)parameter;
    fig_panel_focus_prompt(FIG_WINDOW(widget)->panel);
}

/* What would help after the last failure. */
static void remedy(GtkWidget *widget, const char *name, GVariant *parameter)
{
    (void)name;
    (void)parameter;
    FigWindow *self = FIG_WINDOW(widget);
    int width = fig_record_int(self->request, "width"),
        height = fig_record_int(self->request, "height");
    g_autofree char *text = NULL;
    switch ((FigRemedy)self->remedy) {
    case FIG_REMEDY_CHANGE:
        adw_flap_set_reveal_flap(self->flap, TRUE);
        fig_panel_focus_prompt(self->panel);
        break;
    case FIG_REMEDY_MODEL:
        adw_flap_set_reveal_flap(self->flap, TRUE);
        fig_panel_choose_model(self->panel);
        break;
    case FIG_REMEDY_CPU:
        g_object_set(self->settings, "device", "cpu", NULL);
        fig_messages_tell(self->messages, _("The next picture is made by the CPU."));
        break;
    case FIG_REMEDY_SMALLER:
        g_object_set(self->request, "width", MAX(64, width * 3 / 4 / 8 * 8), "height",
                     MAX(64, height * 3 / 4 / 8 * 8), NULL);
        text = g_strdup_printf(_("The next picture has %d × %d pixels."),
                               fig_record_int(self->request, "width"),
                               fig_record_int(self->request, "height"));
        fig_messages_tell(self->messages, text);
        break;
    case FIG_REMEDY_FOLDER:
        save_elsewhere(widget, name, NULL);
        break;
    case FIG_REMEDY_F32:
        g_object_set(self->settings, "precision", "f32", NULL);
        fig_messages_tell(self->messages, _("The next picture is made with 32 bits."));
        break;
    case FIG_REMEDY_NONE:
        break;
    }
}

static const struct {
    const char *name;
    void (*activate)(GtkWidget *widget, const char *name, GVariant *parameter);
    guint key;
    GdkModifierType modifiers;
} actions[] = {
    {"win.generate", generate, 0,
     0}, /* Ctrl+Return is an accelerator: a text field would take it */
    {"win.stop", stop, GDK_KEY_Escape, 0},
    {"win.resume", resume, 0, 0},
    {"win.queue", show_queue, GDK_KEY_j, GDK_CONTROL_MASK},
    {"win.history", show_history, GDK_KEY_h, GDK_CONTROL_MASK},
    {"win.zoom-fit", zoom, GDK_KEY_0, GDK_CONTROL_MASK},
    {"win.zoom-100", zoom, GDK_KEY_1, GDK_CONTROL_MASK},
    {"win.zoom-in", zoom, GDK_KEY_plus, GDK_CONTROL_MASK},
    {"win.zoom-out", zoom, GDK_KEY_minus, GDK_CONTROL_MASK},
    {"win.newer", step, GDK_KEY_Left, GDK_ALT_MASK},
    {"win.older", step, GDK_KEY_Right, GDK_ALT_MASK},
    {"win.compare", compare, GDK_KEY_d, GDK_CONTROL_MASK},
    {"win.copy", copy, GDK_KEY_c, GDK_CONTROL_MASK | GDK_SHIFT_MASK},
    {"win.save-as", save_as, GDK_KEY_s, GDK_CONTROL_MASK},
    {"win.use-settings", use_settings, GDK_KEY_u, GDK_CONTROL_MASK},
    {"win.same-seed", same_seed, GDK_KEY_e, GDK_CONTROL_MASK},
    {"win.new-seed", new_seed, GDK_KEY_r, GDK_CONTROL_MASK},
    {"win.favourite", favourite, GDK_KEY_b, GDK_CONTROL_MASK},
    {"win.trash", trash, GDK_KEY_Delete, GDK_CONTROL_MASK},
    {"win.export", export, GDK_KEY_e, GDK_CONTROL_MASK | GDK_SHIFT_MASK},
    {"win.export-selection", export, 0, 0},
    {"win.batch", batch, GDK_KEY_b, GDK_CONTROL_MASK | GDK_SHIFT_MASK},
    {"win.open", open_file, GDK_KEY_o, GDK_CONTROL_MASK},
    {"win.open-folder", open_folder, 0, 0},
    {"win.save-elsewhere", save_elsewhere, 0, 0},
    {"win.preferences", preferences, GDK_KEY_comma, GDK_CONTROL_MASK},
    {"win.shortcuts", shortcuts, GDK_KEY_question, GDK_CONTROL_MASK},
    {"win.panel", toggle_panel, GDK_KEY_F9, 0},
    {"win.prompt", focus_prompt, GDK_KEY_l, GDK_CONTROL_MASK},
    {"win.remedy", remedy, 0, 0},
};

void fig_window_class_install_actions(GtkWidgetClass *class)
{
    for (guint i = 0; i < G_N_ELEMENTS(actions); i++) {
        gtk_widget_class_install_action(class, actions[i].name, NULL, actions[i].activate);
        if (actions[i].key)
            gtk_widget_class_add_binding_action(class, actions[i].key, actions[i].modifiers,
                                                actions[i].name, NULL);
    }
    /* The key with the plus sign without Shift, and the number pad. */
    const struct {
        guint key;
        const char *action;
    } also[] = {{GDK_KEY_equal, "win.zoom-in"},
                {GDK_KEY_KP_Add, "win.zoom-in"},
                {GDK_KEY_KP_Subtract, "win.zoom-out"},
                {GDK_KEY_KP_0, "win.zoom-fit"},
                {GDK_KEY_KP_1, "win.zoom-100"}};
    for (guint i = 0; i < G_N_ELEMENTS(also); i++)
        gtk_widget_class_add_binding_action(class, also[i].key, GDK_CONTROL_MASK, also[i].action,
                                            NULL);
    /* Where a text has the keys, it copies its selection. */
    gtk_widget_class_add_binding_action(class, GDK_KEY_c, GDK_CONTROL_MASK, "win.copy", NULL);
    gtk_widget_class_install_action(class, "win.show-folder", "s", open_folder);
    gtk_widget_class_install_action(class, "win.use-folder", "s", use_folder);
}
