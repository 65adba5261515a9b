#include "ui/window-private.h"

#include "ui/names.h"
#include "ui/tile.h"

#include <glib/gi18n.h>
#include <string.h>

#define STRIP_LENGTH 200

G_DEFINE_FINAL_TYPE(FigWindow, fig_window, ADW_TYPE_APPLICATION_WINDOW)

/* ---- messages ---- */

void fig_window_tell(FigWindow *self, const char *text)
{
    fig_messages_tell(self->messages, text);
}

static void failed(FigWindow *self, FigJob *job, const char *sentence, int remedy)
{
    static const struct {
        const char *button, *action;
    } remedies[] = {
        [FIG_REMEDY_NONE] = {NULL, NULL},
        [FIG_REMEDY_CHANGE] = {N_("Change"), "win.remedy"},
        [FIG_REMEDY_MODEL] = {N_("Choose Model"), "win.remedy"},
        [FIG_REMEDY_CPU] = {N_("Use the CPU"), "win.remedy"},
        [FIG_REMEDY_SMALLER] = {N_("Smaller Size"), "win.remedy"},
        [FIG_REMEDY_FOLDER] = {N_("Save Elsewhere"), "win.remedy"},
        [FIG_REMEDY_F32] = {N_("Use 32 Bits"), "win.remedy"},
    };
    (void)job;
    self->remedy = remedy;
    const char *button = remedies[remedy].button;
    if (button)
        fig_messages_ask(self->messages, sentence, _(button), remedies[remedy].action);
    else
        fig_messages_tell(self->messages, sentence);
}

/* ---- what is shown ---- */

static void show_title(FigWindow *self)
{
    g_autofree char *title = NULL, *status = NULL;
    gboolean busy;
    double fraction;
    g_object_get(self->bridge, "title", &title, "status", &status, "busy", &busy, "fraction",
                 &fraction, NULL);
    gtk_label_set_label(self->title, busy && *title ? title : "Figment");
    gtk_label_set_label(self->subtitle, status);
    gtk_widget_set_tooltip_text(GTK_WIDGET(self->subtitle), status); /* a narrow window cuts it */
    gtk_widget_set_visible(GTK_WIDGET(self->subtitle), *status != 0);
    gtk_progress_bar_set_fraction(self->progress, fraction);
    gtk_widget_set_opacity(GTK_WIDGET(self->progress), busy ? 1 : 0);
}

/* They wait for nothing but somebody who looks at them. */
static void show_failed(FigWindow *self)
{
    GtkWidget *button = GTK_WIDGET(self->queue_button);
    guint failed = fig_bridge_failed(self->bridge);
    g_autofree char *text =
        g_strdup_printf(g_dngettext(NULL, "%u job has failed and can be tried again (Ctrl+J)",
                                    "%u jobs have failed and can be tried again (Ctrl+J)", failed),
                        failed);
    gtk_widget_set_tooltip_text(button, failed ? text : _("What runs and what waits (Ctrl+J)"));
    if (failed)
        gtk_widget_add_css_class(button, "warning");
    else
        gtk_widget_remove_css_class(button, "warning");
}

static void show_queue_length(FigWindow *self)
{
    guint waiting;
    g_object_get(self->bridge, "waiting", &waiting, NULL);
    g_autofree char *label =
        waiting ? g_strdup_printf(_("Queue %u"), waiting) : g_strdup(_("Queue"));
    gtk_menu_button_set_label(self->queue_button, label);
    show_failed(self);
    gboolean paused;
    g_object_get(self->bridge, "paused", &paused, NULL);
    if (self->was_paused && !paused)
        fig_messages_drop_question(self->messages);
    self->was_paused = paused;
    show_title(self);
    fig_window_update_actions(self);
}

gboolean fig_window_in_gallery(FigWindow *self)
{
    return g_strcmp0(gtk_stack_get_visible_child_name(self->pages), "gallery") == 0;
}

/* What is made does not take the history away from who looks at it. */
static void leave_welcome(FigWindow *self)
{
    if (!fig_window_in_gallery(self))
        gtk_stack_set_visible_child_name(self->pages, "viewer");
}

