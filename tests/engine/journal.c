/* The queue on disk: what is written comes back, in order; a crash counts; what was finished is not
 * done again. */
#include "engine/journal.h"
#include "tests/check.h"
#include "tests/engine/pictures.h"

#include <glib/gstdio.h>
#include <sys/wait.h>
#include <unistd.h>

static char *folder, *path;

static struct journal *reopened(void)
{
    return journal_open(path);
}

static void add(struct journal *journal, const char *prompt, uint64_t seed, int batch)
{
    journal_add(journal, &(struct request){.prompt = (char *)prompt,
                                           .negative = (char *)"a \"quoted\" ünit\n",
                                           .cfg = 2.75,
                                           .steps = 7,
                                           .fixed_seed = true,
                                           .seed = seed,
                                           .batch = batch,
                                           .folder = folder});
}

static void test_round_trip(void)
{
    struct journal *j = journal_open(path);
    CHECK(journal_count(j) == 0 && !journal_crashed(j));
    add(j, "first", G_MAXUINT64, 3);
    add(j, "second", 5, 1);
    add(j, "third", 6, 1);
    struct journal_job *random = journal_add(j, &(struct request){.prompt = (char *)"any"});
    CHECK(random->request.fixed_seed, "a job's seed is fixed before it is written");
    journal_move(j, journal_at(j, 2)->key, 0);
    journal_remove(j, journal_at(j, 2)->key);
    CHECK(journal_save(j, NULL));
    journal_close(j);

    j = reopened();
    CHECK(!journal_crashed(j), "it was closed properly");
    CHECK(journal_count(j) == 3, "%u jobs", journal_count(j));
    CHECK_STR(journal_at(j, 0)->request.prompt, "third");
    const struct request *r = &journal_at(j, 1)->request;
    CHECK_STR(r->prompt, "first");
    CHECK_STR(r->negative, "a \"quoted\" ünit\n");
    CHECK(r->seed == G_MAXUINT64 && r->cfg == 2.75 && r->steps == 7 && r->batch == 3);
    CHECK(r->sampler == NULL, "an absent text stays absent");
    while (journal_count(j))
        journal_remove(j, journal_at(j, 0)->key);
    journal_close(j);
}

