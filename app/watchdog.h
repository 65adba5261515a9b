/*
 * Measures how long the main loop was away while pictures were made, for the tests of the window.
 * With FIGMENT_WATCHDOG set, a line each on stderr: when the first frame was drawn, and at the end
 * the longest time in which the main loop did not come round, and how much of it the main thread
 * was computing (the rest it waited for the disk, or for a turn on a crowded machine). With the
 * value "always" it measures from the start on; SIGUSR1 makes it tell what it has and begin again.
 * Main thread only.
 */
#pragma once

#include "ui/bridge.h"

#include <gtk/gtk.h>

/* Does nothing unless FIGMENT_WATCHDOG is set. */
void watchdog_begin(FigBridge *bridge);
void watchdog_window(GtkWidget *window);
void watchdog_end(void);
