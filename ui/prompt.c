#include "ui/prompt.h"

#include <math.h>

struct _FigPrompt {
    GtkWidget parent_instance;

    /* Template-free children, owned by the widget tree */
    GtkWidget *scroller, *view, *placeholder;
    GtkTextBuffer *buffer; /* borrowed from view */

    char *text; /* owned: what was last notified */
};

enum { PROP_TEXT = 1, PROP_PLACEHOLDER, PROP_LABEL, N_PROPS };
static GParamSpec *props[N_PROPS];

G_DEFINE_FINAL_TYPE(FigPrompt, fig_prompt, GTK_TYPE_WIDGET)

/* ---- weights ---- */

static gboolean is_word(gunichar c)
{
    return g_unichar_isalnum(c) || c == '_' || c == '-' || c == '\'' || g_unichar_ismark(c);
}

/* Characters of text, so that positions are characters and not bytes. */
static void widen_to_word(const gunichar *c, int n, int *start, int *end)
{
    while (*start > 0 && is_word(c[*start - 1]))
        (*start)--;
    while (*end < n && is_word(c[*end]))
        (*end)++;
}

/* Does "(…:w)" lie just around [start, end)? Gives the weight and the position behind the bracket.
 */
static gboolean around(const gunichar *c, int n, int start, int end, double *weight, int *behind)
{
    if (start < 1 || c[start - 1] != '(' || end >= n || c[end] != ':')
        return FALSE;
    char digits[16];
    int length = 0, i = end + 1;
    while (i < n && length < 15 && (g_unichar_isdigit(c[i]) || c[i] == '.' || c[i] == '-'))
        digits[length++] = (char)c[i++];
    digits[length] = 0;
    if (!length || i >= n || c[i] != ')')
        return FALSE;
    *weight = g_ascii_strtod(digits, NULL);
    *behind = i + 1;
    return TRUE;
}

static char *slice(const gunichar *c, int from, int to)
{
    return g_ucs4_to_utf8(c + from, to - from, NULL, NULL, NULL);
}

char *fig_prompt_change_weight(const char *text, int *start, int *end, double delta)
{
    glong n = 0;
    g_autofree gunichar *c = g_utf8_to_ucs4_fast(text, -1, &n);
    int from = CLAMP(*start, 0, (int)n), to = CLAMP(*end, from, (int)n);
    if (from == to)
        widen_to_word(c, (int)n, &from, &to);
    while (from < to && g_unichar_isspace(c[from]))
        from++;
    while (to > from && g_unichar_isspace(c[to - 1]))
        to--;
    if (from == to)
        return NULL;

    double weight = 1;
    int before_end = from, after_start = to;
    if (around(c, (int)n, from, to, &weight, &after_start))
        before_end = from - 1;
    weight = round((weight + delta) * 100) / 100;
    weight = CLAMP(weight, 0, 10);

    g_autofree char *before = slice(c, 0, before_end);
    g_autofree char *middle = slice(c, from, to);
    g_autofree char *after = slice(c, after_start, (int)n);
    gboolean plain = fabs(weight - 1) < 0.005;
    *start = before_end + (plain ? 0 : 1);
    *end = *start + (to - from);
    if (plain)
        return g_strconcat(before, middle, after, NULL);
    char digits[G_ASCII_DTOSTR_BUF_SIZE];
    g_ascii_formatd(digits, sizeof digits, "%g", weight);
    return g_strconcat(before, "(", middle, ":", digits, ")", after, NULL);
}

/* Puts part of a text, from offset `from` to `to` (-1 = the end), in the place of [start, end). */
static void replace(FigPrompt *self, int start, int end, const char *text, int from, int to)
{
    GtkTextIter a, b;
    gtk_text_buffer_get_iter_at_offset(self->buffer, &a, start);
    gtk_text_buffer_get_iter_at_offset(self->buffer, &b, end);
    gtk_text_buffer_delete(self->buffer, &a, &b);
    const char *first = g_utf8_offset_to_pointer(text, from);
    int bytes = to < 0 ? -1 : (int)(g_utf8_offset_to_pointer(text, to) - first);
    gtk_text_buffer_insert(self->buffer, &a, first, bytes);
}

/* Text that is selected stays where it is: without it for a moment, the selection could be gone for
 * good (X's primary selection is given up and taken again, and answers come late). */
