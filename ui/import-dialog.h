/*
 * What a dropped picture would change: its settings as sentences, and what cannot be honoured.
 * Nothing happens until "Use Settings", and nothing ever runs by itself. Main thread only.
 */
#pragma once

#include "ui/bridge.h"

#include <adwaita.h>

/* On acceptance `request` is assigned the settings of `changed`. */
void fig_import_dialog_show(GtkWindow *parent, FigRequest *request, FigRequest *changed,
                            const struct fig_import *what);
