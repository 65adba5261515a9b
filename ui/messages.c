/*
 * The overlay has one toast at a time, and the next one only when the last has faded: libadwaita
 * 1.2 crashes when a toast that took another's place is closed before that one is gone. So the
 * queue is kept here, and what is put aside is made anew.
 */
#include "ui/messages.h"

#include <string.h>

#define OFFER_SECONDS 60       /* time to read it and to reach the button */
#define OFFER_BEFORE_SECONDS 8 /* a question */

struct message {
    char *text, *button, *action, *target; /* button, target: or NULL */
    guint seconds;                         /* 0 = until it is answered: the question */
};

struct _FigMessages {
    GObject parent_instance;
    AdwToastOverlay *overlay;
    AdwToast *current;                       /* there or fading; NULL = none */
    gboolean is_question, is_offer, leaving; /* the current one */
    GQueue waiting;                          /* struct message *: messages and offers */
    struct message *question;                /* shown when nothing else is */
    guint asked;                             /* questions so far */
    guint next;                              /* source */
};

G_DEFINE_FINAL_TYPE(FigMessages, fig_messages, G_TYPE_OBJECT)

static struct message *message_new(const char *text, const char *button, const char *action,
                                   const char *target, guint seconds)
{
    struct message *m = g_new(struct message, 1);
    *m = (struct message){g_strdup(text), g_strdup(button), g_strdup(action), g_strdup(target),
                          seconds};
    return m;
}

static void message_free(struct message *m)
{
    if (!m)
        return;
    g_free(m->text);
    g_free(m->button);
    g_free(m->action);
    g_free(m->target);
    g_free(m);
}

/* A sentence is read to its end, however narrow the window: a toast's own title has one line. */
static AdwToast *toast_new(const char *text)
{
    g_autofree char *plain = g_markup_escape_text(text, -1); /* it may quote a prompt */
    AdwToast *toast = adw_toast_new(plain);
    GtkWidget *label = gtk_label_new(text);
    gtk_label_set_wrap(GTK_LABEL(label), TRUE);
    gtk_label_set_wrap_mode(GTK_LABEL(label), PANGO_WRAP_WORD_CHAR);
    gtk_label_set_max_width_chars(GTK_LABEL(label), 36); /* its height is asked for at this width */
    gtk_label_set_lines(GTK_LABEL(label), 8);
    gtk_label_set_ellipsize(GTK_LABEL(label), PANGO_ELLIPSIZE_END);
    gtk_label_set_xalign(GTK_LABEL(label), 0);
    gtk_widget_set_margin_top(label, 6);
    gtk_widget_set_margin_bottom(label, 6);
    gtk_widget_add_css_class(label, "heading");
    adw_toast_set_custom_title(toast, label);
    return toast;
}

/* ---- one after another ---- */

static gboolean step(void *data);

static void schedule(FigMessages *self)
{
    if (!self->next && (!self->current || self->leaving))
        self->next = g_timeout_add(20, step, self);
}

static gboolean is_free(AdwToastOverlay *overlay)
{
    GtkWidget *w = gtk_widget_get_first_child(GTK_WIDGET(overlay));
    while (w && strcmp(gtk_widget_get_css_name(w), "toast") != 0)
        w = gtk_widget_get_next_sibling(w);
    return !w;
}

static void closed(FigMessages *self, AdwToast *toast)
{
    if (toast != self->current)
        return;
    if (self->is_question && !self->leaving) /* by the user, or by its button */
        g_clear_pointer(&self->question, message_free);
    self->leaving = TRUE;
    schedule(self);
}

/* What the button did may have put its question aside, or asked another. */
static void answered(FigMessages *self, AdwToast *toast)
{
    if (GPOINTER_TO_UINT(g_object_get_data(G_OBJECT(toast), "asked")) == self->asked)
        g_clear_pointer(&self->question, message_free);
}

