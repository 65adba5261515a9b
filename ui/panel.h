/*
 * FigPanel: the request panel at the left: everything Generate needs. It edits one FigRequest by
 * bindings and knows nothing of jobs. Main thread only.
 */
#pragma once

#include "ui/bridge.h"

#include <gtk/gtk.h>

#define FIG_TYPE_PANEL (fig_panel_get_type())
G_DECLARE_FINAL_TYPE(FigPanel, fig_panel, FIG, PANEL, GtkBox)

/* Once, after construction. Both are kept. */
void fig_panel_set_up(FigPanel *self, FigRequest *request, FigBridge *bridge);
/* Reads the library again and selects the request's model. */
void fig_panel_refresh_models(FigPanel *self);
void fig_panel_focus_prompt(FigPanel *self);
void fig_panel_choose_model(FigPanel *self); /* the list of models, opened */
