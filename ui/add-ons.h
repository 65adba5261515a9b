/*
 * FigAddOns: a popover with the LoRAs and embeddings that the library has. Signal "chosen" (const
 * char *words): what the prompt has to say, as "<lora:name:1>". Made anew each time it is opened:
 * the folders may have changed. Main thread only.
 */
#pragma once

#include "ui/bridge.h"

#define FIG_TYPE_ADD_ONS (fig_add_ons_get_type())
G_DECLARE_FINAL_TYPE(FigAddOns, fig_add_ons, FIG, ADD_ONS, GtkPopover)

GtkWidget *fig_add_ons_new(FigBridge *bridge);
