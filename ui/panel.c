#include "ui/panel.h"

#include "scheduler/scheduler.h"
#include "ui/add-ons.h"
#include "ui/prompt.h"

#include <adwaita.h>
#include <glib/gi18n.h>
#include <string.h>

struct _FigPanel {
    GtkBox parent_instance;

    /* Template Widgets */
    FigPrompt *prompt, *negative;
    GtkLabel *tokens, *hint, *estimate;
    GtkMenuButton *recent, *add_ons, *size;
    AdwComboRow *model, *sampler, *schedule, *style, *vae, *emphasis;
    GtkScale *steps_scale, *guidance_scale;
    GtkSpinButton *steps, *guidance, *pictures, *clip_skip, *width, *height;
    GtkAdjustment *steps_adjustment, *guidance_adjustment;
    GtkPopover *size_popover;
    GtkFlowBox *presets;
    GtkButton *swap;
    GtkScrolledWindow *scroller;
    AdwExpanderRow *more;
    GtkEntry *seed;
    GtkToggleButton *random_seed;

    /* Owned References */
    FigRequest *request;
    FigBridge *bridge;
    GPtrArray *models; /* struct fig_model */
    GStrv styles, vaes;
    GCancellable *estimating; /* the last request for an estimate */

    FigPrompt *writing; /* borrowed: the prompt that had the keys last */

    guint unfolding;     /* source: until then "More" grows */
    guint estimate_soon; /* source: the settings come to rest first */

    gboolean filling; /* the lists are being filled: selections are not the user's */
};

G_DEFINE_FINAL_TYPE(FigPanel, fig_panel, GTK_TYPE_BOX)

/* ---- lists ---- */

static const struct fig_model *selected_model(FigPanel *self)
{
    guint i = adw_combo_row_get_selected(self->model);
    return self->models && i < self->models->len ? self->models->pdata[i] : NULL;
}

static gboolean same_strings(GListModel *a, GListModel *b)
{
    guint n = a ? g_list_model_get_n_items(a) : 0;
    if (n != g_list_model_get_n_items(b))
        return FALSE;
    for (guint i = 0; i < n; i++)
        if (strcmp(gtk_string_list_get_string(GTK_STRING_LIST(a), i),
                   gtk_string_list_get_string(GTK_STRING_LIST(b), i)) != 0)
            return FALSE;
    return TRUE;
}

/* A row's list and the one that is chosen. The same strings stay as they are: this may be called
 * while the row tells that one of them was chosen, and it goes on with its list afterwards. */
static void fill_row(FigPanel *self, AdwComboRow *row, GtkStringList *strings, guint selected)
{
    self->filling = TRUE;
    if (!same_strings(adw_combo_row_get_model(row), G_LIST_MODEL(strings)))
        adw_combo_row_set_model(row, G_LIST_MODEL(strings));
    adw_combo_row_set_selected(row, selected);
    self->filling = FALSE;
}

static void use_defaults(FigPanel *self, const struct fig_model *m)
{
    g_object_set(self->request, "width", m->width ? m->width : 512, "height",
                 m->height ? m->height : 512, "steps", m->steps ? m->steps : 20, "guidance",
                 m->guidance > 0 ? m->guidance : 7.0, "sampler", m->sampler ? m->sampler : "",
                 "schedule", m->schedule ? m->schedule : "", NULL);
}

static gboolean is_seed(const char *text)
{
    return !*text || g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT64, NULL, NULL);
}

static gboolean is_odd_size(const struct fig_model *m, int width, int height)
{
    double pixels = (double)width * height, own = m ? (double)m->width * m->height : 0;
    return own > 0 && (pixels > 2.1 * own || pixels < 0.45 * own);
}