static void show_preview(FigWindow *self)
{
    g_autoptr(GdkTexture) preview = NULL;
    g_object_get(self->bridge, "preview", &preview, NULL);
    if (!preview || !self->following)
        return;
    leave_welcome(self);
    fig_canvas_set_compare(self->canvas, NULL);
    fig_canvas_set_paintable(self->canvas, GDK_PAINTABLE(preview));
    if (self->shown)
        g_set_object(&self->before, self->shown); /* Compare holds the next one against it */
    g_clear_object(&self->shown);
    fig_canvas_set_content(self->canvas, NULL);
    int step, steps;
    g_object_get(self->bridge, "step", &step, "steps", &steps, NULL);
    g_autofree char *text = g_strdup_printf(_("Picture in the making, step %d of %d"), step, steps);
    fig_canvas_set_description(self->canvas, text);
    fig_window_update_actions(self);
}

static void apply_compare(FigWindow *self)
{
    g_autoptr(GdkTexture) texture = NULL;
    if (gtk_toggle_button_get_active(self->compare) && self->before && self->shown)
        texture = fig_picture_load(self->before, NULL);
    fig_canvas_set_compare(self->canvas, texture ? GDK_PAINTABLE(texture) : NULL);
}

/* On the canvas, whichever page is seen. */
static gboolean put(FigWindow *self, FigPicture *picture, GError **error)
{
    g_autoptr(GdkTexture) texture = fig_picture_load(picture, error);
    if (!texture)
        return FALSE;
    if (self->shown && self->shown != picture)
        g_set_object(&self->before, self->shown);
    g_set_object(&self->shown, picture);
    fig_canvas_set_paintable(self->canvas, GDK_PAINTABLE(texture));
    g_autoptr(GdkContentProvider) content = fig_picture_content(picture);
    fig_canvas_set_content(self->canvas, content);
    apply_compare(self);
    g_autofree char *description = fig_picture_describe(picture);
    fig_canvas_set_description(self->canvas, description);
    fig_window_update_actions(self);
    return TRUE;
}

void fig_window_show_picture(FigWindow *self, FigPicture *picture)
{
    g_autoptr(GError) error = NULL;
    if (put(self, picture, &error))
        gtk_stack_set_visible_child_name(self->pages, "viewer");
    else
        fig_messages_tell(self->messages, error->message);
}

static void clear_canvas(FigWindow *self)
{
    g_clear_object(&self->shown);
    g_clear_object(&self->before);
    gtk_toggle_button_set_active(self->compare, FALSE);
    fig_canvas_set_paintable(self->canvas, NULL);
    fig_canvas_set_content(self->canvas, NULL);
    fig_canvas_set_description(self->canvas, _("Picture"));
    fig_window_update_actions(self);
}

static gboolean has_gone(FigPicture *picture)
{
    const char *path = picture ? fig_picture_facts(picture)->path : NULL;
    return path && !g_file_test(path, G_FILE_TEST_EXISTS);
}

/* The shown picture is not there any more: the one that took its place in the strip, if any. */
static void show_neighbour(FigWindow *self, guint place)
{
    guint n = g_list_model_get_n_items(G_LIST_MODEL(self->recent));
    g_autoptr(FigPicture) next =
        n ? g_list_model_get_item(G_LIST_MODEL(self->recent), MIN(place, n - 1)) : NULL;
    clear_canvas(self);
    if (next && put(self, next, NULL)) {
        g_clear_object(&self->before);
        fig_window_update_actions(self);
    } else if (!n && strcmp(gtk_stack_get_visible_child_name(self->pages), "viewer") == 0) {
        gtk_stack_set_visible_child_name(self->pages, "welcome");
    }
}

GListModel *fig_window_unsaved(FigWindow *self)
{
    GListStore *unsaved = g_list_store_new(FIG_TYPE_PICTURE);
    for (guint i = 0; i < g_list_model_get_n_items(G_LIST_MODEL(self->recent)); i++) {
        g_autoptr(FigPicture) picture = g_list_model_get_item(G_LIST_MODEL(self->recent), i);
        if (fig_picture_facts(picture)->rgb)
            g_list_store_append(unsaved, picture);
    }
    return G_LIST_MODEL(unsaved);
}

