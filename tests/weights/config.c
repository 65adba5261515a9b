/* Configuration files: limits of the file, ranges and types of the values, the sticky error. */
#include "weights/config.h"

#include "tests/check.h"
#include "tests/weights/files.h"

static void check_load(const char *dir, const char *text, gssize len, const char *sentence)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = g_build_filename(dir, "c.json", NULL);
    write_file(dir, "c.json", text, len);
    json_t *root = config_load(AT_FDCWD, path, "unet/c.json", &error);
    if (sentence)
        CHECK_STR(error ? error->message : NULL, sentence);
    CHECK(!root == !!sentence, "%.60s: %s", text, error ? error->message : "");
    json_decref(root);
}

static void test_load(void)
{
    char *dir = temp_folder();
    g_autofree char *path = g_build_filename(dir, "c.json", NULL);
    g_autoptr(GError) error = NULL;
#define NOT_JSON(line) "Can't open “unet/c.json”: it is not valid JSON (line " line ")."
    check_load(dir, "{\"a\": 1}", -1, NULL);
    check_load(dir, " {\"a\": {\"b\": [1, 2.5, null, true]}}\n", -1, NULL);
    check_load(dir, "{\"model_max_length\": 1000000000000000019884624838656}", -1, NULL);
    check_load(dir, "[]", -1, "Can't open “unet/c.json”: it does not hold a JSON object.");
    check_load(dir, "", -1, NOT_JSON("1"));
    check_load(dir, "{\n\"a\":}", -1, NOT_JSON("2"));
    check_load(dir, "{\"a\":1,\n\n\"a\":1}", -1, NOT_JSON("3"));
    check_load(dir, "{\"a\0\":1}", 8, NOT_JSON("1"));
    check_load(dir, "{\"a\":\"\xff\"}", -1, NOT_JSON("1"));
    g_autofree char *deep = g_strnfill(100, '[');
    g_autofree char *nested = g_strconcat("{\"a\":", deep, NULL);
    check_load(dir, nested, -1, "Can't open “unet/c.json”: it is nested too deeply.");
    g_autofree char *large = g_strnfill(16 * 1024 * 1024 + 1, ' ');
    memcpy(large, "{}", 2);
    check_load(dir, large, -1, "Can't open “unet/c.json”: it is too large (the limit is 16 MiB).");
    check_load(dir, large, 16 * 1024 * 1024, NULL);
    unlink(path);
    CHECK(!config_load(AT_FDCWD, path, "c.json", &error));
    CHECK_STR(error ? error->message : NULL, "Can't open “c.json”: there is no such file.");
    CHECK(g_error_matches(error, WEIGHTS_ERROR, WEIGHTS_ERROR_NOT_FOUND));
    g_clear_error(&error);
    CHECK(mkfifo(path, 0600) == 0);
    CHECK(!config_load(AT_FDCWD, path, "c.json", &error));
    CHECK_STR(error ? error->message : NULL, "Can't open “c.json”: it is not an ordinary file.");
    remove_folder(dir);
}

static const char text[] =
    "{\"n\": 5, \"whole\": 5.0, \"x\": 0.25, \"yes\": true, \"s\": \"silu\", \"nothing\": null,"
    " \"list\": [1, 2, 3], \"texts\": [\"a\", \"b\"], \"mixed\": [1, \"b\"], \"huge\": 1e300}";

#define FAILS(call, sentence)                                                                      \
    do {                                                                                           \
        struct config f = config_init(root, "u.json");                                             \
        g_autoptr(GError) error = NULL;                                                            \
        call;                                                                                      \
        CHECK(!config_finish(&f, &error));                                                         \
        CHECK_STR(error ? error->message : NULL, "u.json: " sentence);                             \
    } while (0)

static void test_values(void)
{
    static const char *const choices[] = {"gelu", "silu", NULL};
    json_t *root = json_loads(text, 0, NULL);
    struct config c = config_init(root, "u.json"), none = config_init(NULL, "u.json");
    gint64 ints[3] = {7, 7, 7};
    const char *texts[2];
    CHECK(config_int(&c, "n", 1, 5, 9) == 5 && config_int(&c, "whole", 5, 5, 9) == 5);
    CHECK(config_int(&c, "absent", 1, 5, 9) == 9 && config_int(&c, "nothing", 1, 5, 9) == 9);
    CHECK(config_number(&c, "x", 0, 1, 2) == 0.25 && config_number(&c, "n", 0, 5, 2) == 5);
    CHECK(config_bool(&c, "yes", false) && config_bool(&c, "absent", true));
    CHECK_STR(config_string(&c, "s", "relu"), "silu");
    CHECK_STR(config_string(&c, "nothing", "relu"), "relu");
    CHECK(config_choice(&c, "s", choices, 0) == 1 && config_choice(&c, "absent", choices, 0) == 0);
    CHECK(config_ints(&c, "list", 1, 3, ints, 3) == 3 && ints[2] == 3);
    CHECK(config_ints(&c, "n", 1, 5, ints, 3) == 1 && ints[0] == 5 && ints[1] == 2);
    CHECK(config_ints(&c, "absent", 1, 5, ints, 3) == 0);
    CHECK(config_strings(&c, "texts", texts, 2) == 2 && !strcmp(texts[1], "b"));
    CHECK(config_strings(&c, "s", texts, 2) == 1);
    CHECK(config_has(&c, "n") && !config_has(&c, "nothing") && !config_has(&c, "absent"));
    CHECK(config_int(&none, "n", 1, 5, 9) == 9 && !config_has(&none, "n"));
    CHECK(config_finish(&c, NULL) && config_finish(&none, NULL));
    FAILS(CHECK(config_int(&f, "n", 1, 4, 2) == 2), "“n” is 5; it must be 1 to 4.");
    FAILS(CHECK(config_int(&f, "x", 1, 4, 2) == 2), "“x” must be a whole number.");
    FAILS(config_int(&f, "huge", 1, 4, 2), "“huge” must be a whole number.");
    FAILS(config_int(&f, "s", 1, 4, 2), "“s” must be a whole number.");
    FAILS(config_number(&f, "x", 0.5, 1, 2), "“x” is 0.25; it must be 0.5 to 1.");
    FAILS(config_number(&f, "s", 0, 1, 2), "“s” must be a number.");
    FAILS(config_bool(&f, "n", false), "“n” must be true or false.");
    FAILS(config_string(&f, "n", ""), "“n” must be a text.");
    FAILS(config_choice(&f, "s", choices + 2, 0),
          "“s” is “silu”, which this version does not know (it knows: ).");
    FAILS(config_ints(&f, "list", 1, 3, ints, 2), "“list” has 3 values; at most 2 are possible.");
    FAILS(config_ints(&f, "list", 1, 2, ints, 3), "“list” is 3; it must be 1 to 2.");
    FAILS(config_ints(&f, "mixed", 1, 2, ints, 3), "“mixed” must be a whole number.");
    FAILS(config_strings(&f, "mixed", texts, 2), "“mixed” must be a list of texts.");
    FAILS((config_fail(&f, "one."), config_fail(&f, "two.")), "one.");
    json_decref(root);
}

int main(void)
{
    test_load();
    test_values();
    return check_result();
}
