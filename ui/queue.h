/* FigQueue: the popover with the jobs that run and wait: reorder, remove, try again, pause, clear.
 * Main thread only. */
#pragma once

#include "ui/bridge.h"

#include <gtk/gtk.h>

#define FIG_TYPE_QUEUE (fig_queue_get_type())
G_DECLARE_FINAL_TYPE(FigQueue, fig_queue, FIG, QUEUE, GtkPopover)

void fig_queue_set_up(FigQueue *self, FigBridge *bridge);