static gboolean any_unsaved(FigWindow *self)
{
    g_autoptr(GListModel) unsaved = fig_window_unsaved(self);
    return g_list_model_get_n_items(unsaved) > 0;
}

static void show_count(FigWindow *self)
{
    g_autoptr(GListModel) unsaved = fig_window_unsaved(self);
    gint64 n = fig_bridge_history_count(self->bridge) + g_list_model_get_n_items(unsaved);
    g_autofree char *text = g_strdup_printf(
        g_dngettext(NULL, "%d picture · Show all", "%d pictures · Show all", (gulong)n), (int)n);
    gtk_label_set_label(self->strip_label, text);
    gtk_accessible_update_property(
        GTK_ACCESSIBLE(gtk_widget_get_parent(GTK_WIDGET(self->strip_label))),
        GTK_ACCESSIBLE_PROPERTY_LABEL, text, -1);
    gtk_widget_set_visible(self->strip_box,
                           n > 0 || g_list_model_get_n_items(G_LIST_MODEL(self->recent)) > 0);
}

void fig_window_refresh_history(FigWindow *self)
{
    struct fig_filter all = {0};
    g_autoptr(GListModel) pictures = fig_bridge_history(self->bridge, &all, STRIP_LENGTH);
    g_autoptr(GListModel) unsaved = fig_window_unsaved(self); /* they are nowhere else */
    guint place = 0;
    if (self->shown)
        g_list_store_find(self->recent, self->shown, &place);
    g_list_store_remove_all(self->recent);
    for (guint i = 0; i < g_list_model_get_n_items(unsaved); i++) {
        g_autoptr(FigPicture) picture = g_list_model_get_item(unsaved, i);
        g_list_store_append(self->recent, picture);
    }
    for (guint i = 0; i < g_list_model_get_n_items(pictures); i++) {
        g_autoptr(FigPicture) picture = g_list_model_get_item(pictures, i);
        g_list_store_append(self->recent, picture);
    }
    gtk_single_selection_set_selected(self->selection, GTK_INVALID_LIST_POSITION);
    show_count(self);
    if (has_gone(self->before)) {
        g_clear_object(&self->before);
        gtk_toggle_button_set_active(self->compare, FALSE);
        fig_window_update_actions(self);
    }
    if (has_gone(self->shown))
        show_neighbour(self, place);
}

/* The last picture, or what to do without one. */
static void show_last(FigWindow *self)
{
    g_autoptr(FigPicture) last = g_list_model_get_item(G_LIST_MODEL(self->recent), 0);
    if (last)
        fig_window_show_picture(self, last);
    else
        gtk_stack_set_visible_child_name(self->pages, "welcome");
}

static void history_changed(FigWindow *self)
{
    const char *page = gtk_stack_get_visible_child_name(self->pages);
    fig_window_refresh_history(self);
    if (fig_window_in_gallery(self))
        fig_gallery_refresh(self->gallery);
    else if (strcmp(page, "welcome") == 0)
        show_last(self);
}

static void picture_made(FigWindow *self, FigPicture *picture)
{
    g_list_store_insert(self->recent, 0, picture);
    guint n = g_list_model_get_n_items(G_LIST_MODEL(self->recent));
    if (n > STRIP_LENGTH && !any_unsaved(self))
        g_list_store_splice(self->recent, STRIP_LENGTH, n - STRIP_LENGTH, NULL, 0);
    show_count(self);
    if (self->following) {
        g_autoptr(GError) error = NULL;
        if (put(self, picture, &error))
            leave_welcome(self);
        else
            fig_messages_tell(self->messages, error->message);
        gtk_single_selection_set_selected(self->selection, 0);
        gtk_widget_activate_action(GTK_WIDGET(self->strip), "list.scroll-to-item", "u", 0);
    }
    if (fig_window_in_gallery(self))
        fig_gallery_refresh(self->gallery);
}

void fig_window_show_grid(FigWindow *self, const char *path)
{
    g_autoptr(FigPicture) picture = fig_bridge_add_picture(self->bridge, path);
    if (picture)
        picture_made(self, picture);
}

static void strip_activated(FigWindow *self, guint position)
{
    g_autoptr(FigPicture) picture = g_list_model_get_item(G_LIST_MODEL(self->recent), position);
    self->following = FALSE;
    fig_window_show_picture(self, picture);
}

