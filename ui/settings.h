/*
 * FigSettings: the preferences, kept with the last request in
 * $XDG_CONFIG_HOME/figment/settings.ini. A change is written half a second after the last one, and
 * when the program ends. Main thread only.
 */
#pragma once

#include "ui/request.h"

#define FIG_TYPE_SETTINGS (fig_settings_get_type())
G_DECLARE_FINAL_TYPE(FigSettings, fig_settings, FIG, SETTINGS, FigRecord)

/* Reads the file. The request it carries is kept up to date with `request`, which is filled in from
 * the file. */
FigSettings *fig_settings_new(FigRequest *request);
void fig_settings_flush(FigSettings *self);
/* Where copies went last, as long as that folder is there; else the user's Pictures, NULL where
 * there are none. Borrowed until the setting changes. */
const char *fig_settings_export_folder(FigSettings *self);
