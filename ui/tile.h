/* The list items of the strip and the grid: a square thumbnail, loaded when it comes into sight,
 * with a star for favourites. */
#pragma once

#include "ui/picture.h"

#include <gtk/gtk.h>

/* side: pixels. The item's FigPicture is at gtk_list_item_get_item(). */
GtkListItemFactory *fig_tile_factory_new(int side);