/* What is odd about the request, the worst first; NULL when nothing is. g_free(). */
static char *hint_of(FigPanel *self)
{
    const struct fig_model *m = selected_model(self);
    int steps = fig_record_int(self->request, "steps");
    double guidance = fig_record_double(self->request, "guidance");
    if (m && m->problem)
        return g_strdup(m->problem);
    if (!is_seed(gtk_editable_get_text(GTK_EDITABLE(self->seed))))
        return g_strdup(_("A seed is a whole number from 0 to 18446744073709551615."));
    if (is_odd_size(m, fig_record_int(self->request, "width"),
                    fig_record_int(self->request, "height")))
        return g_strdup_printf(
            _("This model was made for %d × %d; at other sizes things may repeat or fall apart."),
            m->width, m->height);
    if (guidance > 15)
        return g_strdup(_("Guidance above 15 burns the colours; 5 to 9 suits most models."));
    if (guidance <= 1 && *fig_record_text(self->request, "negative"))
        return g_strdup(_("At guidance 1 the negative prompt has no effect."));
    if (steps < 8 && guidance > 2.5)
        return g_strdup(_("With so few steps the picture stays blurred, unless the model was made "
                          "for few steps."));
    if (steps > 80)
        return g_strdup(_("More than about 50 steps change little, and take their time."));
    if (fig_record_int(self->request, "clip-skip") > 2)
        return g_strdup(_("Models are made for clip skip 1 or 2."));
    return NULL;
}

static void show_hint(FigPanel *self)
{
    g_autofree char *text = hint_of(self);
    gtk_label_set_label(self->hint, text ? text : "");
    gtk_widget_set_visible(GTK_WIDGET(self->hint), text != NULL);
}

static void model_selected(FigPanel *self)
{
    const struct fig_model *m = selected_model(self);
    if (self->filling || !m)
        return;
    if (g_strcmp0(fig_record_text(self->request, "model"), m->path) != 0) {
        /* The library is read again before it returns. */
        g_autoptr(GPtrArray) keep G_GNUC_UNUSED = g_ptr_array_ref(self->models);
        g_object_set(self->request, "model", m->path, NULL);
        use_defaults(self, m);
    }
    show_hint(self);
}

void fig_panel_refresh_models(FigPanel *self)
{
    g_clear_pointer(&self->models, g_ptr_array_unref);
    self->models = fig_bridge_models(self->bridge);
    const char *wanted = fig_record_text(self->request, "model");
    guint selected = 0;
    gboolean found = FALSE;
    g_autoptr(GtkStringList) names = gtk_string_list_new(NULL);
    for (guint i = 0; i < self->models->len; i++) {
        const struct fig_model *m = self->models->pdata[i];
        gtk_string_list_append(names, m->name);
        if (!found && (strcmp(m->path, wanted) == 0 || strcmp(m->name, wanted) == 0)) {
            selected = i;
            found = TRUE;
        }
    }
    fill_row(self, self->model, names, selected);
    if (!found)
        model_selected(self);
    show_hint(self);
}

static void fill_samplers(FigPanel *self)
{
    g_autoptr(GtkStringList) samplers = gtk_string_list_new(NULL);
    for (int i = 0; i < SCHED_N_SAMPLERS; i++)
        gtk_string_list_append(samplers, sched_sampler_name(i));
    g_autoptr(GtkStringList) schedules = gtk_string_list_new(NULL);
    for (int i = 0; i < SCHED_N_SCHEDULES; i++)
        gtk_string_list_append(schedules, _(sched_schedule_name(i))); /* "Automatic" */
    self->filling = TRUE;
    adw_combo_row_set_model(self->sampler, G_LIST_MODEL(samplers));
    adw_combo_row_set_model(self->schedule, G_LIST_MODEL(schedules));
    self->filling = FALSE;
}

static void show_sampler(FigPanel *self)
{
    enum sched_sampler sampler = SCHED_DPMPP_2M;
    enum sched_schedule schedule = SCHEDULE_AUTOMATIC;
    const char *name = fig_record_text(self->request, "sampler");
    if (*name)
        sched_sampler_parse(name, &sampler, &schedule, NULL);
    name = fig_record_text(self->request, "schedule");
    if (*name)
        sched_schedule_parse(name, &schedule, NULL);
    self->filling = TRUE;
    adw_combo_row_set_selected(self->sampler, sampler);
    adw_combo_row_set_selected(self->schedule, schedule);
    self->filling = FALSE;
}

static void sampler_selected(FigPanel *self)
{
    if (!self->filling)
        g_object_set(self->request, "sampler",
                     sched_sampler_name(adw_combo_row_get_selected(self->sampler)), NULL);
}

static void schedule_selected(FigPanel *self)
{
    if (!self->filling)
        g_object_set(self->request, "schedule",
                     sched_schedule_name(adw_combo_row_get_selected(self->schedule)), NULL);
}

/* ---- size ---- */

static const int sizes[][2] = {
    {128, 128}, {256, 256},  {384, 384},   {512, 512},  {512, 768},  {768, 512},
    {768, 768}, {832, 1216}, {1024, 1024}, {1216, 832}, {640, 1536}, {1536, 640},
};

