/*
 * FigBridge: where the window meets the engine. bridge.c and bridge-*.c are the only files that
 * know both: they turn the engine's events into properties and signals on the main loop, keep the
 * queue (on disk too), the models and the history. Main thread only; nothing here waits for the
 * engine or the disk longer than a small file takes.
 *
 * Events cross like this: progress and preview go through a one-slot mailbox (the latest wins, one
 * idle pending at most); pictures and ends are delivered in order; what belongs to a job that is
 * not the current one is dropped at the door.
 */
#pragma once

#include "ui/job.h"
#include "ui/picture.h"
#include "ui/settings.h"

#include <gtk/gtk.h>

typedef enum {
    FIG_PHASE_IDLE,
    FIG_PHASE_LOADING,
    FIG_PHASE_ENCODING,
    FIG_PHASE_DENOISING,
    FIG_PHASE_DECODING,
    FIG_PHASE_SAVING,
    FIG_PHASE_STOPPING,
} FigPhase;

/* What would help after a failure; the window makes it a button. */
typedef enum {
    FIG_REMEDY_NONE,
    FIG_REMEDY_CHANGE,  /* the request */
    FIG_REMEDY_MODEL,   /* another model */
    FIG_REMEDY_CPU,     /* the device */
    FIG_REMEDY_SMALLER, /* the size */
    FIG_REMEDY_FOLDER,  /* the pictures folder */
    FIG_REMEDY_F32,     /* the precision */
} FigRemedy;

#define FIG_TYPE_BRIDGE (fig_bridge_get_type())
G_DECLARE_FINAL_TYPE(FigBridge, fig_bridge, FIG, BRIDGE, GObject)

/*
 * Properties (read only unless said): busy, phase, step, steps, fraction (0 to 1 of the job), speed
 * (steps a second, 0 = not known), seconds-left (-1 = not known), status (a line for people), title
 * (of the job), preview (GdkTexture), paused (read and write), waiting (jobs in the queue that are
 * not running). Signals: "picture" (FigPicture), "notice" (char *sentence: something that was asked
 * for is not in the picture; once for each job), "failed" (FigJob or NULL, char *sentence, int
 * FigRemedy), "finished" (int pictures, double seconds: the queue has run dry), "history-changed"
 * (pictures came and went, not only new ones).
 *
 * A picture that could not be saved arrives all the same, with its pixels and without a path; what
 * follows waits then, paused.
 */
FigBridge *fig_bridge_new(FigSettings *settings);
FigSettings *fig_bridge_settings(FigBridge *self); /* borrowed */

/* Puts a copy of the request at the end of the queue; it starts at once when nothing runs. The
 * job's key. */
guint fig_bridge_submit(FigBridge *self, FigRequest *request);
/* The same for many FigRequests: written down once. keys: room for as many, or NULL. */
void fig_bridge_submit_all(FigBridge *self, GPtrArray *requests, guint *keys);
/* Ends the running job; what waits goes on, unless the queue is paused. */
void fig_bridge_stop(FigBridge *self);
void fig_bridge_set_paused(FigBridge *self, gboolean paused);

GListModel *fig_bridge_queue(FigBridge *self); /* of FigJob, borrowed */
guint fig_bridge_failed(FigBridge *self);      /* jobs that failed or were set aside */
void fig_bridge_remove(FigBridge *self, FigJob *job);
/* One place up (-1) or down (+1); to the front or back with larger numbers. The running job stays
 * first. */
void fig_bridge_move(FigBridge *self, FigJob *job, int by);
void fig_bridge_retry(FigBridge *self, FigJob *job);
void fig_bridge_clear(FigBridge *self); /* all that does not run */
/* After a crash: the number of jobs that were found again (the queue is then paused). */
guint fig_bridge_recovered(FigBridge *self);

/* Saves a picture (again) elsewhere, whole or not at all; the format by the name's ending. */
gboolean fig_bridge_save_picture(FigBridge *self, FigPicture *picture, const char *path,
                                 int quality, gboolean metadata, GError **error);
/* The same into a folder, under a free name made of the seed. The path (g_free()), or NULL. */
char *fig_bridge_save_into(FigBridge *self, FigPicture *picture, const char *folder,
                           GError **error);

/* ---- models (bridge-models.c) ---- */

struct fig_model {
    char *name, *path, *family, *problem;
    guint64 bytes;
    gboolean bundled;
    int width, height, steps; /* the model's own defaults; 0 = none said */
    double guidance;
    char *sampler, *schedule;
};
/* GPtrArray of struct fig_model, made anew. */
GPtrArray *fig_bridge_models(FigBridge *self);
/* Checks the headers of a file or folder somebody dropped; adds its place to the settings. The
 * model's name (g_free()), or NULL. */
char *fig_bridge_add_model(FigBridge *self, const char *path, GError **error);
char *fig_bridge_pictures_folder(FigBridge *self); /* g_free() */
char *fig_bridge_models_folder(FigBridge *self);   /* g_free() */

struct fig_device {
    char *name, *label, *problem; /* why it cannot be measured, or NULL */
    guint64 memory;               /* bytes, 0 = not known */
    gboolean automatic;
};
/* Opens drivers on a worker thread; fig_bridge_devices_finish() gives a GPtrArray of struct
 * fig_device. */
void fig_bridge_devices_async(FigBridge *self, GAsyncReadyCallback callback, gpointer user);
GPtrArray *fig_bridge_devices_finish(FigBridge *self, GAsyncResult *result, GError **error);
/* Measures a device (by name) in the precision of the preferences, on a worker thread, some seconds
 * long. The finish function gives FLOP/s, 0 on failure; the settings keep it. */
