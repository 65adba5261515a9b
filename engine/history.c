#include "engine/history.h"

#include "engine/metadata.h"
#include "engine/picture.h"

#include <glib/gi18n-lib.h>
#include <glib/gstdio.h>
#include <sqlite3.h>
#include <string.h>

struct history {
    sqlite3 *db;
    sqlite3_stmt *get; /* of history_get() */
};

static const char settings[] = "PRAGMA journal_mode = WAL;"
                               "PRAGMA synchronous = NORMAL;";

/* Ids are not used twice: who still knows a picture that is gone must not take another for it. */
#define TABLE                                                                                      \
    "CREATE TABLE IF NOT EXISTS pictures ("                                                        \
    "  id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL UNIQUE, created INTEGER NOT NULL," \
    "  width INTEGER, height INTEGER, prompt TEXT, negative TEXT, model TEXT, sampler TEXT,"       \
    "  seed INTEGER, parameters TEXT, favourite INTEGER NOT NULL DEFAULT 0,"                       \
    "  seen INTEGER DEFAULT 0);"                                                                   \
    "CREATE INDEX IF NOT EXISTS pictures_created ON pictures (created DESC);"                      \
    "CREATE INDEX IF NOT EXISTS pictures_model ON pictures (model);"

#define COLUMNS                                                                                    \
    "id, path, created, width, height, prompt, negative, model, sampler, seed, parameters, "       \
    "favourite"

/* What follows the last slash of a path. */
#define FILE_NAME "substr(path, length(rtrim(path, replace(path, '/', ''))) + 1)"

/* An index of before used them twice. */
static const char renewal[] = "BEGIN IMMEDIATE;"
                              "ALTER TABLE pictures RENAME TO before;"
                              "DROP INDEX IF EXISTS pictures_created;"
                              "DROP INDEX IF EXISTS pictures_model;" TABLE
                              "INSERT INTO pictures (" COLUMNS ") SELECT " COLUMNS " FROM before;"
                              "DROP TABLE before;"
                              "COMMIT;";

static const char columns[] = COLUMNS;

void history_entry_free(struct history_entry *entry)
{
    if (!entry)
        return;
    g_free(entry->path);
    g_free(entry->prompt);
    g_free(entry->negative);
    g_free(entry->model);
    g_free(entry->sampler);
    g_free(entry->parameters);
    g_free(entry);
}

static bool fail(struct history *history, GError **error)
{
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
                _("The history could not be read or written: %s."), sqlite3_errmsg(history->db));
    return false;
}

static bool run(struct history *history, const char *sql, GError **error)
{
    return sqlite3_exec(history->db, sql, NULL, NULL, NULL) == SQLITE_OK || fail(history, error);
}

static bool is_old(sqlite3 *db)
{
    sqlite3_stmt *s = NULL;
    bool old = sqlite3_prepare_v2(db,
                                  "SELECT 1 FROM sqlite_master WHERE name = 'pictures' AND "
                                  "sql NOT LIKE '%AUTOINCREMENT%'",
                                  -1, &s, NULL) == SQLITE_OK &&
               sqlite3_step(s) == SQLITE_ROW;
    sqlite3_finalize(s);
    return old;
}

static sqlite3 *open_file(const char *path)
{
    sqlite3 *db = NULL;
    bool ok =
        sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) == SQLITE_OK;
    if (ok) {
        sqlite3_busy_timeout(db, 2000);
        ok = sqlite3_exec(db, settings, NULL, NULL, NULL) == SQLITE_OK &&
             sqlite3_exec(db, is_old(db) ? renewal : TABLE, NULL, NULL, NULL) == SQLITE_OK;
    }
    if (!ok) {
        sqlite3_close(db);
        return NULL;
    }
    return db;
}

struct history *history_open(const char *path, GError **error)
{
    g_autofree char *standard =
        g_build_filename(g_get_user_data_dir(), "figment", "history.sqlite", NULL);
    if (!path)
        path = standard;
    g_autofree char *folder = g_path_get_dirname(path);
    g_mkdir_with_parents(folder, 0700);

    sqlite3 *db = open_file(path);
    if (!db) { /* the files are the truth: begin again, but throw nothing away */
        g_autofree char *aside = g_strconcat(path, ".damaged", NULL);
        if (g_rename(path, aside) == 0)
            db = open_file(path);
    }
    if (!db) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
                    _("The history “%s” cannot be opened. Is the folder writable?"), path);
        return NULL;
    }
    g_chmod(path, 0600); /* prompts are private */
    struct history *history = g_new0(struct history, 1);
    history->db = db;
    return history;
}

void history_close(struct history *history)
{
    if (!history)
        return;
    sqlite3_finalize(history->get);
    sqlite3_close(history->db);
    g_free(history);
}