static void preset_clicked(FigPanel *self, GtkButton *button)
{
    const int *size = g_object_get_data(G_OBJECT(button), "size");
    g_object_set(self->request, "width", size[0], "height", size[1], NULL);
    gtk_popover_popdown(self->size_popover);
}

static void fill_presets(FigPanel *self)
{
    for (guint i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autofree char *label = g_strdup_printf("%d × %d", sizes[i][0], sizes[i][1]);
        GtkWidget *button = gtk_button_new_with_label(label);
        gtk_widget_add_css_class(button, "flat");
        g_object_set_data(G_OBJECT(button), "size", (gpointer)sizes[i]);
        g_signal_connect_swapped(button, "clicked", G_CALLBACK(preset_clicked), self);
        gtk_flow_box_insert(self->presets, button, -1);
    }
}

static void show_size(FigPanel *self)
{
    g_autofree char *label = g_strdup_printf("%d × %d", fig_record_int(self->request, "width"),
                                             fig_record_int(self->request, "height"));
    gtk_menu_button_set_label(self->size, label);
    show_hint(self);
}

static void swap_clicked(FigPanel *self)
{
    int width = fig_record_int(self->request, "width");
    int height = fig_record_int(self->request, "height");
    g_object_set(self->request, "width", height, "height", width, NULL);
}

/* The autoencoder works in blocks of 8 pixels: whatever is typed becomes a multiple. */
static gboolean to_multiple(GBinding *binding, const GValue *from, GValue *to, gpointer user)
{
    (void)binding;
    (void)user;
    int pixels = ((int)g_value_get_double(from) + 4) / 8 * 8;
    g_value_set_int(to, CLAMP(pixels, 64, 2048));
    return TRUE;
}

/* ---- styles, and what it will take ---- */

/* A row that chooses among values of a field: the first line stands for "", a path is shown by its
 * last part. */
static void fill_choice(FigPanel *self, AdwComboRow *row, const char *first, GStrv values,
                        gboolean paths, const char *field)
{
    const char *wanted = fig_record_text(self->request, field);
    g_autoptr(GtkStringList) names = gtk_string_list_new(NULL);
    gtk_string_list_append(names, first);
    guint selected = 0;
    for (guint i = 0; values[i]; i++) {
        gtk_string_list_take(names, paths ? g_path_get_basename(values[i]) : g_strdup(values[i]));
        if (strcmp(values[i], wanted) == 0)
            selected = i + 1;
    }
    fill_row(self, row, names, selected);
    if (!selected && *wanted) /* the file is gone */
        g_object_set(self->request, field, "", NULL);
}

static void choose(FigPanel *self, AdwComboRow *row, GStrv values, const char *field)
{
    guint i = adw_combo_row_get_selected(row);
    if (!self->filling && i <= g_strv_length(values))
        g_object_set(self->request, field, i ? values[i - 1] : "", NULL);
}

static void fill_styles(FigPanel *self)
{
    g_strfreev(self->styles);
    self->styles = fig_bridge_styles(self->bridge);
    gtk_widget_set_visible(GTK_WIDGET(self->style), self->styles[0] != NULL);
    fill_choice(self, self->style, _("None"), self->styles, FALSE, "styles");
}

static void style_selected(FigPanel *self)
{
    choose(self, self->style, self->styles, "styles");
}

static void fill_vaes(FigPanel *self)
{
    g_strfreev(self->vaes);
    self->vaes = fig_bridge_vaes(self->bridge);
    fill_choice(self, self->vae, _("Automatic"), self->vaes, TRUE, "vae");
}

static void vae_selected(FigPanel *self)
{
    choose(self, self->vae, self->vaes, "vae");
}

/* "about 40 s · 2.3 GB memory". */
static char *estimate_line(const struct fig_estimate *e)
{
    g_autofree char *memory = g_format_size(e->memory), *there = g_format_size(e->budget);
    if (!e->fits)
        return g_strdup_printf(_("needs %s of memory; %s are there"), memory, there);
    int seconds = (int)(e->seconds + 0.5);
    if (e->seconds < 0)
        return g_strdup_printf(_("%s of memory"), memory);
    if (e->seconds < 1)
        return g_strdup_printf(_("less than 1 s · %s of memory"), memory);
    if (seconds < 90)
        return g_strdup_printf(_("about %d s · %s of memory"), seconds, memory);
    return g_strdup_printf(_("about %d min · %s of memory"), (seconds + 30) / 60, memory);
}

