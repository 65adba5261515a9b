/* {a|b}, __name__ and styles.csv with files made here. */
#include "clip/styles.h"
#include "clip/wildcards.h"
#include "tests/check.h"

#include <glib/gstdio.h>

static char *folder;
static struct wildcards *wildcards;

static void put(const char *file, const char *text)
{
    g_autofree char *path = g_build_filename(folder, file, NULL);
    g_autofree char *parent = g_path_get_dirname(path);
    g_mkdir_with_parents(parent, 0700);
    CHECK(g_file_set_contents(path, text, -1, NULL));
}

static char *expand(const char *text, guint64 seed)
{
    g_autoptr(GError) error = NULL;
    char *got = wildcards_expand(wildcards, text, seed, NULL, &error);
    CHECK(got, "%s: %s", text, error ? error->message : "");
    return got ? got : g_strdup("");
}

static void same(const char *text, const char *expected)
{
    for (guint64 seed = 0; seed < 5; seed++) {
        g_autofree char *got = expand(text, seed);
        CHECK_STR(got, expected);
    }
}

/* Over 400 seeds every one of the results (divided by '/') comes, each `at_least` times, and no
 * other. */
static void spread(const char *text, const char *results, int at_least)
{
    g_auto(GStrv) expected = g_strsplit(results, "/", -1);
    int n = (int)g_strv_length(expected);
    g_autofree int *counts = g_new0(int, n);
    for (guint64 seed = 1; seed <= 400; seed++) {
        g_autofree char *got = expand(text, seed);
        int i = 0;
        while (i < n && strcmp(got, expected[i]) != 0)
            i++;
        CHECK(i < n, "%s gave \"%s\"", text, got);
        if (i < n)
            counts[i]++;
    }
    for (int i = 0; i < n; i++)
        CHECK(counts[i] >= at_least, "%s gave \"%s\" %d times", text, expected[i], counts[i]);
}

static void check_text(void)
{
    same("plain", "plain");
    same("{masterpiece}, {a} {", "{masterpiece}, {a} {"); /* NovelAI's emphasis, unbalanced */
    same("} a | b {", "} a | b {");
    same("\\{a|b\\}", "\\{a|b\\}");
    same("${x=a|b}", "${x=a|b}");
    same("{a|a}", "a");
    same("{0::a|b}", "b");
    same("{2$$a|a}", "a, a");
    same("{3$$ - $$a|a}", "a - a"); /* no more than there are */
    same("{1$$a}", "a");
    same("a_b __ c __", "a_b __ c __");
    /* 400 draws of p = 1/2: 200 +- 10; 120 is eight standard deviations away */
    spread("{a|b}", "a/b", 120);
    spread("x{a|}y", "xay/xy", 120);
    spread("{a|{b|c}}", "a/b/c", 60); /* 1/2, 1/4, 1/4 */
    spread("{3::a|b}", "a/b", 60);    /* 3/4, 1/4 */
    spread("{2$$a|b|c}", "a, b/a, c/b, a/b, c/c, a/c, b", 30);
    spread("{1-2$$+$$a|b}", "a/b/a+b/b+a", 50);
    spread("{-2$$a|b}", "a/b/a, b/b, a", 50);
    spread("{1-$$a|b}", "a/b/a, b/b, a", 50);
    spread("{2-1$$a|b}", "a/b/a, b/b, a", 50);
    g_autofree char *once = expand("{a|b|c|d}{a|b|c|d}{a|b|c|d}{a|b|c|d}", 7);
    g_autofree char *again = expand("{a|b|c|d}{a|b|c|d}{a|b|c|d}{a|b|c|d}", 7);
    CHECK_STR(once, again);
    CHECK(wildcards_needed("{a|b}") && wildcards_needed("__a__") && !wildcards_needed("a (b:1.2)"));
}