static void weigh(FigPrompt *self, double delta)
{
    GtkTextIter a, b;
    gtk_text_buffer_get_selection_bounds(self->buffer, &a, &b);
    int first = gtk_text_iter_get_offset(&a), last = gtk_text_iter_get_offset(&b);
    int start = first, end = last;
    g_autofree char *text = fig_prompt_change_weight(self->text, &start, &end, delta);
    if (!text)
        return;
    gtk_text_buffer_begin_user_action(self->buffer); /* one undo */
    if (end - start == last - first) {
        replace(self, last, -1, text, end, -1);
        replace(self, 0, first, text, 0, start);
    } else
        replace(self, 0, -1, text, 0, -1);
    gtk_text_buffer_end_user_action(self->buffer);
    gtk_text_buffer_get_iter_at_offset(self->buffer, &a, start);
    gtk_text_buffer_get_iter_at_offset(self->buffer, &b, end);
    gtk_text_buffer_select_range(self->buffer, &b, &a);
}

static gboolean key_pressed(FigPrompt *self, guint key, guint code, GdkModifierType state)
{
    (void)code;
    if ((state & gtk_accelerator_get_default_mod_mask()) != GDK_CONTROL_MASK)
        return FALSE;
    if (key != GDK_KEY_Up && key != GDK_KEY_Down)
        return FALSE;
    weigh(self, key == GDK_KEY_Up ? 0.1 : -0.1);
    return TRUE;
}

/* ---- the object ---- */

static void changed(FigPrompt *self)
{
    GtkTextIter a, b;
    gtk_text_buffer_get_bounds(self->buffer, &a, &b);
    g_free(self->text);
    self->text = gtk_text_buffer_get_text(self->buffer, &a, &b, FALSE);
    gtk_widget_set_visible(self->placeholder, !*self->text);
    g_object_notify_by_pspec(G_OBJECT(self), props[PROP_TEXT]);
}

static void set_text(FigPrompt *self, const char *text)
{
    GtkTextIter a, b;
    if (g_strcmp0(self->text, text) == 0)
        return;
    if (!*self->text) {
        gtk_text_buffer_set_text(self->buffer, text ? text : "", -1);
        return;
    }
    gtk_text_buffer_begin_user_action(self->buffer); /* what somebody wrote can be had back */
    gtk_text_buffer_get_bounds(self->buffer, &a, &b);
    gtk_text_buffer_delete(self->buffer, &a, &b);
    gtk_text_buffer_insert(self->buffer, &a, text ? text : "", -1);
    gtk_text_buffer_end_user_action(self->buffer);
}

void fig_prompt_focus(FigPrompt *self)
{
    gtk_widget_grab_focus(self->view);
}

void fig_prompt_insert(FigPrompt *self, const char *words)
{
    GtkTextIter at;
    gtk_text_buffer_get_iter_at_mark(self->buffer, &at, gtk_text_buffer_get_insert(self->buffer));
    GtkTextIter before = at;
    gboolean apart =
        !gtk_text_iter_backward_char(&before) || g_unichar_isspace(gtk_text_iter_get_char(&before));
    gboolean last = gtk_text_iter_is_end(&at) || g_unichar_isspace(gtk_text_iter_get_char(&at)) ||
                    g_unichar_ispunct(gtk_text_iter_get_char(&at));
    g_autofree char *text = g_strconcat(apart ? "" : " ", words, last ? "" : " ", NULL);
    gtk_text_buffer_begin_user_action(self->buffer);
    gtk_text_buffer_insert(self->buffer, &at, text, -1);
    gtk_text_buffer_end_user_action(self->buffer);
}

static void fig_prompt_get_property(GObject *object, guint id, GValue *value, GParamSpec *spec)
{
    FigPrompt *self = FIG_PROMPT(object);
    if (id == PROP_TEXT)
        g_value_set_string(value, self->text);
    else if (id == PROP_PLACEHOLDER)
        g_value_set_string(value, gtk_label_get_label(GTK_LABEL(self->placeholder)));
    else
        G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
}

static void fig_prompt_set_property(GObject *object, guint id, const GValue *value,
                                    GParamSpec *spec)
{
    FigPrompt *self = FIG_PROMPT(object);
    const char *string = g_value_get_string(value);
    if (id == PROP_TEXT)
        set_text(self, string);
    else if (id == PROP_PLACEHOLDER)
        gtk_label_set_label(GTK_LABEL(self->placeholder), string ? string : "");
    else if (id == PROP_LABEL)
        gtk_accessible_update_property(GTK_ACCESSIBLE(self->view), GTK_ACCESSIBLE_PROPERTY_LABEL,
                                       string ? string : "", -1);
    else
        G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
}

static void fig_prompt_dispose(GObject *object)
{
    FigPrompt *self = FIG_PROMPT(object);
    if (self->buffer)
        g_signal_handlers_disconnect_by_data(self->buffer, self);
    self->buffer = NULL;
    GtkWidget *child;
    while ((child = gtk_widget_get_first_child(GTK_WIDGET(self))))
        gtk_widget_unparent(child);
    G_OBJECT_CLASS(fig_prompt_parent_class)->dispose(object);
}

static void fig_prompt_finalize(GObject *object)
{
    g_free(FIG_PROMPT(object)->text);
    G_OBJECT_CLASS(fig_prompt_parent_class)->finalize(object);
}

