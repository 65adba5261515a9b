/* Names from patterns, and files that are whole or absent. */
#include "tests/check.h"

#include <glib/gstdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <fcntl.h>

#include "engine/engine.h"
#include "engine/save.h"

static struct request settings = {
    .prompt = "A red/blue apple, on: a \"table\"\nplease; and <more> words too",
    .negative = "worm",
    .steps = 20,
    .sampler = "DPM++ 2M",
    .schedule = "Karras",
    .cfg = 7.5,
    .seed = 42,
    .width = 512,
    .height = 768,
    .clip_skip = 1,
};
static const struct metadata_model model = {.name = "../evil/model", .hash = "0123456789"};

static void test_expand(const char *pattern, const char *expected)
{
    char *got = save_expand(pattern, &settings, &model, 2);

    CHECK_STR(got, expected);
    g_free(got);
}

static void test_patterns(void)
{
    char *date, *got;
    GDateTime *now = g_date_time_new_now_local();
    GString *many = g_string_new(NULL);

    test_expand(NULL, "[number]-42");
    test_expand("[seed]-[steps]-[cfg]-[width]x[height]", "42-20-7.5-512x768");
    test_expand("[sampler] [scheduler] [batch_number]", "DPM++ 2M Karras 3");
    test_expand("[prompt_words]", "A red blue apple on a table please");
    test_expand("[prompt_spaces]", "A red_blue apple, on_ a _table__please; and _more_ words too");
    test_expand("[prompt]", "A_red_blue_apple,_on__a__table__please;_and__more__words_too");
    test_expand("[unknown] [seed", "[unknown] [seed");
    test_expand("[seed]/[steps]", "42/20");
    test_expand("a. /.hidden/ b", "a/_hidden/ b");
    test_expand("../../etc/[seed]", "etc/42");
    test_expand("/abs/[seed]", "abs/42");
    test_expand("[model_name]", "_._evil_model");
    test_expand("", "picture");
    date = g_date_time_format(now, "%Y-%m");
    got = save_expand("[datetime<%Y-%m>]", &settings, &model, 0);
    CHECK_STR(got, date);
    g_free(got);
    g_free(date);
    g_date_time_unref(now);
    for (int i = 0; i < 300; i++)
        g_string_append(many, "ä");
    got = save_expand(many->str, &settings, &model, 0);
    CHECK(strlen(got) == 200 && g_utf8_validate(got, -1, NULL), "%zu bytes", strlen(got));
    g_free(got);
    g_string_free(many, TRUE);
}

static void test_output(const char *output, const char *folder, const char *pattern,
                        const char *exact, enum picture_format format)
{
    char *f = NULL, *p = NULL, *e = NULL;
    enum picture_format got = PICTURE_PNG;

    save_split_output(output, &f, &p, &e, &got);
    CHECK(g_strcmp0(f, folder) == 0 && g_strcmp0(p, pattern) == 0 && g_strcmp0(e, exact) == 0 &&
              got == format,
          "%s became folder %s, pattern %s, file %s", output, f, p, e);
    g_free(f);
    g_free(p);
    g_free(e);
}

static char *temporary_folder(void)
{
    return g_dir_make_tmp("figment-save-XXXXXX", NULL);
}

static void remove_folder(char *folder)
{
    GDir *dir = g_dir_open(folder, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        char *path = g_build_filename(folder, name, NULL);

        if (g_file_test(path, G_FILE_TEST_IS_DIR))
            remove_folder(path);
        else {
            g_remove(path);
            g_free(path);
        }
    }
    if (dir)
        g_dir_close(dir);
    g_rmdir(folder);
    g_free(folder);
}

static int count(const char *folder)
{
    GDir *dir = g_dir_open(folder, 0, NULL);
    int n = 0;

    while (dir && g_dir_read_name(dir))
        n++;
    if (dir)
        g_dir_close(dir);
    return n;
}

static struct picture grey(void)
{
    static const guint8 rgb[12] = {1, 2, 3};

    return (struct picture){2, 2, g_bytes_new_static(rgb, sizeof rgb)};
}

