/*
 * FigAdjustment: a GtkAdjustment that tells a list its value at most once between two layouts; the
 * latest value wins. GtkGridView of GTK 4.8 needs it: a new value makes it merge and split its rows
 * without their heights, which only the next layout puts right; another value before that finds
 * wrong rows or none, and the grid sticks. Main thread only.
 */
#pragma once

#include <gtk/gtk.h>

#define FIG_TYPE_ADJUSTMENT (fig_adjustment_get_type())
G_DECLARE_FINAL_TYPE(FigAdjustment, fig_adjustment, FIG, ADJUSTMENT, GtkAdjustment)

/* For the list (not kept alive), which is going to listen to it. */
GtkAdjustment *fig_adjustment_new(GtkWidget *list);