bool history_add(struct history *history, struct history_entry *entry, GError **error)
{
    static const char sql[] =
        "INSERT INTO pictures (path, created, width, height, prompt, negative, model, sampler, "
        "seed, parameters, favourite, seen) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,1) "
        "ON CONFLICT (path) DO UPDATE SET created=?2, width=?3, height=?4, prompt=?5, negative=?6, "
        "model=?7, sampler=?8, seed=?9, parameters=?10, favourite=favourite OR ?11, seen=1 "
        "RETURNING id, favourite";
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(history->db, sql, -1, &s, NULL) != SQLITE_OK)
        return fail(history, error);
    const char *texts[] = {entry->prompt, entry->negative, entry->model, entry->sampler};
    sqlite3_bind_text(s, 1, entry->path, -1, SQLITE_STATIC);
    sqlite3_bind_int64(s, 2, entry->created);
    sqlite3_bind_int(s, 3, entry->width);
    sqlite3_bind_int(s, 4, entry->height);
    for (int i = 0; i < 4; i++)
        sqlite3_bind_text(s, 5 + i, texts[i] ? texts[i] : "", -1, SQLITE_STATIC);
    sqlite3_bind_int64(s, 9, (int64_t)entry->seed);
    sqlite3_bind_text(s, 10, entry->parameters ? entry->parameters : "", -1, SQLITE_STATIC);
    sqlite3_bind_int(s, 11, entry->favourite);
    bool ok = sqlite3_step(s) == SQLITE_ROW;
    if (ok) {
        entry->id = sqlite3_column_int64(s, 0);
        entry->favourite = sqlite3_column_int(s, 1);
        ok = sqlite3_step(s) == SQLITE_DONE;
    }
    if (!ok)
        fail(history, error);
    sqlite3_finalize(s);
    return ok;
}

static char *column_text(sqlite3_stmt *s, int column)
{
    return g_strdup((const char *)sqlite3_column_text(s, column));
}

static struct history_entry *read_row(sqlite3_stmt *s)
{
    struct history_entry *e = g_new0(struct history_entry, 1);
    e->id = sqlite3_column_int64(s, 0);
    e->path = column_text(s, 1);
    e->created = sqlite3_column_int64(s, 2);
    e->width = sqlite3_column_int(s, 3);
    e->height = sqlite3_column_int(s, 4);
    e->prompt = column_text(s, 5);
    e->negative = column_text(s, 6);
    e->model = column_text(s, 7);
    e->sampler = column_text(s, 8);
    e->seed = (uint64_t)sqlite3_column_int64(s, 9);
    e->parameters = column_text(s, 10);
    e->favourite = sqlite3_column_int(s, 11);
    return e;
}

/* %word% with LIKE's own signs escaped. */
static char *like_pattern(const char *word)
{
    GString *out = g_string_new("%");
    for (const char *c = word; *c; c++) {
        if (strchr("%_\\", *c))
            g_string_append_c(out, '\\');
        g_string_append_c(out, *c);
    }
    return g_string_free(g_string_append_c(out, '%'), FALSE);
}

/* The statement for a filter; `values` keeps what is bound. NULL on error. */
static sqlite3_stmt *select_rows(struct history *history, const char *what,
                                 const struct history_filter *filter, GPtrArray *values,
                                 GError **error)
{
    GString *sql = g_string_new(NULL);
    g_string_printf(sql, "SELECT %s FROM pictures WHERE 1", what);
    if (filter->text) {
        g_auto(GStrv) words = g_strsplit_set(filter->text, " \t\n", -1);
        for (char **word = words; *word; word++)
            if (**word) {
                g_ptr_array_add(values, like_pattern(*word));
                /* The path first: its last part takes longer to cut off than to search. */
                g_string_append_printf(sql,
                                       " AND (prompt LIKE ?%1$u ESCAPE '\\'"
                                       " OR negative LIKE ?%1$u ESCAPE '\\'"
                                       " OR (path LIKE ?%1$u ESCAPE '\\'"
                                       " AND " FILE_NAME " LIKE ?%1$u ESCAPE '\\'))",
                                       values->len);
            }
    }
    if (filter->model) {
        g_ptr_array_add(values, g_strdup(filter->model));
        g_string_append_printf(sql, " AND model = ?%u", values->len);
    }
    if (filter->since)
        g_string_append_printf(sql, " AND created >= %" G_GINT64_FORMAT, filter->since);
    if (filter->until)
        g_string_append_printf(sql, " AND created < %" G_GINT64_FORMAT, filter->until);
    if (filter->favourites)
        g_string_append(sql, " AND favourite");
    g_string_append(sql, " ORDER BY created DESC, id DESC");
    if (filter->limit > 0)
        g_string_append_printf(sql, " LIMIT %d", filter->limit);

    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(history->db, sql->str, -1, &s, NULL) != SQLITE_OK)
        fail(history, error);
    g_string_free(sql, TRUE);
    for (unsigned i = 0; s && i < values->len; i++)
        sqlite3_bind_text(s, (int)i + 1, values->pdata[i], -1, SQLITE_STATIC);
    return s;
}