static void show(FigMessages *self, const struct message *m)
{
    AdwToast *toast = toast_new(m->text);
    self->current = g_object_ref(toast);
    self->is_question = m == self->question;
    self->is_offer = m->button && !self->is_question;
    self->leaving = FALSE;
    adw_toast_set_timeout(toast, m->seconds);
    if (m->button) {
        adw_toast_set_button_label(toast, m->button);
        if (m->target) {
            adw_toast_set_action_name(toast, m->action);
            adw_toast_set_action_target_value(toast, g_variant_new_string(m->target));
        } else
            adw_toast_set_detailed_action_name(toast, m->action);
    }
    if (self->is_question) {
        g_object_set_data(G_OBJECT(toast), "asked", GUINT_TO_POINTER(self->asked));
        g_signal_connect_object(toast, "button-clicked", G_CALLBACK(answered), self,
                                G_CONNECT_SWAPPED);
    }
    g_signal_connect_object(toast, "dismissed", G_CALLBACK(closed), self, G_CONNECT_SWAPPED);
    adw_toast_overlay_add_toast(self->overlay, toast);
}

static gboolean step(void *data)
{
    FigMessages *self = data;
    if (!is_free(self->overlay))
        return G_SOURCE_CONTINUE; /* it fades */
    self->next = 0;
    g_clear_object(&self->current);
    struct message *m = g_queue_pop_head(&self->waiting);
    if (m || self->question)
        show(self, m ? m : self->question);
    message_free(m);
    return G_SOURCE_REMOVE;
}

/* The current one goes before its time. */
static void dismiss(FigMessages *self)
{
    if (!self->current || self->leaving)
        return;
    self->leaving = TRUE;
    adw_toast_dismiss(self->current);
}

static void drop_offers(FigMessages *self)
{
    for (GList *link = self->waiting.head, *next; link; link = next) {
        struct message *m = link->data;
        next = link->next;
        if (m->button) {
            message_free(m);
            g_queue_delete_link(&self->waiting, link);
        }
    }
    if (self->is_offer)
        dismiss(self);
}

/* ---- what can be said ---- */

static void add(FigMessages *self, struct message *m)
{
    drop_offers(self);
    if (self->is_question)
        dismiss(self); /* aside */
    g_queue_push_tail(&self->waiting, m);
    schedule(self);
}

void fig_messages_tell(FigMessages *self, const char *text)
{
    add(self, message_new(text, NULL, NULL, NULL, 5));
}

void fig_messages_offer(FigMessages *self, const char *text, const char *button, const char *action,
                        const char *target)
{
    add(self, message_new(text, button, action, target,
                          self->question ? OFFER_BEFORE_SECONDS : OFFER_SECONDS));
}

void fig_messages_ask(FigMessages *self, const char *text, const char *button, const char *action)
{
    fig_messages_drop_question(self);
    drop_offers(self);
    self->question = message_new(text, button, action, NULL, 0);
    self->asked++;
    schedule(self);
}

void fig_messages_drop_question(FigMessages *self)
{
    g_clear_pointer(&self->question, message_free);
    if (self->is_question)
        dismiss(self);
}

/* ---- the object ---- */

FigMessages *fig_messages_new(AdwToastOverlay *overlay)
{
    FigMessages *self = g_object_new(FIG_TYPE_MESSAGES, NULL);
    self->overlay = g_object_ref(overlay);
    return self;
}

static void fig_messages_dispose(GObject *object)
{
    FigMessages *self = FIG_MESSAGES(object);
    g_clear_object(&self->current);
    g_clear_handle_id(&self->next, g_source_remove);
    g_clear_pointer(&self->question, message_free);
    g_queue_clear_full(&self->waiting, (GDestroyNotify)message_free);
    g_clear_object(&self->overlay);
    G_OBJECT_CLASS(fig_messages_parent_class)->dispose(object);
}

static void fig_messages_class_init(FigMessagesClass *class)
{
    G_OBJECT_CLASS(class)->dispose = fig_messages_dispose;
}

static void fig_messages_init(FigMessages *self)
{
    g_queue_init(&self->waiting);
}