/* To its neighbours in the strip: -1 is the newer one. */
void fig_window_step(FigWindow *self, int by)
{
    guint n = g_list_model_get_n_items(G_LIST_MODEL(self->recent)), at;
    gboolean found = self->shown && g_list_store_find(self->recent, self->shown, &at);
    gint64 next = found ? (gint64)at + by : 0;
    if (next < 0 || next >= n)
        return;
    gtk_single_selection_set_selected(self->selection, (guint)next);
    gtk_widget_activate_action(GTK_WIDGET(self->strip), "list.scroll-to-item", "u", (guint)next);
    strip_activated(self, (guint)next);
}

static void page_changed(FigWindow *self)
{
    gtk_toggle_button_set_active(self->history_button, fig_window_in_gallery(self));
    fig_window_update_actions(self);
}

static void gallery_open(FigWindow *self, FigPicture *picture)
{
    self->following = FALSE;
    fig_window_show_picture(self, picture);
}

static void run_finished(FigWindow *self, int pictures, double seconds)
{
    if (!fig_record_bool(self->settings, "notify") || gtk_window_is_active(GTK_WINDOW(self)) ||
        seconds < 10)
        return;
    g_autofree char *body = g_strdup_printf(
        g_dngettext(NULL, "%d picture is ready.", "%d pictures are ready.", (gulong)pictures),
        pictures);
    g_autoptr(GNotification) notification = g_notification_new(_("Figment has finished"));
    g_notification_set_body(notification, body);
    g_notification_set_default_action(notification, "app.show"); /* some desktops need to be told */
    g_application_send_notification(g_application_get_default(), "finished", notification);
}

/* ---- welcome ---- */

static const char *const examples[] = {
    N_("a red apple, 3d style, blue background"),
    N_("a smiling cat, noto style, yellow background"),
    N_("a green rocket, flat style, black background"),
};

static void example_clicked(FigWindow *self, GtkButton *button)
{
    g_object_set(self->request, "prompt", gtk_button_get_label(button), NULL);
    gtk_widget_activate_action(GTK_WIDGET(self), "win.generate", NULL);
}

static void fill_examples(FigWindow *self)
{
    for (guint i = 0; i < G_N_ELEMENTS(examples); i++) {
        /* Not translated: the bundled model reads English. */
        GtkWidget *button = gtk_button_new_with_label(examples[i]);
        gtk_widget_add_css_class(button, "pill");
        g_signal_connect_swapped(button, "clicked", G_CALLBACK(example_clicked), self);
        gtk_flow_box_insert(self->examples, button, -1);
    }
}

/* ---- the object ---- */

static void remember_size(FigWindow *self)
{
    int width, height;
    gboolean maximized = gtk_window_is_maximized(GTK_WINDOW(self));
    gtk_window_get_default_size(GTK_WINDOW(self), &width, &height);
    g_object_set(self->settings, "window-width", MAX(width, 360), "window-height", MAX(height, 300),
                 "window-maximized", maximized, NULL);
}

static void close_answered(FigWindow *self, const char *response)
{
    if (strcmp(response, "save") == 0) {
        gtk_widget_activate_action(GTK_WIDGET(self), "win.save-elsewhere", NULL);
    } else if (strcmp(response, "discard") == 0) {
        self->may_lose = TRUE;
        gtk_window_close(GTK_WINDOW(self));
    }
}

/* What is in memory only would be lost. */
static void ask_before_close(FigWindow *self)
{
    GtkWidget *dialog = adw_message_dialog_new(
        GTK_WINDOW(self), _("Close Without Saving?"),
        _("A picture could not be saved and is kept in memory only. It will be lost."));
    adw_message_dialog_add_responses(ADW_MESSAGE_DIALOG(dialog), "cancel", _("_Cancel"), "discard",
                                     _("_Discard"), "save", _("_Save Elsewhere"), NULL);
    adw_message_dialog_set_response_appearance(ADW_MESSAGE_DIALOG(dialog), "discard",
                                               ADW_RESPONSE_DESTRUCTIVE);
    adw_message_dialog_set_response_appearance(ADW_MESSAGE_DIALOG(dialog), "save",
                                               ADW_RESPONSE_SUGGESTED);
    adw_message_dialog_set_default_response(ADW_MESSAGE_DIALOG(dialog), "save");
    adw_message_dialog_set_close_response(ADW_MESSAGE_DIALOG(dialog), "cancel");
    g_signal_connect_swapped(dialog, "response", G_CALLBACK(close_answered), self);
    gtk_window_present(GTK_WINDOW(dialog));
}