GPtrArray *history_query(struct history *history, const struct history_filter *filter,
                         GError **error)
{
    g_autoptr(GPtrArray) values = g_ptr_array_new_with_free_func(g_free);
    sqlite3_stmt *s = select_rows(history, columns, filter, values, error);
    if (!s)
        return NULL;
    int status;
    GPtrArray *rows = g_ptr_array_new_with_free_func((GDestroyNotify)history_entry_free);
    while ((status = sqlite3_step(s)) == SQLITE_ROW)
        g_ptr_array_add(rows, read_row(s));
    if (status != SQLITE_DONE) {
        fail(history, error);
        g_clear_pointer(&rows, g_ptr_array_unref);
    }
    sqlite3_finalize(s);
    return rows;
}

GArray *history_ids(struct history *history, const struct history_filter *filter, GError **error)
{
    g_autoptr(GPtrArray) values = g_ptr_array_new_with_free_func(g_free);
    sqlite3_stmt *s = select_rows(history, "id", filter, values, error);
    if (!s)
        return NULL;
    int status;
    GArray *ids = g_array_new(FALSE, FALSE, sizeof(int64_t));
    while ((status = sqlite3_step(s)) == SQLITE_ROW) {
        int64_t id = sqlite3_column_int64(s, 0);
        g_array_append_val(ids, id);
    }
    if (status != SQLITE_DONE) {
        fail(history, error);
        g_clear_pointer(&ids, g_array_unref);
    }
    sqlite3_finalize(s);
    return ids;
}

struct history_entry *history_get(struct history *history, int64_t id)
{
    struct history_entry *entry = NULL;
    if (!history->get) { /* asked for some hundred rows at a time */
        g_autofree char *sql = g_strdup_printf("SELECT %s FROM pictures WHERE id = ?1", columns);
        sqlite3_prepare_v2(history->db, sql, -1, &history->get, NULL);
    }
    if (history->get && sqlite3_bind_int64(history->get, 1, id) == SQLITE_OK &&
        sqlite3_step(history->get) == SQLITE_ROW)
        entry = read_row(history->get);
    sqlite3_reset(history->get);
    return entry;
}

int64_t history_count(struct history *history)
{
    int64_t count = 0;
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(history->db, "SELECT count(*) FROM pictures", -1, &s, NULL) ==
            SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW)
        count = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return count;
}

static GPtrArray *string_column(struct history *history, const char *sql, int limit)
{
    GPtrArray *strings = g_ptr_array_new_with_free_func(g_free);
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(history->db, sql, -1, &s, NULL) == SQLITE_OK) {
        sqlite3_bind_int(s, 1, limit);
        while (sqlite3_step(s) == SQLITE_ROW)
            g_ptr_array_add(strings, column_text(s, 0));
    }
    sqlite3_finalize(s);
    return strings;
}

GPtrArray *history_models(struct history *history)
{
    return string_column(
        history, "SELECT DISTINCT model FROM pictures WHERE model <> '' ORDER BY model LIMIT ?1",
        1000);
}

GPtrArray *history_prompts(struct history *history, int limit)
{
    return string_column(history,
                         "SELECT prompt FROM pictures WHERE prompt <> '' GROUP BY prompt "
                         "ORDER BY max(created) DESC LIMIT ?1",
                         limit);
}

static bool run_with_ids(struct history *history, const char *sql, int64_t a, int64_t b,
                         GError **error)
{
    sqlite3_stmt *s = NULL;
    bool ok = sqlite3_prepare_v2(history->db, sql, -1, &s, NULL) == SQLITE_OK;
    if (ok) {
        sqlite3_bind_int64(s, 1, a);
        sqlite3_bind_int64(s, 2, b);
        ok = sqlite3_step(s) == SQLITE_DONE;
    }
    if (!ok)
        fail(history, error);
    sqlite3_finalize(s);
    return ok;
}

bool history_set_favourite(struct history *history, int64_t id, bool favourite, GError **error)
{
    return run_with_ids(history, "UPDATE pictures SET favourite = ?2 WHERE id = ?1", id, favourite,
                        error);
}

bool history_forget(struct history *history, int64_t id, GError **error)
{
    return run_with_ids(history, "DELETE FROM pictures WHERE id = ?1 AND ?2", id, 1, error);
}

static bool is_picture(const char *name)
{
    g_autofree char *lower = g_ascii_strdown(name, -1);
    return name[0] != '.' && (g_str_has_suffix(lower, ".png") || g_str_has_suffix(lower, ".jpg") ||
                              g_str_has_suffix(lower, ".jpeg"));
}