static void test_save(void)
{
    char *folder = temporary_folder(), *path = NULL, *name;
    struct picture picture = grey();
    struct save_target target = {.folder = folder};
    GError *error = NULL;
    static const char *const expected[] = {"00000-42.png", "00001-42.png", "00002-42.png"};

    for (int i = 0; i < 3; i++) {
        CHECK(save_picture(&picture, &settings, &model, &target, 0, &path, &error), "%s",
              error ? error->message : "");
        name = g_path_get_basename(path);
        CHECK_STR(name, expected[i]);
        g_free(name);
        g_clear_pointer(&path, g_free);
    }
    /* Without a number a taken name goes on with -2; below a folder that is made. */
    target.pattern = "sub/[seed]";
    for (int i = 0; i < 2; i++) {
        CHECK(save_picture(&picture, &settings, &model, &target, 0, &path, NULL), "sub");
        CHECK(g_str_has_suffix(path, i ? "/sub/42-2.png" : "/sub/42.png"), "%s", path);
        g_clear_pointer(&path, g_free);
    }
    /* A number larger than any there. */
    name = g_build_filename(folder, "00041-x.jpg", NULL);
    g_file_set_contents(name, "x", 1, NULL);
    g_free(name);
    target.pattern = NULL;
    settings.format = PICTURE_JPEG;
    CHECK(save_picture(&picture, &settings, &model, &target, 0, &path, NULL), "jpeg");
    CHECK(g_str_has_suffix(path, "/00042-42.jpg"), "%s", path);
    settings.format = PICTURE_PNG;
    g_clear_pointer(&path, g_free);
    CHECK(count(folder) == 6, "%d files, temporary ones among them", count(folder));
    /* An exact name is replaced. */
    target.exact = name = g_build_filename(folder, "exact.png", NULL);
    g_file_set_contents(name, "old", 3, NULL);
    CHECK(save_picture(&picture, &settings, &model, &target, 0, &path, NULL), "exact");
    CHECK_STR(path, name);
    CHECK(picture_read_png(name, NULL, NULL, &error), "%s", error ? error->message : "");
    g_free(name);
    g_clear_pointer(&path, g_free);
    picture_clear(&picture);
    remove_folder(folder);
}

/* Two programs, one folder, the same name: nothing is lost, nothing is overwritten. */
static void test_two(void)
{
    char *folder = temporary_folder();
    struct picture picture = grey();
    struct save_target target = {.folder = folder, .pattern = "[number]"};
    pid_t child = fork();
    int status = 0;

    for (int i = 0; i < 40; i++)
        if (!save_picture(&picture, &settings, &model, &target, 0, NULL, NULL))
            status = 1;
    if (child == 0)
        _exit(status);
    CHECK(status == 0, "a save failed");
    waitpid(child, &status, 0);
    CHECK(status == 0, "a save of the other program failed");
    CHECK(count(folder) == 80, "%d pictures of 80", count(folder));
    picture_clear(&picture);
    remove_folder(folder);
}

static void test_failures(void)
{
    char *folder = temporary_folder(), *blocked = g_build_filename(folder, "file", NULL);
    struct picture picture = grey();
    struct save_target target = {.folder = blocked};
    GBytes *bytes = g_bytes_new_static("abc", 3);
    GError *error = NULL;

    g_file_set_contents(blocked, "x", 1, NULL);
    CHECK(!save_picture(&picture, &settings, &model, &target, 0, NULL, &error), "into a file");
    CHECK(g_error_matches(error, ENGINE_ERROR, ENGINE_ERROR_DISK), "its code");
    CHECK(error && g_str_has_prefix(error->message, "Can't save into “") &&
              strstr(error->message, blocked),
          "%s", error ? error->message : "");
    g_clear_error(&error);
    CHECK(!save_bytes(blocked, bytes, false, &error), "overwrote");
    CHECK(error && strstr(error->message, "File exists"), "%s", error ? error->message : "");
    g_clear_error(&error);
    CHECK(save_bytes(blocked, bytes, true, NULL), "did not replace");
    CHECK(count(folder) == 1, "temporary files are left");
    g_free(blocked);
    g_bytes_unref(bytes);
    picture_clear(&picture);
    remove_folder(folder);
}

static void test_sweep(void)
{
    char *folder = temporary_folder();
    char *dead = g_build_filename(folder, ".figment-1-0000abcd.tmp", NULL);
    char *alive = g_build_filename(folder, ".figment-2-0000abcd.tmp", NULL);
    char *other = g_build_filename(folder, ".other-2.tmp", NULL);
    int fd;

    g_file_set_contents(dead, "x", 1, NULL);
    g_file_set_contents(alive, "x", 1, NULL);
    g_file_set_contents(other, "x", 1, NULL);
    fd = open(alive, O_RDONLY | O_CLOEXEC);
    flock(fd, LOCK_EX);
    save_sweep(folder);
    CHECK(!g_file_test(dead, G_FILE_TEST_EXISTS), "a dead program's file stays");
    CHECK(g_file_test(alive, G_FILE_TEST_EXISTS), "a living program's file was removed");
    CHECK(g_file_test(other, G_FILE_TEST_EXISTS), "somebody else's file was removed");
    close(fd);
    save_sweep("/nonexistent");
    g_free(dead);
    g_free(alive);
    g_free(other);
    remove_folder(folder);
}

int main(void)
{
    test_patterns();
    test_output("apple.png", NULL, NULL, "apple.png", PICTURE_PNG);
    test_output("apple.JPG", NULL, NULL, "apple.JPG", PICTURE_JPEG);
    test_output("dir/apple", NULL, NULL, "dir/apple.png", PICTURE_PNG);
    test_output("out/new/", "out/new/", NULL, NULL, PICTURE_PNG);
    test_output("tests", "tests", NULL, NULL, PICTURE_PNG);
    test_output("out/[prompt_words]-[seed].jpg", "out/", "[prompt_words]-[seed]", NULL,
                PICTURE_JPEG);
    test_output("[date]/[seed]", ".", "[date]/[seed]", NULL, PICTURE_PNG);
    test_save();
    test_two();
    test_failures();
    test_sweep();
    return check_result();
}