static void check_files(void)
{
    put("colour.txt", "\xef\xbb\xbf# comment\nred\r\n\n  blue  \n");
    put("nested.txt", "__colour__ {hat|cap}\n");
    put("animal/cat.txt", "tabby\n");
    put("animal/wild/lion.txt", "lion\n");
    put("loop.txt", "__loop__\n");
    put("twice.txt", "__twice__ __twice__\n");
    put("empty.txt", "#\n");
    put("../figment-outside.txt", "outside\n");
    wildcards = wildcards_create(folder);
    spread("a __colour__ car", "a red car/a blue car", 120);
    spread("__nested__", "red hat/red cap/blue hat/blue cap", 60);
    spread("{2$$__colour__}", "red, blue/blue, red", 120);
    spread("{__colour__|green}", "red/blue/green", 60);
    same("__animal/cat__", "tabby");
    same("__animal/*__", "tabby");
    spread("__animal/**__", "tabby/lion", 120);
    same("__../figment-outside__ __/etc/passwd__ __nothing__ __empty__",
         "__../figment-outside__ __/etc/passwd__ __nothing__ __empty__");

    g_autoptr(GPtrArray) notices = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *kept = wildcards_expand(wildcards, "a __nothing__", 1, notices, NULL);
    CHECK_STR(kept, "a __nothing__");
    CHECK(notices->len == 1);
    CHECK_STR(notices->len ? notices->pdata[0] : "", "There is no wildcard file for “nothing”.");

    g_autoptr(GError) error = NULL;
    static const char *const endless[] = {"__loop__", "__twice__"};
    for (size_t i = 0; i < G_N_ELEMENTS(endless); i++) {
        CHECK(!wildcards_expand(wildcards, endless[i], 1, NULL, &error));
        CHECK_STR(error->message, "The wildcards of this prompt contain each other without end.");
        g_clear_error(&error);
    }
}

static void check_limits(void)
{
    g_autoptr(GError) error = NULL;
    GString *much = g_string_new(NULL);
    for (int i = 0; i < 32000; i++)
        g_string_append_c(much, '{');
    for (int i = 0; i < 32000; i++)
        g_string_append_c(much, '}');
    same(much->str, much->str); /* and soon: the test's time-out */
    g_string_truncate(much, 0);
    for (int i = 0; i < 70000; i++)
        g_string_append_c(much, 'a');
    CHECK(!wildcards_expand(wildcards, much->str, 1, NULL, &error));
    CHECK(strstr(error->message, "too long (more than 65536"));
    g_string_free(much, TRUE);
}

static void check_styles(void)
{
    g_autofree char *path = g_build_filename(folder, "styles.csv", NULL);
    g_autoptr(GError) error = NULL;
    put("styles.csv", "\xef\xbb\xbfname,prompt,negative_prompt\r\n"
                      "Film,\"film grain, {prompt}, \"\"soft\"\"\",\r\n"
                      "\r\n"
                      "Plain, oil painting,\"blurry,\nlow quality\"\n"
                      "Short\n"
                      "Plain,watercolour,bad,extra\n");
    g_autoptr(GPtrArray) styles = styles_load(path, &error);
    CHECK(styles && styles->len == 4, "%s", error ? error->message : "");
    const struct style *film = styles_find(styles, "Film");
    CHECK_STR(film->prompt, "film grain, {prompt}, \"soft\"");
    CHECK_STR(film->negative, "");
    const struct style *first = styles->pdata[1], *plain = styles_find(styles, "Plain");
    CHECK_STR(first->prompt, "oil painting");
    CHECK_STR(first->negative, "blurry,\nlow quality");
    CHECK_STR(plain->prompt, "watercolour");
    CHECK_STR(plain->negative, "bad");
    CHECK_STR(((struct style *)styles->pdata[2])->prompt, "");
    CHECK(!styles_find(styles, "None"));

    static const char *const applied[][3] = {
        {"film, {prompt}, x{prompt}", "a cat", "film, a cat, xa cat"},
        {" b ", " a ", "a, b"},
        {"", " a ", "a"},
        {"b", "", "b"}};
    for (size_t i = 0; i < G_N_ELEMENTS(applied); i++) {
        g_autofree char *got = styles_apply(applied[i][0], applied[i][1]);
        CHECK_STR(got, applied[i][2]);
    }
    put("styles.csv", "name,text\nold,words\n");
    g_autoptr(GPtrArray) old = styles_load(path, NULL);
    CHECK_STR(styles_find(old, "old")->prompt, "words");
    put("styles.csv", "a,b\n1,2\n");
    CHECK(!styles_load(path, &error));
    CHECK(strstr(error->message, "its first line must name the columns"));
    g_clear_error(&error);
    g_unlink(path);
    CHECK(!styles_load(path, &error) && strstr(error->message, "“styles.csv”"));
}

static void remove_all(const char *path)
{
    GDir *dir = g_dir_open(path, 0, NULL);
    const char *entry;
    while (dir && (entry = g_dir_read_name(dir))) {
        g_autofree char *full = g_build_filename(path, entry, NULL);
        remove_all(full);
    }
    if (dir)
        g_dir_close(dir);
    g_remove(path);
}

int main(void)
{
    g_autofree char *base = g_dir_make_tmp("figment-wildcards-XXXXXX", NULL);
    folder = g_build_filename(base, "files", NULL);
    g_mkdir(folder, 0700);
    wildcards = wildcards_create(NULL);
    check_text();
    check_limits();
    wildcards_destroy(wildcards);
    check_files();
    wildcards_destroy(wildcards);
    check_styles();
    remove_all(base);
    g_free(folder);
    return check_result();
}