static gboolean fig_window_close_request(GtkWindow *window)
{
    FigWindow *self = FIG_WINDOW(window);
    if (!self->may_lose && any_unsaved(self)) {
        ask_before_close(self);
        return TRUE;
    }
    remember_size(self);
    fig_settings_flush(self->settings);
    return GTK_WINDOW_CLASS(fig_window_parent_class)->close_request(window);
}

static void fig_window_dispose(GObject *object)
{
    FigWindow *self = FIG_WINDOW(object);
    if (self->bridge)
        g_signal_handlers_disconnect_by_data(self->bridge, self);
    g_clear_object(&self->settings);
    g_clear_object(&self->request);
    g_clear_object(&self->bridge);
    g_clear_object(&self->recent);
    g_clear_object(&self->selection);
    g_clear_object(&self->shown);
    g_clear_object(&self->before);
    g_clear_object(&self->chooser);
    g_clear_object(&self->messages);
    G_OBJECT_CLASS(fig_window_parent_class)->dispose(object);
}

static void fig_window_class_init(FigWindowClass *class)
{
    GtkWidgetClass *widget_class = GTK_WIDGET_CLASS(class);
    G_OBJECT_CLASS(class)->dispose = fig_window_dispose;
    GTK_WINDOW_CLASS(class)->close_request = fig_window_close_request;
    g_type_ensure(FIG_TYPE_PANEL);
    g_type_ensure(FIG_TYPE_CANVAS);
    g_type_ensure(FIG_TYPE_GALLERY);
    g_type_ensure(FIG_TYPE_QUEUE);
    gtk_widget_class_set_template_from_resource(widget_class,
                                                "/io/github/figment_app/Figment/ui/window.ui");
#define CHILD(name) gtk_widget_class_bind_template_child(widget_class, FigWindow, name)
    CHILD(toasts);
    CHILD(flap);
    CHILD(panel);
    CHILD(pages);
    CHILD(canvas);
    CHILD(gallery);
    CHILD(queue);
    CHILD(queue_button);
    CHILD(menu_button);
    CHILD(history_button);
    CHILD(title);
    CHILD(subtitle);
    CHILD(strip_label);
    CHILD(progress);
    CHILD(strip);
    CHILD(toolbar);
    CHILD(strip_box);
    CHILD(compare);
    CHILD(star);
    CHILD(examples);
#undef CHILD
    fig_window_class_install_actions(widget_class);
}

static void fig_window_init(FigWindow *self)
{
    gtk_widget_init_template(GTK_WIDGET(self));
    self->messages = fig_messages_new(self->toasts);
    self->following = TRUE;
    self->recent = g_list_store_new(FIG_TYPE_PICTURE);
    self->selection = gtk_single_selection_new(g_object_ref(G_LIST_MODEL(self->recent)));
    gtk_single_selection_set_autoselect(self->selection, FALSE);
    gtk_single_selection_set_can_unselect(self->selection, TRUE);
    gtk_list_view_set_model(self->strip, GTK_SELECTION_MODEL(self->selection));
    g_autoptr(GtkListItemFactory) factory = fig_tile_factory_new(88);
    gtk_list_view_set_factory(self->strip, factory);
    gtk_list_view_set_single_click_activate(self->strip, TRUE);
    g_signal_connect_swapped(self->strip, "activate", G_CALLBACK(strip_activated), self);
    g_signal_connect_swapped(self->compare, "toggled", G_CALLBACK(apply_compare), self);
    g_signal_connect_swapped(self->canvas, "step", G_CALLBACK(fig_window_step), self);
    g_signal_connect_swapped(self->pages, "notify::visible-child-name", G_CALLBACK(page_changed),
                             self);
    fill_examples(self);
    fig_names_set(GTK_WIDGET(self));
    fig_window_accept_drops(self);
}

