/* FigJob: a line of the queue. Properties for display only; FigBridge changes them. Main thread
 * only. */
#pragma once

#include <glib-object.h>

typedef enum {
    FIG_JOB_WAITING,
    FIG_JOB_RUNNING,
    FIG_JOB_FAILED,    /* message says why; it can be tried again */
    FIG_JOB_SET_ASIDE, /* it was running twice when the program ended */
} FigJobState;

#define FIG_TYPE_JOB (fig_job_get_type())
G_DECLARE_FINAL_TYPE(FigJob, fig_job, FIG, JOB, GObject)

FigJob *fig_job_new(guint key, const char *title, int pictures);
guint fig_job_key(FigJob *self);
const char *fig_job_title(FigJob *self);
FigJobState fig_job_state(FigJob *self);
void fig_job_update(FigJob *self, FigJobState state, int done, const char *message);
