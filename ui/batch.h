/*
 * FigBatch: many jobs from one request: prompts x seeds x guidances x samplers, and at the end one
 * labelled grid of all their pictures. Lives as long as its jobs: it holds itself until the grid is
 * written. Main thread only; the grid is drawn on a worker thread.
 */
#pragma once

#include "ui/bridge.h"

struct fig_batch_axes {
    GStrv prompts;     /* at least one */
    GArray *seeds;     /* guint64, at least one */
    GArray *guidances; /* double, at least one */
    GStrv samplers;    /* labels, at least one */
};

void fig_batch_axes_clear(struct fig_batch_axes *axes);
guint fig_batch_axes_count(const struct fig_batch_axes *axes);

/*
 * Reads "1, 2, 5-8" as seeds and "3, 5, 7.5" as guidances. False with a sentence that says what was
 * not understood. At most 1,000 values.
 */
gboolean fig_batch_parse_seeds(const char *text, GArray *seeds, GError **error);
gboolean fig_batch_parse_guidances(const char *text, GArray *guidances, GError **error);

/* Called on the main loop when the grid is there; path NULL and a sentence when it is not. */
typedef void (*FigBatchDone)(const char *path, const char *message, gpointer user);

/* Submits everything. The axes are taken. `user` must live until `done` was called. */
void fig_batch_run(FigBridge *bridge, FigRequest *base, struct fig_batch_axes *axes,
                   FigBatchDone done, gpointer user);
