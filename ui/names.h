/*
 * Names for screen readers: a control that shows no words is called what its tooltip says, and a
 * button with a mnemonic is read without the underline; a field is called as the row it stands in.
 * Call it once a widget tree is complete. Main thread only.
 */
#pragma once

#include <gtk/gtk.h>

void fig_names_set(GtkWidget *root);
