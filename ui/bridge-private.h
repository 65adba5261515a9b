/* What the bridge's files share. */
#pragma once

#include "engine/engine.h"
#include "engine/history.h"
#include "engine/journal.h"
#include "ui/bridge.h"

/* What is told of the running job. */
struct progress {
    FigPhase phase;
    unsigned job;
    int index, batch, step, steps;
    double fraction, speed, seconds_left;
};

struct _FigBridge {
    GObject parent_instance;

    /* Owned */
    FigSettings *settings;
    struct engine *engine;
    struct journal *journal;
    struct history *history;
    struct token_counter *tokens;
    GListStore *queue; /* FigJob, the running one first */
    GdkTexture *preview;
    GHashTable *pictures; /* gint64 id -> FigPicture, no reference: all of the history that live */
    GHashTable *told;     /* notices of the running job: each is told once, not for every picture */
    struct mail *mail;    /* bridge.c */

    unsigned running;  /* the engine's job, 0 = none */
    guint running_key; /* the journal's */
    bool stopping, paused;
    struct progress progress;
    guint recovered;
    int finished; /* pictures since the queue was last empty */
    gint64 began; /* monotonic */
};

/* ---- bridge.c for bridge-queue.c ---- */

void bridge_save_journal(FigBridge *self);
void bridge_notify_queue(FigBridge *self);
void bridge_notify_progress(FigBridge *self);

/* ---- bridge-queue.c for bridge.c ---- */

/* Borrowed; NULL when there is none. position may be NULL. */
FigJob *bridge_job_of_key(FigBridge *self, guint key, guint *position);
guint bridge_waiting(FigBridge *self); /* jobs that will run */
void bridge_add_job(FigBridge *self, struct journal_job *entry);
/* Starts the first that waits, unless one runs or the queue is paused. */
void bridge_start_next(FigBridge *self);

/* ---- all ---- */

struct history *
fig_bridge_open_history(FigBridge *self); /* borrowed; NULL when it cannot be opened */

/* The engine's request of the window's alone; strings stay the window's. */
struct request bridge_borrow_request(FigRequest *from);
/* The same with the preferences, as a copy; request_clear() it. */
void fig_bridge_fill_request(FigBridge *self, FigRequest *from, struct request *to);
char **fig_bridge_model_folders(FigBridge *self); /* NULL-terminated, g_strfreev() */

/* A row has one object, whoever shows it, so that a star is seen everywhere. With a reference for
 * the caller; job: the key of the job that made it now, 0 = none; rgb: its pixels, while it has no
 * file. */
FigPicture *bridge_picture_of(FigBridge *self, const struct history_entry *entry, guint job,
                              GBytes *rgb);
/* The object of a row (with a reference), or NULL when nobody has it. */
FigPicture *bridge_known_picture(FigBridge *self, gint64 id);
/* A picture got its row. */
void bridge_know_picture(FigBridge *self, FigPicture *picture);

/* The pictures of these ids (GArray of int64_t; taken), read when somebody looks at them. */
GListModel *fig_history_list_new(FigBridge *bridge, GArray *ids);
/* The same list with other ids (taken), told as one range that changed. */
void fig_history_list_update(GListModel *list, GArray *ids);
GArray *fig_history_list_ids(GListModel *list); /* a reference; not to be changed */