static void open_export(FigWindow *self, GListModel *pictures)
{
    g_object_set_data_full(G_OBJECT(self), "export", g_object_ref(pictures), g_object_unref);
    gtk_widget_activate_action(GTK_WIDGET(self), "win.export-selection", NULL);
}

/* The older one is the picture before. */
static void compare_two(FigWindow *self, GListModel *pictures)
{
    self->following = FALSE;
    for (guint i = 2; i-- > 0;) {
        g_autoptr(FigPicture) picture = g_list_model_get_item(pictures, i);
        fig_window_show_picture(self, picture);
    }
    gtk_toggle_button_set_active(self->compare, TRUE);
}

static void use_settings_of(FigWindow *self, FigPicture *picture)
{
    fig_window_show_picture(self, picture);
    gtk_widget_activate_action(GTK_WIDGET(self), "win.use-settings", NULL);
}

FigWindow *fig_window_new(AdwApplication *application, FigSettings *settings, FigRequest *request,
                          FigBridge *bridge)
{
    FigWindow *self = g_object_new(FIG_TYPE_WINDOW, "application", application, NULL);
    self->settings = g_object_ref(settings);
    self->request = g_object_ref(request);
    self->bridge = g_object_ref(bridge);
    gtk_window_set_default_size(GTK_WINDOW(self), fig_record_int(settings, "window-width"),
                                fig_record_int(settings, "window-height"));
    if (fig_record_bool(settings, "window-maximized"))
        gtk_window_maximize(GTK_WINDOW(self));

    fig_panel_set_up(self->panel, request, bridge);
    fig_queue_set_up(self->queue, bridge);
    fig_gallery_set_up(self->gallery, bridge);
    g_signal_connect_swapped(self->gallery, "open", G_CALLBACK(gallery_open), self);
    g_signal_connect_swapped(self->gallery, "use-settings", G_CALLBACK(use_settings_of), self);
    g_signal_connect_swapped(self->gallery, "export", G_CALLBACK(open_export), self);
    g_signal_connect_swapped(self->gallery, "compare", G_CALLBACK(compare_two), self);
    g_signal_connect_object(self->gallery, "message", G_CALLBACK(fig_messages_tell), self->messages,
                            G_CONNECT_SWAPPED);
    g_signal_connect_swapped(self->gallery, "changed", G_CALLBACK(fig_window_refresh_history),
                             self);

    g_signal_connect_swapped(bridge, "notify::status", G_CALLBACK(show_title), self);
    g_signal_connect_swapped(bridge, "notify::waiting", G_CALLBACK(show_queue_length), self);
    g_signal_connect_swapped(bridge, "notify::preview", G_CALLBACK(show_preview), self);
    g_signal_connect_swapped(bridge, "picture", G_CALLBACK(picture_made), self);
    g_signal_connect_object(bridge, "notice", G_CALLBACK(fig_messages_tell), self->messages,
                            G_CONNECT_SWAPPED);
    g_signal_connect_swapped(bridge, "failed", G_CALLBACK(failed), self);
    g_signal_connect_swapped(bridge, "finished", G_CALLBACK(run_finished), self);
    g_signal_connect_swapped(bridge, "history-changed", G_CALLBACK(history_changed), self);
    g_signal_connect_object(request, "notify::prompt", G_CALLBACK(fig_window_update_actions), self,
                            G_CONNECT_SWAPPED);
    g_signal_connect_object(settings, "notify::model-folders", G_CALLBACK(fig_panel_refresh_models),
                            self->panel, G_CONNECT_SWAPPED);

    fig_window_refresh_history(self);
    show_last(self);
    show_queue_length(self);
    fig_panel_focus_prompt(self->panel);

    guint recovered = fig_bridge_recovered(bridge);
    if (recovered) {
        g_autofree char *text = g_strdup_printf(
            g_dngettext(NULL, "Figment stopped unexpectedly. %u job is in the queue, paused.",
                        "Figment stopped unexpectedly. %u jobs are in the queue, paused.",
                        recovered),
            recovered);
        fig_messages_ask(self->messages, text, _("Continue"), "win.resume");
    }
    return self;
}
