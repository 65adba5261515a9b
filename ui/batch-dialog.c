#include "ui/batch-dialog.h"

#include "scheduler/scheduler.h"
#include "ui/batch.h"
#include "ui/prompt.h"
#include "ui/window.h"
#include "ui/names.h"

#include <glib/gi18n.h>

#define MOST_PICTURES 2000
#define FILE_MAX (4 << 20)

struct _FigBatchDialog {
    AdwWindow parent_instance;

    /* Template Widgets */
    GtkButton *start, *load;
    FigPrompt *prompts;
    AdwEntryRow *seeds, *guidances, *samplers;
    GtkLabel *message;

    /* Owned References */
    FigBridge *bridge;
    FigRequest *request;
    GtkFileChooserNative *chooser;
};

G_DEFINE_FINAL_TYPE(FigBatchDialog, fig_batch_dialog, ADW_TYPE_WINDOW)

static const char *text_of(AdwEntryRow *row)
{
    return gtk_editable_get_text(GTK_EDITABLE(row));
}

static GStrv lines_of(const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
    for (char **line = lines; *line; line++)
        if (*g_strstrip(*line))
            g_strv_builder_add(builder, *line);
    return g_strv_builder_end(builder);
}

static GStrv samplers_of(const char *text, GError **error)
{
    g_auto(GStrv) names = g_strsplit(text, ",", -1);
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
    for (char **name = names; *name; name++) {
        enum sched_sampler sampler;
        enum sched_schedule schedule = SCHEDULE_AUTOMATIC;
        if (!*g_strstrip(*name))
            continue;
        if (!sched_sampler_parse(*name, &sampler, &schedule, error))
            return NULL;
        g_strv_builder_add(builder, sched_sampler_name(sampler));
    }
    return g_strv_builder_end(builder);
}

static gboolean read_axes(FigBatchDialog *self, struct fig_batch_axes *axes, GError **error)
{
    g_autofree char *text = NULL;
    g_object_get(self->prompts, "text", &text, NULL);
    axes->prompts = lines_of(text);
    axes->seeds = g_array_new(FALSE, FALSE, sizeof(guint64));
    axes->guidances = g_array_new(FALSE, FALSE, sizeof(double));
    axes->samplers = samplers_of(text_of(self->samplers), error);
    if (!axes->samplers || !fig_batch_parse_seeds(text_of(self->seeds), axes->seeds, error) ||
        !fig_batch_parse_guidances(text_of(self->guidances), axes->guidances, error))
        return FALSE;
    if (!*axes->prompts || !*axes->samplers) {
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                            _("At least one prompt and one sampler are needed."));
        return FALSE;
    }
    if (fig_batch_axes_count(axes) > MOST_PICTURES) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    _("These are %u pictures; a batch has at most %d."), fig_batch_axes_count(axes),
                    MOST_PICTURES);
        return FALSE;
    }
    return TRUE;
}

static void show_count(FigBatchDialog *self)
{
    struct fig_batch_axes axes = {0};
    g_autoptr(GError) error = NULL;
    gboolean ok = read_axes(self, &axes, &error);
    guint n = ok ? fig_batch_axes_count(&axes) : 0;
    g_autofree char *text =
        ok ? g_strdup_printf(g_dngettext(NULL, "%u picture, and a labelled grid at the end",
                                         "%u pictures, and a labelled grid at the end", n),
                             n)
           : g_strdup(error->message);
    gtk_label_set_label(self->message, text);
    if (ok)
        gtk_widget_remove_css_class(GTK_WIDGET(self->message), "error");
    else
        gtk_widget_add_css_class(GTK_WIDGET(self->message), "error");
    gtk_widget_set_sensitive(GTK_WIDGET(self->start), ok);
    fig_batch_axes_clear(&axes);
}

static void batch_done(const char *path, const char *message, gpointer user)
{
    g_autoptr(FigWindow) window = user; /* the reference taken when it began */
    if (path)
        fig_window_show_grid(window, path);
    else
        fig_window_tell(window, message);
}

static void start_clicked(FigBatchDialog *self)
{
    struct fig_batch_axes axes = {0};
    if (read_axes(self, &axes, NULL)) {
        GtkWindow *parent = gtk_window_get_transient_for(GTK_WINDOW(self));
        fig_batch_run(self->bridge, self->request, &axes, batch_done, g_object_ref(parent));
    }
    fig_batch_axes_clear(&axes);
    gtk_window_destroy(GTK_WINDOW(self));
}

