/*
 * FigGallery: the page with all pictures: search, filters, selection, export, favourites, trash.
 * Emits "open" (FigPicture) when one is activated, "use-settings" (FigPicture), "export"
 * (GListModel of FigPicture), "message" (string) and "changed" (rows went). Main thread only.
 */
#pragma once

#include "ui/bridge.h"

#include <gtk/gtk.h>

#define FIG_TYPE_GALLERY (fig_gallery_get_type())
G_DECLARE_FINAL_TYPE(FigGallery, fig_gallery, FIG, GALLERY, GtkBox)

void fig_gallery_set_up(FigGallery *self, FigBridge *bridge);
void fig_gallery_refresh(FigGallery *self);
void fig_gallery_focus_search(FigGallery *self);
