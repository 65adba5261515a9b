/*
 * FigPrompt: a text field for a prompt: several lines, undo, a placeholder, and A1111's habit:
 * Ctrl+Up and Ctrl+Down change the weight of the selection (or of the word at the cursor) by 0.1.
 * Tab moves on. Properties: "text" (bind it), "placeholder",
 * "label" (its name for screen readers). Ctrl+Return is left to the window.
 * Main thread only.
 */
#pragma once

#include <gtk/gtk.h>

#define FIG_TYPE_PROMPT (fig_prompt_get_type())
G_DECLARE_FINAL_TYPE(FigPrompt, fig_prompt, FIG, PROMPT, GtkWidget)

/*
 * The pure part of Ctrl+Up/Down: text with the weight of [start, end) (characters) changed by
 * delta; the range moves along. An empty range means the word around it. NULL when there is nothing
 * to weigh. g_free().
 */
char *fig_prompt_change_weight(const char *text, int *start, int *end, double delta);
void fig_prompt_focus(FigPrompt *self);
/* Puts words in at the cursor, with a space where they would touch others: one undo. */
void fig_prompt_insert(FigPrompt *self, const char *words);
