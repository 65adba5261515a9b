/*
 * What the layers below the window say, in German: a program that has bound the translations hears
 * its own language, with its own quotes, plurals and decimal mark. What is kept in a file is said
 * again when the language has changed.
 */
#include "tests/check.h"

#include <glib/gstdio.h>
#include <gnu/libc-version.h>
#include <libintl.h>
#include <locale.h>

#include "engine/library.h"
#include "engine/metadata.h"
#include "engine/settings.h"
#include "tests/weights/files.h"
#include "weights/model.h"
#include "weights/quote.h"

static char *home;

static const char *sentence(GError **error)
{
    static char *last;

    g_free(last);
    last = g_strdup(*error ? (*error)->message : "(none)");
    g_clear_error(error);
    return last;
}

static void speak(const char *language)
{
    extern int _nl_msg_cat_cntr; /* GNU gettext: looks for catalogues again */

    g_setenv("LANGUAGE", language, TRUE);
    _nl_msg_cat_cntr++;
}

static void check_settings(void)
{
    GError *error = NULL;
    struct settings settings = {0};
    struct request request = {.prompt = (char *)"x", .width = 500, .height = 512};

    CHECK(!settings_init(&settings, &request, NULL, &error));
    CHECK_STR(sentence(&error), "Die Größe 500x512 ist nicht möglich: Beide Seiten müssen "
                                "Vielfache von 8 zwischen 64 und 4096 sein.");
    settings_finish(&settings);
    request = (struct request){.prompt = (char *)"x", .sampler = (char *)"Eulr"};
    CHECK(!settings_init(&settings, &request, NULL, &error));
    CHECK_STR(sentence(&error), "Es gibt keinen Sampler „Eulr“; meinten Sie „Euler“?");
    settings_finish(&settings);
}

static void check_files(void)
{
    GError *error = NULL;
    g_autofree char *path = g_build_filename(home, "damaged.safetensors", NULL);
    g_autofree char *small = weights_size_text(1), *large = weights_size_text(4300000000);

    CHECK(!library_find(NULL, "/nowhere/at/all", &error));
    CHECK_STR(sentence(&error), "Unter „/nowhere/at/all“ gibt es kein Modell.");
    write_file(home, "damaged.safetensors", "tiny", 4);
    CHECK(!model_open(path, &error));
    CHECK_STR(sentence(&error),
              "„damaged.safetensors“ lässt sich nicht öffnen: die Datei ist beschädigt oder "
              "unvollständig (sie hat nur 4 Byte). Laden Sie sie erneut herunter.");
    CHECK_STR(small, "1 Byte");
    CHECK_STR(large, "4,3 GB");
}

/* The list of changes that the window shows when a picture is dropped. */
static void check_import(void)
{
    struct metadata *m = metadata_parse("a cat\nSteps: 30, Sampler: Eulr, CFG scale: x, Seed: 7, "
                                        "Size: 512x640, Tiling: True");
    struct request request = {0};
    g_autoptr(GPtrArray) changes = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) notices = g_ptr_array_new_with_free_func(g_free);

    CHECK(m != NULL);
    metadata_apply(m, &request, changes, notices);
    g_ptr_array_add(changes, NULL);
    g_ptr_array_add(notices, NULL);
    g_autofree char *changed = g_strjoinv("\n", (char **)changes->pdata);
    g_autofree char *told = g_strjoinv("\n", (char **)notices->pdata);
    CHECK_STR(changed, "Prompt: a cat\nSchritte: 30\nStartwert: 7\nGröße: 512x640");
    CHECK_STR(told, "Führung (CFG) ist keine Zahl und wurde weggelassen.\n"
                    "Der Sampler „Eulr“ ist hier nicht bekannt; es bleibt bei: Vorgabe.\n"
                    "Kacheln (True) gibt es hier nicht; das Bild wird abweichen.");
    request_clear(&request);
    metadata_free(m);
}

static char *problem_of(const char *name)
{
    char *folders[] = {home, NULL};
    g_autoptr(GPtrArray) list = library_list(folders);

    for (guint i = 0; i < list->len; i++) {
        const struct model_info *info = list->pdata[i];
        if (strcmp(info->name, name) == 0)
            return g_strdup(info->problem);
    }
    return NULL;
}

/* A model's problem is kept in the cache folder. */
static void check_kept(void)
{
    g_autofree char *german = problem_of("damaged");
    speak("en");
    g_autofree char *english = problem_of("damaged");
    speak("de");
    g_autofree char *again = problem_of("damaged");

    CHECK_STR(english, "Can't open “damaged.safetensors”: the file is damaged or incomplete (it "
                       "has only 4 bytes). Download it again.");
    CHECK(german && g_str_has_prefix(german, "„damaged.safetensors“ lässt"), "%s", german);
    CHECK_STR(again, german);
}

/* After 2.36, glibc may translate nothing in C.UTF-8: an installed locale has to serve there. */
static bool find_locale(void)
{
    static const char *const real[] = {"de_DE.UTF-8", "en_US.UTF-8", "en_GB.UTF-8"};
    int minor = 0;

    setlocale(LC_ALL, "C.UTF-8");
    for (size_t i = 0; i < G_N_ELEMENTS(real); i++)
        if (setlocale(LC_MESSAGES, real[i]))
            return true;
    return sscanf(gnu_get_libc_version(), "2.%d", &minor) == 1 && minor < 37;
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    if (!find_locale()) {
        printf("no locale is installed in which this C library translates\n");
        return 77;
    }
    home = g_dir_make_tmp("figment-language-XXXXXX", NULL);
    g_setenv("XDG_CACHE_HOME", home, TRUE);
    g_setenv("XDG_DATA_HOME", home, TRUE);
    bindtextdomain("figment", argv[1]);
    bind_textdomain_codeset("figment", "UTF-8");
    textdomain("figment");
    speak("de");
    check_settings();
    check_files();
    check_import();
    check_kept();
    g_autofree char *remove = g_strdup_printf("rm -rf '%s'", home);
    CHECK(system(remove) == 0);
    g_free(home);
    return check_result();
}