static void estimated(GObject *source, GAsyncResult *result, gpointer user)
{
    g_autoptr(FigPanel) self = user;
    g_autoptr(GError) error = NULL;
    struct fig_estimate e;
    gboolean known = fig_bridge_estimate_finish(FIG_BRIDGE(source), result, &e, &error);
    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED) || !self->request)
        return;
    g_autofree char *line = known ? estimate_line(&e) : g_strdup("");
    gtk_label_set_label(self->estimate, line);
    gtk_widget_set_tooltip_text(GTK_WIDGET(self->estimate), error ? error->message : NULL);
    if (known && !e.fits)
        gtk_widget_add_css_class(GTK_WIDGET(self->estimate), "warning");
    else
        gtk_widget_remove_css_class(GTK_WIDGET(self->estimate), "warning");
}

static gboolean estimate_now(gpointer user)
{
    FigPanel *self = user;
    self->estimate_soon = 0;
    if (self->estimating)
        g_cancellable_cancel(self->estimating);
    g_clear_object(&self->estimating);
    self->estimating = g_cancellable_new();
    fig_bridge_estimate_async(self->bridge, self->request, self->estimating, estimated,
                              g_object_ref(self));
    return G_SOURCE_REMOVE;
}

static void estimate_again(FigPanel *self)
{
    g_clear_handle_id(&self->estimate_soon, g_source_remove);
    self->estimate_soon = g_timeout_add(400, estimate_now, self);
}

/* A run has ended: the next estimate knows how long it took. */
static void busy_changed(FigPanel *self)
{
    gboolean busy;
    g_object_get(self->bridge, "busy", &busy, NULL);
    if (!busy)
        estimate_again(self);
}

/* ---- seed, tokens, recent prompts ---- */

static gboolean seed_to_text(GBinding *binding, const GValue *from, GValue *to, gpointer user)
{
    (void)binding;
    FigPanel *self = user;
    if (fig_record_bool(self->request, "random-seed"))
        g_value_set_string(to, "");
    else
        g_value_take_string(to, g_strdup_printf("%" G_GUINT64_FORMAT, g_value_get_uint64(from)));
    return TRUE;
}

static void show_seed(FigPanel *self)
{
    gboolean random = fig_record_bool(self->request, "random-seed");
    g_autofree char *text =
        random ? g_strdup("")
               : g_strdup_printf("%" G_GUINT64_FORMAT, fig_record_uint64(self->request, "seed"));
    if (strcmp(gtk_editable_get_text(GTK_EDITABLE(self->seed)), text) != 0 &&
        !(random == FALSE && gtk_widget_has_focus(GTK_WIDGET(self->seed))))
        gtk_editable_set_text(GTK_EDITABLE(self->seed), text);
    gtk_entry_set_placeholder_text(self->seed, random ? _("random") : "0");
}

static void seed_typed(FigPanel *self)
{
    const char *text = gtk_editable_get_text(GTK_EDITABLE(self->seed));
    guint64 seed = 0;
    if (!*text)
        return;
    if (g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT64, &seed, NULL)) {
        gtk_widget_remove_css_class(GTK_WIDGET(self->seed), "error");
        g_object_set(self->request, "seed", seed, "random-seed", FALSE, NULL);
    } else {
        gtk_widget_add_css_class(GTK_WIDGET(self->seed), "error");
    }
    show_hint(self);
}

static void show_tokens(FigPanel *self)
{
    int n = fig_bridge_count_tokens(self->bridge, fig_record_text(self->request, "model"),
                                    fig_record_text(self->request, "prompt"));
    int room = MAX(1, (n + 74) / 75) * 75;
    g_autofree char *text = n ? g_strdup_printf("%d / %d", n, room) : g_strdup("");
    gtk_label_set_label(self->tokens, text);
    g_autofree char *tip =
        n > 75 ? g_strdup_printf(_("%d tokens: the text encoder reads them in %d pieces of 75"), n,
                                 room / 75)
               : g_strdup(_("Tokens the text encoder reads at once"));
    gtk_widget_set_tooltip_text(GTK_WIDGET(self->tokens), tip);
}

static void recent_chosen(FigPanel *self, GtkListBoxRow *row)
{
    g_object_set(self->request, "prompt", g_object_get_data(G_OBJECT(row), "prompt"), NULL);
    gtk_menu_button_popdown(self->recent);
    fig_panel_focus_prompt(self);
}

