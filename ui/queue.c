#include "ui/queue.h"

#include "ui/names.h"

#include <adwaita.h>
#include <glib/gi18n.h>

struct _FigQueue {
    GtkPopover parent_instance;

    /* Template Widgets */
    GtkListBox *list;
    GtkToggleButton *pause;
    GtkButton *clear;
    GtkLabel *more;

    /* Owned References */
    FigBridge *bridge;
};

G_DEFINE_FINAL_TYPE(FigQueue, fig_queue, GTK_TYPE_POPOVER)

#define SHOWN 100 /* jobs: a row is made for each, and a batch run can have thousands */

/* A button of a row; the job is the row's. */
static GtkWidget *add_button(GtkWidget *row, const char *icon, const char *name, GCallback clicked,
                             FigQueue *self)
{
    GtkWidget *button = gtk_button_new_from_icon_name(icon);
    gtk_widget_set_valign(button, GTK_ALIGN_CENTER);
    gtk_widget_set_tooltip_text(button, name);
    gtk_widget_add_css_class(button, "flat");
    g_object_set_data(G_OBJECT(button), "job", g_object_get_data(G_OBJECT(row), "job"));
    g_signal_connect(button, "clicked", clicked, self);
    adw_action_row_add_suffix(ADW_ACTION_ROW(row), button);
    fig_names_set(button);
    return button;
}

static void up_clicked(GtkButton *button, FigQueue *self)
{
    fig_bridge_move(self->bridge, g_object_get_data(G_OBJECT(button), "job"), -1);
}

static void down_clicked(GtkButton *button, FigQueue *self)
{
    fig_bridge_move(self->bridge, g_object_get_data(G_OBJECT(button), "job"), 1);
}

static void remove_clicked(GtkButton *button, FigQueue *self)
{
    fig_bridge_remove(self->bridge, g_object_get_data(G_OBJECT(button), "job"));
}

static void retry_clicked(GtkButton *button, FigQueue *self)
{
    fig_bridge_retry(self->bridge, g_object_get_data(G_OBJECT(button), "job"));
}

struct row_buttons {
    GtkWidget *retry, *up, *down;
};

static void show_state(FigJob *job, GParamSpec *spec, GtkWidget *row)
{
    (void)spec;
    struct row_buttons *buttons = g_object_get_data(G_OBJECT(row), "buttons");
    FigJobState state = fig_job_state(job);
    gtk_widget_set_visible(buttons->retry, state == FIG_JOB_FAILED || state == FIG_JOB_SET_ASIDE);
    gtk_widget_set_visible(buttons->up, state == FIG_JOB_WAITING);
    gtk_widget_set_visible(buttons->down, state == FIG_JOB_WAITING);
}

static GtkWidget *make_row(gpointer item, gpointer user)
{
    FigQueue *self = user;
    FigJob *job = item;
    GtkWidget *row = adw_action_row_new();
    adw_action_row_set_title_lines(ADW_ACTION_ROW(row), 1);
    adw_action_row_set_subtitle_lines(ADW_ACTION_ROW(row), 3);
    adw_preferences_row_set_use_markup(ADW_PREFERENCES_ROW(row), FALSE); /* prompts hold < and & */
    g_object_set_data_full(G_OBJECT(row), "job", g_object_ref(job), g_object_unref);
    g_object_bind_property(job, "title", row, "title", G_BINDING_SYNC_CREATE);
    g_object_bind_property(job, "detail", row, "subtitle", G_BINDING_SYNC_CREATE);
    GtkWidget *icon = gtk_image_new();
    g_object_bind_property(job, "icon", icon, "icon-name", G_BINDING_SYNC_CREATE);
    adw_action_row_add_prefix(ADW_ACTION_ROW(row), icon);

    struct row_buttons *buttons = g_new0(struct row_buttons, 1);
    g_object_set_data_full(G_OBJECT(row), "buttons", buttons, g_free);
    buttons->retry =
        add_button(row, "view-refresh-symbolic", _("Try again"), G_CALLBACK(retry_clicked), self);
    buttons->up = add_button(row, "go-up-symbolic", _("Earlier"), G_CALLBACK(up_clicked), self);
    buttons->down = add_button(row, "go-down-symbolic", _("Later"), G_CALLBACK(down_clicked), self);
    add_button(row, "window-close-symbolic", _("Remove"), G_CALLBACK(remove_clicked), self);
    g_signal_connect_object(job, "notify::detail", G_CALLBACK(show_state), row, 0);
    show_state(job, NULL, row);
    return row;
}