/* A process that dies without a word: the file says "open" and "running". */
static void crash_while_running(void)
{
    pid_t child = fork();
    int status = -1;

    if (child == 0) {
        struct journal *j = reopened();
        bool one = journal_count(j) == 1;

        if (one)
            journal_at(j, 0)->running = true;
        _exit(one && journal_save(j, NULL) ? 0 : 1);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

static void note(struct history_entry *entry, void *user)
{
    g_ptr_array_add(user, g_path_get_basename(entry->path));
}

static bool told(GPtrArray *found, const char *name)
{
    return g_ptr_array_find_with_equal_func(found, name, g_str_equal, NULL);
}

static void test_crash(void)
{
    struct journal *j = reopened();
    add(j, "a cat", 100, 4);
    journal_at(j, 0)->done = 1; /* picture 100 is done and written down */
    CHECK(journal_save(j, NULL));
    journal_close(j);
    crash_while_running();
    /* 101 was saved, but the crash came before it was written down; 103 is not next, so it does not
     * count */
    save_picture(folder, "x-101.png",
                 "a cat\nSteps: 7, Sampler: Euler, CFG scale: 2.75, Seed: 101, Size: 8x8");
    save_picture(folder, "x-103.png",
                 "a cat\nSteps: 7, Sampler: Euler, CFG scale: 2.75, Seed: 103, Size: 8x8");
    save_picture(folder, "y-102.png",
                 "a dog\nSteps: 7, Sampler: Euler, CFG scale: 2.75, Seed: 102, Size: 8x8");

    j = reopened();
    CHECK(journal_crashed(j));
    CHECK(journal_at(j, 0)->begun == 1 && !journal_at(j, 0)->set_aside);
    GPtrArray *found = g_ptr_array_new_with_free_func(g_free);
    journal_settle(j, folder, note, found);
    CHECK(journal_at(j, 0)->done == 2, "done %d of 4: 100 and 101", journal_at(j, 0)->done);
    CHECK(found->len == 2 && told(found, "x-101.png") && told(found, "x-103.png"),
          "what the history is to know");
    g_ptr_array_unref(found);
    CHECK(journal_save(j, NULL));
    journal_close(j);

    crash_while_running(); /* the second time: set aside */
    j = reopened();
    CHECK(journal_at(j, 0)->begun == 2 && journal_at(j, 0)->set_aside);
    journal_close(j);
    j = reopened();
    CHECK(journal_at(j, 0)->set_aside, "it stays set aside");
    journal_remove(j, journal_at(j, 0)->key);
    journal_close(j);
}

static void test_without_metadata(void)
{
    struct journal *j = reopened();
    add(j, "a cat", 7, 2);
    journal_close(j);
    crash_while_running();
    save_picture(folder, "00003-17.png", NULL); /* 17 holds a 7, but is not 7 */
    j = reopened();
    journal_settle(j, folder, NULL, NULL);
    CHECK(journal_at(j, 0)->done == 0);
    journal_close(j);
    crash_while_running();
    save_picture(folder, "00004-7.png", NULL);
    save_picture(folder, "00005-8.png", NULL);
    j = reopened();
    journal_settle(j, folder, NULL, NULL);
    CHECK(journal_count(j) == 0, "both pictures are there: the job is done");
    journal_close(j);
}

/* A pattern with folders, and a prompt whose file tells what its wildcards became. */
static void test_below(void)
{
    g_autofree char *below = g_build_filename(folder, "2026", "05", NULL);
    struct journal *j = reopened();
    add(j, "a __colour__ car", 41, 3);
    journal_close(j);
    crash_while_running();
    CHECK(g_mkdir_with_parents(below, 0700) == 0);
    save_picture(below, "1.png",
                 "a red car\nSteps: 7, Sampler: Euler, CFG scale: 2.75, Seed: 41, Size: 8x8");
    j = reopened();
    journal_settle(j, folder, NULL, NULL);
    CHECK(journal_count(j) == 1 && journal_at(j, 0)->done == 1, "41 lies below");
    journal_remove(j, journal_at(j, 0)->key);
    journal_close(j);
}

static void test_damaged(void)
{
    CHECK(g_file_set_contents(path, "{\"jobs\": [", -1, NULL));
    g_test_expect_message("figment", G_LOG_LEVEL_WARNING, "*damaged*");
    struct journal *j = journal_open(path);
    g_test_assert_expected_messages();
    CHECK(journal_count(j) == 0);
    g_autofree char *aside = g_strconcat(path, ".damaged", NULL);
    CHECK(g_file_test(aside, G_FILE_TEST_EXISTS), "nothing is thrown away");
    journal_close(j);

    CHECK(g_file_set_contents(path,
                              "{\"open\": true, \"jobs\": [7, {\"request\": 1}, {\"request\": "
                              "{\"batch\": -5, \"seed\": 3, \"prompt\": 9}, \"done\": 1e9}]}",
                              -1, NULL));
    j = journal_open(path);
    CHECK(journal_count(j) == 1, "what is no job is passed over");
    CHECK(journal_at(j, 0)->request.batch == 1 && journal_at(j, 0)->request.prompt == NULL);
    journal_close(j);

    j = journal_open("/proc/nowhere/queue.json");
    add(j, "kept in memory", 1, 1);
    GError *error = NULL;
    CHECK(!journal_save(j, &error) && error && journal_count(j) == 1);
    g_clear_error(&error);
    journal_close(j);
}

int main(void)
{
    folder = g_dir_make_tmp("figment-journal-XXXXXX", NULL);
    path = g_build_filename(folder, "queue.json", NULL);
    test_round_trip();
    test_crash();
    test_without_metadata();
    test_below();
    test_damaged();
    g_autofree char *clean = g_strdup_printf("rm -r '%s'", folder);
    CHECK(system(clean) == 0);
    g_free(folder);
    g_free(path);
    return check_result();
}