static void fill_recent(GtkMenuButton *button, gpointer user)
{
    FigPanel *self = user;
    g_auto(GStrv) prompts = fig_bridge_history_prompts(self->bridge, 20);
    GtkWidget *list = gtk_list_box_new();
    for (char **p = prompts; *p; p++) {
        GtkWidget *label = gtk_label_new(*p);
        gtk_label_set_ellipsize(GTK_LABEL(label), PANGO_ELLIPSIZE_END);
        gtk_label_set_max_width_chars(GTK_LABEL(label), 42);
        gtk_label_set_xalign(GTK_LABEL(label), 0);
        GtkWidget *row = gtk_list_box_row_new();
        gtk_list_box_row_set_child(GTK_LIST_BOX_ROW(row), label);
        g_object_set_data_full(G_OBJECT(row), "prompt", g_strdup(*p), g_free);
        gtk_list_box_append(GTK_LIST_BOX(list), row);
    }
    if (!*prompts)
        gtk_list_box_set_placeholder(GTK_LIST_BOX(list), gtk_label_new(_("No prompts yet")));
    g_signal_connect_swapped(list, "row-activated", G_CALLBACK(recent_chosen), self);
    GtkWidget *scroller = gtk_scrolled_window_new();
    gtk_scrolled_window_set_propagate_natural_height(GTK_SCROLLED_WINDOW(scroller), TRUE);
    gtk_scrolled_window_set_propagate_natural_width(GTK_SCROLLED_WINDOW(scroller), TRUE);
    gtk_scrolled_window_set_max_content_height(GTK_SCROLLED_WINDOW(scroller), 320);
    gtk_scrolled_window_set_child(GTK_SCROLLED_WINDOW(scroller), list);
    GtkWidget *popover = gtk_popover_new();
    gtk_widget_add_css_class(popover, "recent");
    gtk_popover_set_child(GTK_POPOVER(popover), scroller);
    gtk_menu_button_set_popover(button, popover);
}

static void add_on_chosen(FigPanel *self, const char *words)
{
    gtk_menu_button_popdown(self->add_ons);
    fig_prompt_insert(self->writing, words);
    fig_prompt_focus(self->writing);
}

static void fill_add_ons(GtkMenuButton *button, gpointer user)
{
    FigPanel *self = user;
    GtkWidget *popover = fig_add_ons_new(self->bridge);
    g_signal_connect_swapped(popover, "chosen", G_CALLBACK(add_on_chosen), self);
    gtk_menu_button_set_popover(button, popover);
}

static void written(FigPanel *self, GtkEventController *focus)
{
    self->writing = FIG_PROMPT(gtk_event_controller_get_widget(focus));
}

/* Names go where somebody wrote last: LoRAs mostly into the prompt, embeddings often into the
 * other. */
static void follow_writing(FigPanel *self)
{
    FigPrompt *const both[] = {self->prompt, self->negative};
    self->writing = self->prompt;
    for (guint i = 0; i < G_N_ELEMENTS(both); i++) {
        GtkEventController *focus = gtk_event_controller_focus_new();
        g_signal_connect_swapped(focus, "enter", G_CALLBACK(written), self);
        gtk_widget_add_controller(GTK_WIDGET(both[i]), focus);
    }
}

/* What unfolds at the lower end would unfold out of sight: the panel follows while it grows. */
static void height_changed(FigPanel *self, GParamSpec *spec, GtkAdjustment *adjustment)
{
    (void)spec;
    if (self->unfolding)
        gtk_adjustment_set_value(adjustment, gtk_adjustment_get_upper(adjustment));
}

static gboolean unfolded(gpointer user)
{
    FIG_PANEL(user)->unfolding = 0;
    return G_SOURCE_REMOVE;
}

static void more_unfolds(FigPanel *self)
{
    g_clear_handle_id(&self->unfolding, g_source_remove);
    if (adw_expander_row_get_expanded(self->more))
        self->unfolding = g_timeout_add(500, unfolded, self);
}

void fig_panel_focus_prompt(FigPanel *self)
{
    fig_prompt_focus(self->prompt);
}

void fig_panel_choose_model(FigPanel *self)
{
    gtk_widget_grab_focus(GTK_WIDGET(self->model));
    adw_action_row_activate(ADW_ACTION_ROW(self->model)); /* opens its list */
}

/* ---- the object ---- */

