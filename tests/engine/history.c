/* The index of pictures: search and filters, favourites, and the index made again from the files.
 */
#include "engine/history.h"
#include "tests/check.h"
#include "tests/engine/pictures.h"

#include <glib/gstdio.h>
#include <sqlite3.h>

static char *folder;

static unsigned count(struct history *h, struct history_filter filter)
{
    GError *error = NULL;
    g_autoptr(GPtrArray) rows = history_query(h, &filter, &error);
    CHECK(rows, "%s", error ? error->message : "");
    g_autoptr(GArray) ids = history_ids(h, &filter, NULL);
    CHECK(rows && ids && ids->len == rows->len, "as many ids as rows");
    for (unsigned i = 0; rows && ids && i < MIN(ids->len, rows->len); i++) {
        const struct history_entry *row = rows->pdata[i];
        struct history_entry *one = history_get(h, g_array_index(ids, int64_t, i));
        CHECK(one && one->id == row->id && g_strcmp0(one->path, row->path) == 0);
        history_entry_free(one);
    }
    return rows ? rows->len : 0;
}

static void add(struct history *h, const char *name, const char *prompt, const char *model,
                int64_t created)
{
    g_autofree char *file = g_build_filename(folder, name, NULL);
    struct history_entry e = {.path = file,
                              .created = created,
                              .width = 8,
                              .height = 16,
                              .prompt = (char *)prompt,
                              .model = (char *)model,
                              .seed = G_MAXUINT64};
    CHECK(history_add(h, &e, NULL) && e.id > 0);
}

static void test_queries(void)
{
    g_autofree char *path = g_build_filename(folder, "history.sqlite", NULL);
    struct history *h = history_open(path, NULL);
    CHECK(h);
    add(h, "a.png", "a red apple", "starter", 1000);
    add(h, "b.png", "a green apple, 100% fresh", "starter", 2000);
    add(h, "c.png", "a blue_bird", "other", 3000);
    CHECK(history_count(h) == 3);
    CHECK(count(h, (struct history_filter){.text = "apple"}) == 2);
    CHECK(count(h, (struct history_filter){.text = "apple green"}) == 1, "every word, any order");
    CHECK(count(h, (struct history_filter){.text = "100%"}) == 1, "%% is a sign like any other");
    CHECK(count(h, (struct history_filter){.text = "blue_bird"}) == 1);
    CHECK(count(h, (struct history_filter){.text = "blueXbird"}) == 0);
    CHECK(count(h, (struct history_filter){.text = "b.png"}) == 1, "a file by its name");
    CHECK(count(h, (struct history_filter){.text = "figment-history"}) == 0, "not by its folder's");
    CHECK(count(h, (struct history_filter){.text = "'; DROP TABLE pictures; --"}) == 0);
    CHECK(count(h, (struct history_filter){.model = "other"}) == 1);
    CHECK(count(h, (struct history_filter){.since = 2000}) == 2);
    CHECK(count(h, (struct history_filter){.since = 2000, .until = 3000}) == 1);
    CHECK(count(h, (struct history_filter){.limit = 2}) == 2);

    g_autoptr(GPtrArray) rows = history_query(h, &(struct history_filter){0}, NULL);
    const struct history_entry *first = rows->pdata[0];
    CHECK_STR(first->prompt, "a blue_bird");
    CHECK(first->seed == G_MAXUINT64 && first->width == 8 && first->height == 16);

    CHECK(history_set_favourite(h, first->id, true, NULL));
    CHECK(count(h, (struct history_filter){.favourites = true}) == 1);
    add(h, "c.png", "a blue_bird", "other", 3000); /* the same file again */
    CHECK(history_count(h) == 3, "a path has one row");
    CHECK(count(h, (struct history_filter){.favourites = true}) == 1, "a favourite stays one");

    g_autoptr(GPtrArray) models = history_models(h);
    CHECK(models->len == 2);
    g_autoptr(GPtrArray) prompts = history_prompts(h, 2);
    CHECK(prompts->len == 2);
    CHECK_STR(prompts->pdata[0], "a blue_bird");
    CHECK(history_forget(h, first->id, NULL) && history_count(h) == 2);
    CHECK(!history_get(h, first->id), "it is gone");
    history_close(h);
}