static gboolean fig_prompt_grab_focus(GtkWidget *widget)
{
    return gtk_widget_grab_focus(FIG_PROMPT(widget)->view);
}

static void fig_prompt_class_init(FigPromptClass *class)
{
    GObjectClass *object_class = G_OBJECT_CLASS(class);
    GtkWidgetClass *widget_class = GTK_WIDGET_CLASS(class);
    object_class->dispose = fig_prompt_dispose;
    object_class->finalize = fig_prompt_finalize;
    object_class->get_property = fig_prompt_get_property;
    object_class->set_property = fig_prompt_set_property;
    widget_class->grab_focus = fig_prompt_grab_focus;
    gtk_widget_class_set_layout_manager_type(widget_class, GTK_TYPE_BIN_LAYOUT);
    gtk_widget_class_set_css_name(widget_class, "prompt");

    GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | G_PARAM_EXPLICIT_NOTIFY;
    props[PROP_TEXT] = g_param_spec_string("text", NULL, NULL, "", flags);
    props[PROP_PLACEHOLDER] = g_param_spec_string("placeholder", NULL, NULL, "", flags);
    props[PROP_LABEL] =
        g_param_spec_string("label", NULL, NULL, "", G_PARAM_WRITABLE | G_PARAM_STATIC_STRINGS);
    g_object_class_install_properties(object_class, N_PROPS, props);
}

static void focus_changed(FigPrompt *self, gboolean in)
{
    if (in)
        gtk_widget_add_css_class(GTK_WIDGET(self), "focused");
    else
        gtk_widget_remove_css_class(GTK_WIDGET(self), "focused");
}

static void focus_in(FigPrompt *self)
{
    focus_changed(self, TRUE);
}

static void focus_out(FigPrompt *self)
{
    focus_changed(self, FALSE);
}

static void fig_prompt_init(FigPrompt *self)
{
    self->text = g_strdup("");
    self->view = gtk_text_view_new();
    GtkTextView *view = GTK_TEXT_VIEW(self->view);
    gtk_text_view_set_wrap_mode(view, GTK_WRAP_WORD_CHAR);
    gtk_text_view_set_accepts_tab(view, FALSE);
    gtk_text_view_set_left_margin(view, 12);
    gtk_text_view_set_right_margin(view, 12);
    gtk_text_view_set_top_margin(view, 10);
    gtk_text_view_set_bottom_margin(view, 10);
    gtk_text_view_set_input_hints(view, GTK_INPUT_HINT_SPELLCHECK);
    self->buffer = gtk_text_view_get_buffer(view);
    gtk_text_buffer_set_enable_undo(self->buffer, TRUE);
    g_signal_connect_swapped(self->buffer, "changed", G_CALLBACK(changed), self);

    self->scroller = gtk_scrolled_window_new();
    gtk_scrolled_window_set_policy(GTK_SCROLLED_WINDOW(self->scroller), GTK_POLICY_NEVER,
                                   GTK_POLICY_AUTOMATIC);
    gtk_scrolled_window_set_propagate_natural_height(GTK_SCROLLED_WINDOW(self->scroller), TRUE);
    gtk_scrolled_window_set_max_content_height(GTK_SCROLLED_WINDOW(self->scroller), 192);
    gtk_scrolled_window_set_child(GTK_SCROLLED_WINDOW(self->scroller), self->view);
    gtk_widget_set_parent(self->scroller, GTK_WIDGET(self));

    self->placeholder = gtk_label_new("");
    gtk_label_set_wrap(GTK_LABEL(self->placeholder), TRUE);
    gtk_label_set_xalign(GTK_LABEL(self->placeholder), 0);
    gtk_widget_set_halign(self->placeholder, GTK_ALIGN_START);
    gtk_widget_set_valign(self->placeholder, GTK_ALIGN_START);
    gtk_widget_set_can_target(self->placeholder, FALSE);
    gtk_widget_add_css_class(self->placeholder, "placeholder");
    gtk_widget_add_css_class(self->placeholder, "dim-label");
    gtk_widget_set_parent(self->placeholder, GTK_WIDGET(self));

    GtkEventController *keys = gtk_event_controller_key_new();
    gtk_event_controller_set_propagation_phase(keys, GTK_PHASE_CAPTURE);
    g_signal_connect_swapped(keys, "key-pressed", G_CALLBACK(key_pressed), self);
    gtk_widget_add_controller(self->view, keys);
    GtkEventController *focus = gtk_event_controller_focus_new();
    g_signal_connect_swapped(focus, "enter", G_CALLBACK(focus_in), self);
    g_signal_connect_swapped(focus, "leave", G_CALLBACK(focus_out), self);
    gtk_widget_add_controller(self->view, focus);
}
