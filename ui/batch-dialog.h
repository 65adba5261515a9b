/* FigBatchDialog: a batch run: prompts (one a line, or from a file) x seeds x guidances x samplers.
 * Main thread only. */
#pragma once

#include "ui/bridge.h"

#include <adwaita.h>

#define FIG_TYPE_BATCH_DIALOG (fig_batch_dialog_get_type())
G_DECLARE_FINAL_TYPE(FigBatchDialog, fig_batch_dialog, FIG, BATCH_DIALOG, AdwWindow)

FigBatchDialog *fig_batch_dialog_new(GtkWindow *parent, FigBridge *bridge, FigRequest *request);
