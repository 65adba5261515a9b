/*
 * What the window says in passing, as toasts over its content. Three kinds:
 *   a message goes away after some seconds;
 *   an offer has a button, stays for a minute, and gives way to whatever comes next;
 *   a question waits for its button until it is answered, closed or stale. There is one at most: a
 *   new one takes the old one's place. Messages and offers are shown before it; then it comes back.
 * Main thread.
 */
#pragma once

#include <adwaita.h>

#define FIG_TYPE_MESSAGES (fig_messages_get_type())
G_DECLARE_FINAL_TYPE(FigMessages, fig_messages, FIG, MESSAGES, GObject)

/* Shows them in the overlay, which it keeps alive. */
FigMessages *fig_messages_new(AdwToastOverlay *overlay);

/* `text` is plain; at most eight lines of it are seen. */
void fig_messages_tell(FigMessages *self, const char *text);
/* `action`: its name; `target`: the string it takes, or NULL. */
void fig_messages_offer(FigMessages *self, const char *text, const char *button, const char *action,
                        const char *target);
/* `action`: its detailed name. */
void fig_messages_ask(FigMessages *self, const char *text, const char *button, const char *action);
/* The question does not arise any more. */
void fig_messages_drop_question(FigMessages *self);