static void bind(FigPanel *self, const char *field, gpointer widget, const char *property)
{
    g_object_bind_property(self->request, field, widget, property,
                           G_BINDING_SYNC_CREATE | G_BINDING_BIDIRECTIONAL);
}

static void name_controls(FigPanel *self)
{
    const struct {
        gpointer widget;
        const char *name;
    } names[] = {
        {self->steps_scale, _("Steps")},
        {self->steps, _("Steps")},
        {self->guidance_scale, _("Guidance")},
        {self->guidance, _("Guidance")},
        {self->pictures, _("Pictures")},
        {self->clip_skip, _("Clip skip")},
        {self->width, _("Width")},
        {self->height, _("Height")},
        {self->seed, _("Seed")},
        {self->random_seed, _("Random seed")},
        {self->swap, _("Swap width and height")},
    };
    for (guint i = 0; i < G_N_ELEMENTS(names); i++)
        gtk_accessible_update_property(GTK_ACCESSIBLE(names[i].widget),
                                       GTK_ACCESSIBLE_PROPERTY_LABEL, names[i].name, -1);
}

void fig_panel_set_up(FigPanel *self, FigRequest *request, FigBridge *bridge)
{
    self->request = g_object_ref(request);
    self->bridge = g_object_ref(bridge);
    name_controls(self);
    fill_samplers(self);
    fill_presets(self);
    fig_panel_refresh_models(self);

    bind(self, "prompt", self->prompt, "text");
    bind(self, "negative", self->negative, "text");
    bind(self, "steps", self->steps_adjustment, "value");
    bind(self, "guidance", self->guidance_adjustment, "value");
    bind(self, "pictures", gtk_spin_button_get_adjustment(self->pictures), "value");
    bind(self, "clip-skip", gtk_spin_button_get_adjustment(self->clip_skip), "value");
    bind(self, "emphasis", self->emphasis, "selected");
    bind(self, "random-seed", self->random_seed, "active");
    g_object_bind_property_full(request, "width", gtk_spin_button_get_adjustment(self->width),
                                "value", G_BINDING_SYNC_CREATE | G_BINDING_BIDIRECTIONAL, NULL,
                                to_multiple, NULL, NULL);
    g_object_bind_property_full(request, "height", gtk_spin_button_get_adjustment(self->height),
                                "value", G_BINDING_SYNC_CREATE | G_BINDING_BIDIRECTIONAL, NULL,
                                to_multiple, NULL, NULL);
    g_object_bind_property_full(request, "seed", self->seed, "text", G_BINDING_SYNC_CREATE,
                                seed_to_text, NULL, self, NULL);

    g_signal_connect_swapped(self->model, "notify::selected", G_CALLBACK(model_selected), self);
    g_signal_connect_swapped(self->sampler, "notify::selected", G_CALLBACK(sampler_selected), self);
    g_signal_connect_swapped(self->schedule, "notify::selected", G_CALLBACK(schedule_selected),
                             self);
    g_signal_connect_swapped(self->more, "notify::expanded", G_CALLBACK(more_unfolds), self);
    g_signal_connect_object(gtk_scrolled_window_get_vadjustment(self->scroller), "notify::upper",
                            G_CALLBACK(height_changed), self, G_CONNECT_SWAPPED);
    g_signal_connect_swapped(self->swap, "clicked", G_CALLBACK(swap_clicked), self);
    g_signal_connect_swapped(self->seed, "changed", G_CALLBACK(seed_typed), self);
    gtk_menu_button_set_create_popup_func(self->recent, fill_recent, self, NULL);
    gtk_menu_button_set_create_popup_func(self->add_ons, fill_add_ons, self, NULL);
    follow_writing(self);

    const struct {
        const char *signal;
        GCallback show;
    } shows[] = {
        {"notify::sampler", G_CALLBACK(show_sampler)},
        {"notify::schedule", G_CALLBACK(show_sampler)},
        {"notify::width", G_CALLBACK(show_size)},
        {"notify::height", G_CALLBACK(show_size)},
        {"notify::random-seed", G_CALLBACK(show_seed)},
        {"notify::prompt", G_CALLBACK(show_tokens)},
        {"notify::seed", G_CALLBACK(show_seed)},
        {"notify::model", G_CALLBACK(fig_panel_refresh_models)},
        {"notify::vae", G_CALLBACK(fill_vaes)},
        {"notify::steps", G_CALLBACK(show_hint)},
        {"notify::guidance", G_CALLBACK(show_hint)},
        {"notify::negative", G_CALLBACK(show_hint)},
        {"notify::clip-skip", G_CALLBACK(show_hint)},
        {"notify::vae", G_CALLBACK(estimate_again)},
        {"notify::model", G_CALLBACK(estimate_again)},
        {"notify::width", G_CALLBACK(estimate_again)},
        {"notify::height", G_CALLBACK(estimate_again)},
        {"notify::steps", G_CALLBACK(estimate_again)},
        {"notify::guidance", G_CALLBACK(estimate_again)},
        {"notify::sampler", G_CALLBACK(estimate_again)},
        {"notify::pictures", G_CALLBACK(estimate_again)},
    };
    for (guint i = 0; i < G_N_ELEMENTS(shows); i++)
        g_signal_connect_object(request, shows[i].signal, shows[i].show, self, G_CONNECT_SWAPPED);
    FigSettings *settings = fig_bridge_settings(bridge);
    const char *const matter[] = {"notify::device", "notify::precision", "notify::low-memory",
                                  "notify::model-folders"};
    for (guint i = 0; i < G_N_ELEMENTS(matter); i++)
        g_signal_connect_object(settings, matter[i], G_CALLBACK(estimate_again), self,
                                G_CONNECT_SWAPPED);
    g_signal_connect_object(settings, "notify::model-folders", G_CALLBACK(fill_styles), self,
                            G_CONNECT_SWAPPED);
    g_signal_connect_object(settings, "notify::model-folders", G_CALLBACK(fill_vaes), self,
                            G_CONNECT_SWAPPED);
    g_signal_connect_object(bridge, "notify::busy", G_CALLBACK(busy_changed), self,
                            G_CONNECT_SWAPPED);
    fill_styles(self);
    fill_vaes(self);
    g_signal_connect_swapped(self->vae, "notify::selected", G_CALLBACK(vae_selected), self);
    g_signal_connect_swapped(self->style, "notify::selected", G_CALLBACK(style_selected), self);
    show_sampler(self);
    show_size(self);
    show_seed(self);
    show_tokens(self);
    estimate_again(self);
}

