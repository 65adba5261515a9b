/* FigExportDialog: copies of a selection into a folder. Main thread only; the work is the bridge's.
 */
#pragma once

#include "ui/bridge.h"

#include <adwaita.h>

#define FIG_TYPE_EXPORT_DIALOG (fig_export_dialog_get_type())
G_DECLARE_FINAL_TYPE(FigExportDialog, fig_export_dialog, FIG, EXPORT_DIALOG, AdwWindow)

/* Emits "exported" (int pictures, char *folder) when it is done. */
FigExportDialog *fig_export_dialog_new(GtkWindow *parent, FigBridge *bridge, GListModel *pictures);
