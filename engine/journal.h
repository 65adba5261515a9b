/*
 * The queue on disk: what waits, what runs, what each job has finished, so that a crash, kill -9 or
 * a power cut loses nothing and does nothing twice. One small JSON file, replaced atomically at
 * every change.
 *
 *  - A job's seed is fixed before it is written, so picture k of a job is always the same picture.
 *  - A job is marked as begun before it runs. One that was running when the program died twice is
 * set aside.
 *  - After a crash, journal_settle() finds pictures that were saved but not yet written down, by
 * their settings.
 *
 * No thread of its own; one owner. Private (0600): prompts are in it.
 */
#pragma once

#include "engine/history.h"
#include "engine/request.h"

struct journal;

struct journal_job {
    unsigned key;           /* never reused */
    struct request request; /* as it was submitted; seed fixed, batch = pictures in all */
    int done;               /* pictures finished */
    int begun;              /* times it was running when the program ended without saying goodbye */
    bool running;
    bool set_aside;    /* crashed the program twice: never run again by itself */
    int64_t submitted; /* Unix time, milliseconds */
};

/* NULL = $XDG_DATA_HOME/figment/queue.json. A damaged file is set aside as *.damaged. Never fails
 * to open; writing may. */
struct journal *journal_open(const char *path);
void journal_close(struct journal *journal); /* takes NULL */

/* True when the last owner ended without journal_close(). */
bool journal_crashed(const struct journal *journal);

unsigned journal_count(const struct journal *journal);
struct journal_job *journal_at(struct journal *journal, unsigned position); /* borrowed */
struct journal_job *journal_find(struct journal *journal, unsigned key);    /* or NULL */

/* Adds a copy at the end; gives a random seed when none is fixed. */
struct journal_job *journal_add(struct journal *journal, const struct request *request);
void journal_remove(struct journal *journal, unsigned key);
void journal_move(struct journal *journal, unsigned key, unsigned position);

/* Writes the file. False with a sentence when the disk refuses; the queue in memory stays right. */
bool journal_save(struct journal *journal, GError **error);

/*
 * For each job that was running: counts the pictures of it that lie in `folder` (or in the job's
 * own) and below already, in order, beyond `done`. Called once after journal_open() when
 * journal_crashed(). `found` (may be NULL) is told of every picture of such a job: the crash may
 * have come before the history knew of it. The entry is valid during the call only.
 */
void journal_settle(struct journal *journal, const char *folder,
                    void (*found)(struct history_entry *entry, void *user), void *user);