void fig_bridge_measure_async(FigBridge *self, const char *device, GAsyncReadyCallback callback,
                              gpointer user);
double fig_bridge_measure_finish(FigBridge *self, GAsyncResult *result, GError **error);
/* What was measured of this device in this precision, 0 = not yet. */
double fig_bridge_speed(FigBridge *self, const char *device);

/* ---- what a request will take, and styles (bridge-estimate.c) ---- */

struct fig_estimate {
    guint64 memory, budget; /* bytes at most at once, and what there is; budget 0 = not known */
    gboolean fits;
    double seconds; /* of the whole job, loading left out; negative = not measured yet */
};
/* On a worker thread: opens the model's headers. A sentence when the request or the model is at
 * fault. */
void fig_bridge_estimate_async(FigBridge *self, FigRequest *request, GCancellable *cancel,
                               GAsyncReadyCallback callback, gpointer user);
gboolean fig_bridge_estimate_finish(FigBridge *self, GAsyncResult *result,
                                    struct fig_estimate *estimate, GError **error);
GStrv fig_bridge_styles(FigBridge *self); /* names; g_strfreev() */
GStrv fig_bridge_vaes(FigBridge *self);   /* paths of separate autoencoders; g_strfreev() */
/* What a prompt can name: names of LoRAs, or of textual inversions, in order; g_strfreev(). Reads
 * folders, not files. */
GStrv fig_bridge_loras(FigBridge *self);
GStrv fig_bridge_embeddings(FigBridge *self);

/* ---- settings from pictures (bridge-models.c) ---- */

/* What taking over a picture's settings would do, a sentence each (char *). */
struct fig_import {
    char *origin;                        /* the program that wrote them */
    GPtrArray *changes, *same, *notices; /* notices: what cannot be honoured */
};
void fig_import_clear(struct fig_import *import);

/* Reads what a picture says about itself. On success `request` holds `base` with the settings
 * applied, and `import` what that means (fig_import_clear()). */
gboolean fig_bridge_read_settings(FigBridge *self, const char *path, FigRequest *base,
                                  FigRequest **request, struct fig_import *import, GError **error);
/* The same from the settings text of a picture in the history. */
void fig_bridge_parse_settings(FigBridge *self, const char *parameters, FigRequest *request);
/* Tokens of a prompt without weights and commands; 0 when the tokenizer is not at hand. */
int fig_bridge_count_tokens(FigBridge *self, const char *model, const char *prompt);

/* ---- history (bridge-history.c) ---- */

struct fig_filter {
    const char *text, *model; /* NULL = all */
    int days;                 /* 0 = all time */
    gboolean favourites;
};
/* Newest first: GListModel of FigPicture, a new one (the caller owns it). It may be long: a picture
 * is read when it is asked for. */
GListModel *fig_bridge_history(FigBridge *self, const struct fig_filter *filter, int limit);
/* Brings a list up to date that was made with the same filter and without a limit: what is the same
 * stays, so that a view keeps its place and its selection. */
void fig_bridge_history_update(FigBridge *self, GListModel *list, const struct fig_filter *filter);
/* Those at some places of such a list, as a list of its own. */
GListModel *fig_bridge_history_part(GListModel *list, GtkBitset *places);
gint64 fig_bridge_history_count(FigBridge *self);
/* Takes a picture file into the history; NULL when it cannot be read. */
FigPicture *fig_bridge_add_picture(FigBridge *self, const char *path);
GStrv fig_bridge_history_models(FigBridge *self);
GStrv fig_bridge_history_prompts(FigBridge *self, int limit);
void fig_bridge_set_favourite(FigBridge *self, FigPicture *picture, gboolean favourite);
/* Puts the file into the trash and takes it out of the history. */
gboolean fig_bridge_trash(FigBridge *self, FigPicture *picture, GError **error);
/* Reads the pictures folder again on a worker thread; the finish function gives the number of
 * pictures, or -1. */
void fig_bridge_rebuild_async(FigBridge *self, GCancellable *cancel, GAsyncReadyCallback callback,
                              gpointer user);
gint64 fig_bridge_rebuild_finish(FigBridge *self, GAsyncResult *result, GError **error);

/* ---- export (bridge-export.c) ---- */

typedef enum { FIG_EXPORT_ORIGINAL, FIG_EXPORT_PNG, FIG_EXPORT_JPEG } FigExportFormat;
typedef enum { FIG_EXPORT_NO_LIST, FIG_EXPORT_CSV, FIG_EXPORT_JSON } FigExportList;
/* What happens to names that are taken. COUNT writes nothing and counts them; the list of settings
 * counts as well. */
typedef enum { FIG_EXPORT_KEEP_BOTH, FIG_EXPORT_REPLACE, FIG_EXPORT_COUNT } FigExportClash;

struct fig_export {
    char *folder;
    char *pattern; /* [name] [number] [seed] [date] [model] [prompt_words]; the ending is added */
    FigExportFormat format;
    int quality; /* JPEG */
    int side;    /* longest side in pixels, 0 = as it is */
    gboolean metadata;
    FigExportList list; /* also a list of all settings */
    FigExportClash clash;
};

/* Of a list from fig_bridge_history() or a part of one, on a worker thread, which reads the rows as
 * well. `progress` is called on the main loop. */
void fig_bridge_export_async(FigBridge *self, GListModel *pictures, const struct fig_export *export,
                             void (*progress)(int done, int of, gpointer user),
                             gpointer progress_user, GCancellable *cancel,
                             GAsyncReadyCallback callback, gpointer user);
/* Number of pictures written, or of names that are taken; -1 with a sentence. What was written
 * before an error stays. */
int fig_bridge_export_finish(FigBridge *self, GAsyncResult *result, GError **error);