/* Of a picture that does not say: a grid, somebody else's. JPEGs stay 0 x 0: nobody here decodes
 * them. */
static void read_size(const char *path, int *width, int *height)
{
    struct picture picture = {0};
    if (picture_read_png(path, &picture, NULL, NULL)) {
        *width = picture.width;
        *height = picture.height;
    }
    picture_clear(&picture);
}

struct history_entry *history_read_picture(const char *path, GError **error)
{
    GStatBuf info;
    if (g_stat(path, &info) != 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND, _("“%s” is not there any more."),
                    path);
        return NULL;
    }
    g_autofree char *lower = g_ascii_strdown(path, -1);
    g_autofree char *parameters = NULL;
    if (g_str_has_suffix(lower, ".png")) {
        GHashTable *texts = NULL;
        if (!picture_read_png(path, NULL, &texts, error))
            return NULL;
        parameters = g_strdup(g_hash_table_lookup(texts, "parameters"));
        g_hash_table_unref(texts);
    } else {
        parameters = picture_read_jpeg_comment(path, NULL);
    }

    struct history_entry *e = g_new0(struct history_entry, 1);
    e->path = g_canonicalize_filename(path, NULL);
    e->created = (int64_t)info.st_mtim.tv_sec * 1000 + info.st_mtim.tv_nsec / 1000000;
    e->parameters = g_strdup(parameters ? parameters : "");
    struct metadata *m = metadata_parse(e->parameters);
    const char *size = metadata_get(m, "Size");
    const char *seed = metadata_get(m, "Seed");
    if (!size || sscanf(size, "%dx%d", &e->width, &e->height) != 2)
        read_size(path, &e->width, &e->height);
    e->prompt = g_strdup(m->prompt);
    e->negative = g_strdup(m->negative);
    e->model = g_strdup(metadata_get(m, "Model"));
    e->sampler = g_strdup(metadata_get(m, "Sampler"));
    e->seed = seed ? g_ascii_strtoull(seed, NULL, 10) : 0;
    metadata_free(m);
    return e;
}

struct rebuild {
    struct history *history;
    GCancellable *cancel;
    void (*progress)(int64_t done, void *user);
    void *user;
    int64_t done;
};

/* Depth-first; symbolic links to folders are not followed, so there are no cycles. */
static bool rebuild_folder(struct rebuild *r, const char *folder, int depth, GError **error)
{
    GDir *dir = depth < 16 ? g_dir_open(folder, 0, NULL) : NULL;
    if (!dir)
        return true;
    bool ok = true;
    const char *name;
    while (ok && (name = g_dir_read_name(dir))) {
        if (g_cancellable_set_error_if_cancelled(r->cancel, error)) {
            ok = false;
            break;
        }
        g_autofree char *path = g_build_filename(folder, name, NULL);
        if (g_file_test(path, G_FILE_TEST_IS_DIR)) {
            if (!g_file_test(path, G_FILE_TEST_IS_SYMLINK))
                ok = rebuild_folder(r, path, depth + 1, error);
        } else if (is_picture(name)) {
            struct history_entry *e = history_read_picture(path, NULL);
            if (e)
                ok = history_add(r->history, e, error);
            history_entry_free(e);
            if (++r->done % 50 == 0 && r->progress)
                r->progress(r->done, r->user);
        }
    }
    g_dir_close(dir);
    return ok;
}

int64_t history_rebuild(struct history *history, const char *folder, GCancellable *cancel,
                        void (*progress)(int64_t done, void *user), void *user, GError **error)
{
    struct rebuild r = {history, cancel, progress, user, 0};
    /* One transaction a picture: somebody else writes as well, and does not wait for files. */
    if (!run(history, "UPDATE pictures SET seen = 0", error))
        return -1;
    g_autofree char *absolute = g_canonicalize_filename(folder, NULL);
    if (!rebuild_folder(&r, absolute, 0, error))
        return -1;
    /* Rows of other folders stay as long as their files do. */
    g_autoptr(GPtrArray) unseen =
        string_column(history, "SELECT path FROM pictures WHERE seen = 0 LIMIT ?1", G_MAXINT);
    sqlite3_stmt *s = NULL;
    sqlite3_prepare_v2(history->db, "DELETE FROM pictures WHERE path = ?1", -1, &s, NULL);
    for (unsigned i = 0; s && i < unseen->len; i++) {
        if (g_file_test(unseen->pdata[i], G_FILE_TEST_EXISTS))
            continue;
        sqlite3_bind_text(s, 1, unseen->pdata[i], -1, SQLITE_STATIC);
        sqlite3_step(s);
        sqlite3_reset(s);
    }
    sqlite3_finalize(s);
    return r.done;
}
