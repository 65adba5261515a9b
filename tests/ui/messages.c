/* Messages, offers and the question over a window: what is shown when another comes, however soon.
 */
#include "tests/check.h"
#include "ui/messages.h"

#include <string.h>

static AdwToastOverlay *overlay;
static FigMessages *messages;
static int answers;

static GtkWidget *find(GtkWidget *from, GType type, const char *style)
{
    if (G_TYPE_CHECK_INSTANCE_TYPE(from, type) && (!style || gtk_widget_has_css_class(from, style)))
        return from;
    for (GtkWidget *w = gtk_widget_get_first_child(from); w; w = gtk_widget_get_next_sibling(w)) {
        GtkWidget *found = find(w, type, style);
        if (found)
            return found;
    }
    return NULL;
}

/* The toast that is there, not one that fades. */
static GtkWidget *toast(void)
{
    GtkWidget *w = gtk_widget_get_first_child(GTK_WIDGET(overlay));
    while (w && (strcmp(gtk_widget_get_css_name(w), "toast") != 0 || !gtk_widget_get_can_target(w)))
        w = gtk_widget_get_next_sibling(w);
    return w;
}

static const char *shown(void)
{
    GtkWidget *t = toast();
    return t ? gtk_label_get_text(GTK_LABEL(find(t, GTK_TYPE_LABEL, "heading"))) : "";
}

static gboolean wake(void *data)
{
    *(gboolean *)data = TRUE;
    return G_SOURCE_REMOVE;
}

static void wait(guint milliseconds)
{
    gboolean over = FALSE;
    g_timeout_add(milliseconds, wake, &over);
    while (!over)
        g_main_context_iteration(NULL, TRUE);
}

static void expect(const char *text, const char *when)
{
    for (int i = 0; i < 200 && strcmp(shown(), text) != 0; i++)
        wait(100); /* a message takes seconds to go */
    CHECK(strcmp(shown(), text) == 0, "%s: “%s” is shown, not “%s”", when, shown(), text);
}

/* Its cross, which is the last button. */
static void close_toast(void)
{
    GtkWidget *cross = toast() ? find(toast(), GTK_TYPE_BUTTON, "circular") : NULL;
    CHECK(cross, "no cross");
    if (cross)
        g_signal_emit_by_name(cross, "clicked");
}

static void answer(GtkWidget *widget, const char *name, GVariant *parameter)
{
    (void)widget;
    (void)name;
    (void)parameter;
    answers++;
    fig_messages_tell(messages, "done");
}

static void ask(const char *text)
{
    fig_messages_ask(messages, text, "Answer", "test.answer");
}

static void closed_at_once(void)
{
    ask("why");
    expect("why", "a question");
    fig_messages_tell(messages, "hello");
    expect("hello", "a message over a question");
    close_toast();
    expect("why", "the message is closed before the question has faded");
    for (int i = 0; i < 5; i++) {
        fig_messages_tell(messages, "quick");
        expect("quick", "a message");
        close_toast();
    }
    expect("why", "after five that were closed as soon as they came");
    for (int i = 0; i < 5; i++) {
        ask(i % 2 ? "how" : "why");
        wait(60);
    }
    expect("why", "five questions in a fraction of a second");
    close_toast();
    expect("", "a question that is closed");
    fig_messages_tell(messages, "later");
    expect("later", "a message");
    close_toast();
    expect("", "the closed question does not come back");
}

static void several(void)
{
    fig_messages_offer(messages, "a folder", "Open", "test.answer", NULL);
    expect("a folder", "an offer");
    ask("first");
    ask("second");
    expect("second", "a question in the place of another, and of an offer");
    fig_messages_tell(messages, "one");
    fig_messages_tell(messages, "two");
    expect("one", "two messages over a question");
    close_toast();
    expect("two", "the other, which goes by itself");
    expect("second", "and the question");
    fig_messages_offer(messages, "a folder", "Open", "test.answer", NULL);
    fig_messages_tell(messages, "three");
    expect("three", "an offer gives way");
    close_toast();
    fig_messages_drop_question(messages);
    expect("", "a question that is dropped while it is aside");
}

static void answered(void)
{
    ask("go on");
    expect("go on", "a question");
    wait(20);
    GtkWidget *button = NULL;
    for (GtkWidget *w = gtk_widget_get_first_child(toast()); w; w = gtk_widget_get_next_sibling(w))
        if (GTK_IS_BUTTON(w) && !gtk_widget_has_css_class(w, "circular"))
            button = w;
    CHECK(button, "no button");
    g_signal_emit_by_name(button, "clicked");
    CHECK(answers == 1, "%d answers", answers);
    expect("done", "what the answer tells");
    close_toast();
    expect("", "the answered question does not come back");
}

int main(void)
{
    adw_init();
    GtkWidget *window = gtk_window_new();
    overlay = ADW_TOAST_OVERLAY(adw_toast_overlay_new());
    GSimpleActionGroup *group = g_simple_action_group_new();
    GSimpleAction *action = g_simple_action_new("answer", NULL);
    g_signal_connect_swapped(action, "activate", G_CALLBACK(answer), window);
    g_action_map_add_action(G_ACTION_MAP(group), G_ACTION(action));
    gtk_widget_insert_action_group(window, "test", G_ACTION_GROUP(group));
    adw_toast_overlay_set_child(overlay, gtk_label_new("content"));
    gtk_window_set_child(GTK_WINDOW(window), GTK_WIDGET(overlay));
    gtk_window_present(GTK_WINDOW(window));
    messages = fig_messages_new(overlay);
    wait(300);
    closed_at_once();
    several();
    answered();
    ask("open to the end");
    g_object_unref(messages);
    gtk_window_destroy(GTK_WINDOW(window));
    g_object_unref(action);
    g_object_unref(group);
    return check_result();
}
