/* FigWindow: the main window. Its actions are in window-actions.c, what is dropped on it in
 * window-drop.c. Main thread only. */
#pragma once

#include "ui/bridge.h"

#include <adwaita.h>

#define FIG_TYPE_WINDOW (fig_window_get_type())
G_DECLARE_FINAL_TYPE(FigWindow, fig_window, FIG, WINDOW, AdwApplicationWindow)

FigWindow *fig_window_new(AdwApplication *application, FigSettings *settings, FigRequest *request,
                          FigBridge *bridge);
/* A picture's settings are offered, a model is added to the library; anything else is explained. */
void fig_window_open_file(FigWindow *self, const char *path);
/* A short message at the bottom. */
void fig_window_tell(FigWindow *self, const char *text);
/* The grid of a batch run: shown, and put into the history. */
void fig_window_show_grid(FigWindow *self, const char *path);