static void show_pause(FigQueue *self)
{
    gboolean paused = gtk_toggle_button_get_active(self->pause);
    gtk_button_set_icon_name(GTK_BUTTON(self->pause), paused ? "media-playback-start-symbolic"
                                                             : "media-playback-pause-symbolic");
    gtk_widget_set_tooltip_text(
        GTK_WIDGET(self->pause),
        paused ? _("Continue with what waits")
               : _("Pause: the running picture is finished, no new one begins"));
}

static void clear_clicked(FigQueue *self)
{
    fig_bridge_clear(self->bridge);
}

static void show_length(FigQueue *self)
{
    guint n = g_list_model_get_n_items(fig_bridge_queue(self->bridge));
    guint more = n > SHOWN ? n - SHOWN : 0;
    g_autofree char *text =
        g_strdup_printf(g_dngettext(NULL, "and %u more job", "and %u more jobs", more), more);
    gtk_label_set_label(self->more, text);
    gtk_widget_set_visible(GTK_WIDGET(self->more), more > 0);
    gtk_widget_set_sensitive(GTK_WIDGET(self->clear), n > 0);
}

void fig_queue_set_up(FigQueue *self, FigBridge *bridge)
{
    self->bridge = g_object_ref(bridge);
    g_autoptr(GtkSliceListModel) first =
        gtk_slice_list_model_new(g_object_ref(fig_bridge_queue(bridge)), 0, SHOWN);
    gtk_list_box_bind_model(self->list, G_LIST_MODEL(first), make_row, self, NULL);
    g_signal_connect_object(bridge, "notify::waiting", G_CALLBACK(show_length), self,
                            G_CONNECT_SWAPPED);
    show_length(self);
    g_signal_connect_swapped(self->pause, "notify::active", G_CALLBACK(show_pause), self);
    g_object_bind_property(bridge, "paused", self->pause, "active",
                           G_BINDING_SYNC_CREATE | G_BINDING_BIDIRECTIONAL);
    g_signal_connect_swapped(self->clear, "clicked", G_CALLBACK(clear_clicked), self);
}

static void fig_queue_dispose(GObject *object)
{
    FigQueue *self = FIG_QUEUE(object);
    if (self->list)
        gtk_list_box_bind_model(self->list, NULL, NULL, NULL, NULL);
    g_clear_object(&self->bridge);
    G_OBJECT_CLASS(fig_queue_parent_class)->dispose(object);
}

static void fig_queue_class_init(FigQueueClass *class)
{
    GtkWidgetClass *widget_class = GTK_WIDGET_CLASS(class);
    G_OBJECT_CLASS(class)->dispose = fig_queue_dispose;
    gtk_widget_class_set_template_from_resource(widget_class,
                                                "/io/github/figment_app/Figment/ui/queue.ui");
    gtk_widget_class_bind_template_child(widget_class, FigQueue, list);
    gtk_widget_class_bind_template_child(widget_class, FigQueue, pause);
    gtk_widget_class_bind_template_child(widget_class, FigQueue, clear);
    gtk_widget_class_bind_template_child(widget_class, FigQueue, more);
}

static void fig_queue_init(FigQueue *self)
{
    gtk_widget_init_template(GTK_WIDGET(self));
    fig_names_set(GTK_WIDGET(self));
}