static void file_chosen(FigBatchDialog *self, int response)
{
    g_autoptr(GFile) file = gtk_file_chooser_get_file(GTK_FILE_CHOOSER(self->chooser));
    g_clear_object(&self->chooser);
    if (response != GTK_RESPONSE_ACCEPT || !file)
        return;
    g_autofree char *text = NULL;
    gsize length;
    g_autoptr(GError) error = NULL;
    if (!g_file_load_contents(file, NULL, &text, &length, NULL, &error))
        gtk_label_set_label(self->message, error->message);
    else if (length > FILE_MAX || !g_utf8_validate(text, (gssize)length, NULL))
        gtk_label_set_label(
            self->message, _("This is no text file with one prompt a line (UTF-8, at most 4 MB)."));
    else
        g_object_set(self->prompts, "text", text, NULL);
}

static void load_clicked(FigBatchDialog *self)
{
    self->chooser = gtk_file_chooser_native_new(_("Prompts, One per Line"), GTK_WINDOW(self),
                                                GTK_FILE_CHOOSER_ACTION_OPEN, NULL, NULL);
    g_signal_connect_swapped(self->chooser, "response", G_CALLBACK(file_chosen), self);
    gtk_native_dialog_show(GTK_NATIVE_DIALOG(self->chooser));
}

static void fig_batch_dialog_dispose(GObject *object)
{
    FigBatchDialog *self = FIG_BATCH_DIALOG(object);
    g_clear_object(&self->bridge);
    g_clear_object(&self->request);
    g_clear_object(&self->chooser);
    G_OBJECT_CLASS(fig_batch_dialog_parent_class)->dispose(object);
}

static void fig_batch_dialog_class_init(FigBatchDialogClass *class)
{
    GtkWidgetClass *widget_class = GTK_WIDGET_CLASS(class);
    G_OBJECT_CLASS(class)->dispose = fig_batch_dialog_dispose;
    g_type_ensure(FIG_TYPE_PROMPT);
    gtk_widget_class_set_template_from_resource(
        widget_class, "/io/github/figment_app/Figment/ui/batch-dialog.ui");
#define CHILD(name) gtk_widget_class_bind_template_child(widget_class, FigBatchDialog, name)
    CHILD(start);
    CHILD(load);
    CHILD(prompts);
    CHILD(seeds);
    CHILD(guidances);
    CHILD(samplers);
    CHILD(message);
#undef CHILD
    gtk_widget_class_add_binding_action(widget_class, GDK_KEY_Escape, 0, "window.close", NULL);
}

static void fig_batch_dialog_init(FigBatchDialog *self)
{
    gtk_widget_init_template(GTK_WIDGET(self));
    fig_names_set(GTK_WIDGET(self));
    g_signal_connect_swapped(self->start, "clicked", G_CALLBACK(start_clicked), self);
    g_signal_connect_swapped(self->load, "clicked", G_CALLBACK(load_clicked), self);
    g_signal_connect_swapped(self->prompts, "notify::text", G_CALLBACK(show_count), self);
    g_signal_connect_swapped(self->seeds, "changed", G_CALLBACK(show_count), self);
    g_signal_connect_swapped(self->guidances, "changed", G_CALLBACK(show_count), self);
    g_signal_connect_swapped(self->samplers, "changed", G_CALLBACK(show_count), self);
}

FigBatchDialog *fig_batch_dialog_new(GtkWindow *parent, FigBridge *bridge, FigRequest *request)
{
    FigBatchDialog *self = g_object_new(FIG_TYPE_BATCH_DIALOG, "transient-for", parent, NULL);
    self->bridge = g_object_ref(bridge);
    self->request = g_object_ref(request);
    char guidance[G_ASCII_DTOSTR_BUF_SIZE];
    g_ascii_formatd(guidance, sizeof guidance, "%g", fig_record_double(request, "guidance"));
    gtk_editable_set_text(GTK_EDITABLE(self->guidances), guidance);
    const char *sampler = fig_record_text(request, "sampler");
    gtk_editable_set_text(GTK_EDITABLE(self->samplers),
                          *sampler ? sampler : sched_sampler_name(SCHED_DPMPP_2M));
    g_object_set(self->prompts, "text", fig_record_text(request, "prompt"), NULL);
    show_count(self);
    fig_prompt_focus(self->prompts);
    return self;
}
