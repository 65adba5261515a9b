/*
 * The index of finished pictures: SQLite behind, picture files in front. The files are the truth:
 * history_rebuild() makes the index again from the settings they carry; only favourites live here
 * alone (and survive a rebuild, by path).
 *
 * One connection, one thread; open a second one for work on another thread (the file is in WAL
 * mode). Every function that can fail says why in a sentence.
 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <stdint.h>

struct history;

/* One picture. Strings belong to the entry. */
struct history_entry {
    int64_t id;      /* 0 = not in the index yet */
    char *path;      /* absolute */
    int64_t created; /* Unix time, milliseconds */
    int width, height;
    char *prompt, *negative, *model, *sampler;
    uint64_t seed;
    char *parameters; /* the whole settings text, as in the file */
    bool favourite;
};

void history_entry_free(struct history_entry *entry); /* takes NULL */

struct history_filter {
    const char *text;     /* every word occurs in prompt, negative or file name; NULL = all */
    const char *model;    /* exact; NULL = all */
    int64_t since, until; /* created, milliseconds; 0 = open */
    bool favourites;
    int limit; /* 0 = all */
};

/* NULL = $XDG_DATA_HOME/figment/history.sqlite. A damaged file is set aside as *.damaged and a new
 * one begun. */
struct history *history_open(const char *path, GError **error);
void history_close(struct history *history); /* takes NULL */

/* Adds or replaces the row of that path and fills in entry->id. A favourite stays one. */
bool history_add(struct history *history, struct history_entry *entry, GError **error);
/* Newest first. GPtrArray of struct history_entry, freed with its elements; NULL on error. */
GPtrArray *history_query(struct history *history, const struct history_filter *filter,
                         GError **error);
/* Only the ids (GArray of int64_t), for long lists that are read row by row; NULL on error. */
GArray *history_ids(struct history *history, const struct history_filter *filter, GError **error);
/* One row; NULL when it is gone. */
struct history_entry *history_get(struct history *history, int64_t id);
int64_t history_count(struct history *history);
/* Distinct model names, sorted. GPtrArray of char *, freed with its elements. */
GPtrArray *history_models(struct history *history);
/* Distinct prompts, newest first. GPtrArray of char *, freed with its elements. */
GPtrArray *history_prompts(struct history *history, int limit);
bool history_set_favourite(struct history *history, int64_t id, bool favourite, GError **error);
/* Takes the row out; the file stays where it is. */
bool history_forget(struct history *history, int64_t id, GError **error);

/*
 * Reads the settings of every PNG and JPEG below `folder` and makes the rows again; rows whose file
 * is gone go. `progress` (may be NULL) is called now and then. Returns the number of pictures, -1
 * on error or when cancelled.
 */
int64_t history_rebuild(struct history *history, const char *folder, GCancellable *cancel,
                        void (*progress)(int64_t done, void *user), void *user, GError **error);

/* An entry made from a picture file's own settings; NULL with an error when it is no picture. */
struct history_entry *history_read_picture(const char *path, GError **error);