static void test_rebuild(void)
{
    g_autofree char *path = g_build_filename(folder, "history.sqlite", NULL);
    struct history *h = history_open(path, NULL);
    g_autofree char *below = g_build_filename(folder, "below", NULL);
    g_mkdir(below, 0700);
    save_picture(folder, "a.png",
                 "a red apple\nNegative prompt: mud\nSteps: 20, Sampler: Euler a, CFG scale: 7, "
                 "Seed: 18446744073709551615, Size: 8x8, Model: starter");
    save_picture(folder, "below/plain.png", NULL);
    g_autofree char *broken = g_build_filename(folder, "broken.png", NULL);
    CHECK(g_file_set_contents(broken, "no picture", -1, NULL));

    g_autoptr(GPtrArray) before = history_query(h, &(struct history_filter){.text = "red"}, NULL);
    CHECK(history_set_favourite(h, ((struct history_entry *)before->pdata[0])->id, true, NULL));
    CHECK(history_rebuild(h, folder, NULL, NULL, NULL, NULL) == 3);
    CHECK(history_count(h) == 2, "b.png has no file; broken.png is no picture: %d rows",
          (int)history_count(h));
    g_autoptr(GPtrArray) rows =
        history_query(h, &(struct history_filter){.favourites = true}, NULL);
    CHECK(rows->len == 1, "favourites survive");
    const struct history_entry *e = rows->pdata[0];
    CHECK_STR(e->prompt, "a red apple");
    CHECK_STR(e->negative, "mud");
    CHECK_STR(e->sampler, "Euler a");
    CHECK_STR(e->model, "starter");
    CHECK(e->seed == G_MAXUINT64);

    g_autoptr(GCancellable) cancelled = g_cancellable_new();
    g_cancellable_cancel(cancelled);
    GError *error = NULL;
    CHECK(history_rebuild(h, folder, cancelled, NULL, NULL, &error) == -1);
    CHECK(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED));
    g_clear_error(&error);
    CHECK(history_count(h) == 2, "a cancelled rebuild changes nothing");
    history_close(h);
}

/* An index that a former version made: what it knows stays, and ids are not used twice from then
 * on. */
static void test_renewed(void)
{
    g_autofree char *path = g_build_filename(folder, "old.sqlite", NULL);
    sqlite3 *db = NULL;
    CHECK(sqlite3_open(path, &db) == SQLITE_OK);
    CHECK(sqlite3_exec(db,
                       "CREATE TABLE pictures ("
                       "  id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE,"
                       "  created INTEGER NOT NULL, width INTEGER, height INTEGER, prompt TEXT,"
                       "  negative TEXT, model TEXT, sampler TEXT, seed INTEGER, parameters TEXT,"
                       "  favourite INTEGER NOT NULL DEFAULT 0, seen INTEGER DEFAULT 0);"
                       "CREATE INDEX pictures_created ON pictures (created DESC);"
                       "CREATE INDEX pictures_model ON pictures (model);"
                       "INSERT INTO pictures (path, created, prompt, negative, favourite) VALUES "
                       "('/x/old.png', 1000, 'an apple', '', 1), ('/x/new.png', 2000, '', '', 0);",
                       NULL, NULL, NULL) == SQLITE_OK);
    sqlite3_close(db);
    for (int turn = 0; turn < 2; turn++) { /* the second one finds it renewed */
        struct history *h = history_open(path, NULL);
        CHECK(h && history_count(h) == 2);
        CHECK(count(h, (struct history_filter){.text = "old", .favourites = true}) == 1);
        g_autoptr(GPtrArray) rows = history_query(h, &(struct history_filter){.limit = 1}, NULL);
        const struct history_entry *last = rows->pdata[0];
        CHECK_STR(last->path, "/x/new.png");
        CHECK(history_forget(h, last->id, NULL));
        struct history_entry e = {.path = (char *)"/x/new.png", .created = 2000};
        CHECK(history_add(h, &e, NULL));
        CHECK(e.id > last->id, "the id of one that is gone is used again");
        history_close(h);
    }
}

static void test_damaged(void)
{
    g_autofree char *path = g_build_filename(folder, "bad.sqlite", NULL);
    g_autofree char *garbage = g_strnfill(8192, 'x');
    CHECK(g_file_set_contents(path, garbage, -1, NULL));
    struct history *h = history_open(path, NULL);
    CHECK(h && history_count(h) == 0);
    history_close(h);
    g_autofree char *aside = g_strconcat(path, ".damaged", NULL);
    CHECK(g_file_test(aside, G_FILE_TEST_EXISTS));
    GError *error = NULL;
    CHECK(!history_open("/proc/nowhere/history.sqlite", &error) && error);
    g_clear_error(&error);
}

int main(void)
{
    folder = g_dir_make_tmp("figment-history-XXXXXX", NULL);
    test_queries();
    test_rebuild();
    test_renewed();
    test_damaged();
    g_autofree char *clean = g_strdup_printf("rm -r '%s'", folder);
    CHECK(system(clean) == 0);
    g_free(folder);
    return check_result();
}
