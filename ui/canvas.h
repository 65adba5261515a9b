/*
 * FigCanvas: shows one picture, or two for comparison. Zoom (wheel, pinch, + - 0 1 keys), pan
 * (drag, arrow keys), fit by default. Properties: "paintable" (GdkPaintable, the picture or the
 * preview), "compare" (GdkPaintable or NULL: the picture before; a handle divides the two), "zoom"
 * (0 = fit, else screen pixels a picture pixel). Small pictures are enlarged in whole pixels, so
 * that a preview looks like what it is. Emits "activate" on double click. Main thread only.
 */
#pragma once

#include <gtk/gtk.h>

#define FIG_TYPE_CANVAS (fig_canvas_get_type())
G_DECLARE_FINAL_TYPE(FigCanvas, fig_canvas, FIG, CANVAS, GtkWidget)

void fig_canvas_set_paintable(FigCanvas *self, GdkPaintable *paintable);
void fig_canvas_set_compare(FigCanvas *self, GdkPaintable *before);
/* 0 = fit. */
void fig_canvas_set_zoom(FigCanvas *self, double zoom);
void fig_canvas_zoom_by(FigCanvas *self, double factor);
/* What dragging the picture out gives while it is shown whole; NULL = nothing. Kept. */
void fig_canvas_set_content(FigCanvas *self, GdkContentProvider *content);
/* What a screen reader says of it. */
void fig_canvas_set_description(FigCanvas *self, const char *text);