static void fig_panel_dispose(GObject *object)
{
    FigPanel *self = FIG_PANEL(object);
    g_clear_handle_id(&self->unfolding, g_source_remove);
    g_clear_handle_id(&self->estimate_soon, g_source_remove);
    if (self->estimating)
        g_cancellable_cancel(self->estimating);
    g_clear_object(&self->estimating);
    g_clear_object(&self->request);
    g_clear_object(&self->bridge);
    g_clear_pointer(&self->models, g_ptr_array_unref);
    g_clear_pointer(&self->styles, g_strfreev);
    g_clear_pointer(&self->vaes, g_strfreev);
    G_OBJECT_CLASS(fig_panel_parent_class)->dispose(object);
}

static void fig_panel_class_init(FigPanelClass *class)
{
    GtkWidgetClass *widget_class = GTK_WIDGET_CLASS(class);
    G_OBJECT_CLASS(class)->dispose = fig_panel_dispose;
    g_type_ensure(FIG_TYPE_PROMPT);
    gtk_widget_class_set_template_from_resource(widget_class,
                                                "/io/github/figment_app/Figment/ui/panel.ui");
#define CHILD(name) gtk_widget_class_bind_template_child(widget_class, FigPanel, name)
    CHILD(prompt);
    CHILD(negative);
    CHILD(tokens);
    CHILD(hint);
    CHILD(recent);
    CHILD(add_ons);
    CHILD(size);
    CHILD(model);
    CHILD(sampler);
    CHILD(schedule);
    CHILD(steps_scale);
    CHILD(guidance_scale);
    CHILD(steps);
    CHILD(guidance);
    CHILD(pictures);
    CHILD(clip_skip);
    CHILD(width);
    CHILD(height);
    CHILD(steps_adjustment);
    CHILD(guidance_adjustment);
    CHILD(size_popover);
    CHILD(presets);
    CHILD(swap);
    CHILD(scroller);
    CHILD(more);
    CHILD(seed);
    CHILD(random_seed);
    CHILD(style);
    CHILD(vae);
    CHILD(emphasis);
    CHILD(estimate);
#undef CHILD
}

static void fig_panel_init(FigPanel *self)
{
    gtk_widget_init_template(GTK_WIDGET(self));
}
