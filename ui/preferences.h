/* FigPreferences: device, pictures, look. Everything is bound to FigSettings and takes effect at
 * once. Main thread only. */
#pragma once

#include "ui/bridge.h"

#include <adwaita.h>

#define FIG_TYPE_PREFERENCES (fig_preferences_get_type())
G_DECLARE_FINAL_TYPE(FigPreferences, fig_preferences, FIG, PREFERENCES, AdwPreferencesWindow)

FigPreferences *fig_preferences_new(GtkWindow *parent, FigSettings *settings, FigBridge *bridge);
/* Follows the setting "theme". */
void fig_preferences_apply_theme(FigSettings *settings);
