/* FigRequest: what the panel shows and Generate submits. A FigRecord; its fields are the table in
 * request.c. */
#pragma once

#include "ui/record.h"

#define FIG_TYPE_REQUEST (fig_request_get_type())
G_DECLARE_FINAL_TYPE(FigRequest, fig_request, FIG, REQUEST, FigRecord)

FigRequest *fig_request_new(void);
