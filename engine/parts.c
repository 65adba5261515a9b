#include "engine/parts.h"

#include <glib/gi18n-lib.h>
#include <string.h>

#include "engine/engine.h"
#include "engine/suggest.h"

#define ENDING ".safetensors"

/* File name without its ending. */
static char *stem(const char *path)
{
    char *name = g_path_get_basename(path);

    if (g_str_has_suffix(name, ENDING))
        name[strlen(name) - strlen(ENDING)] = '\0';
    return name;
}

GPtrArray *parts_vaes(char **folders)
{
    g_autoptr(GPtrArray) vaes = places_find(folders, PLACE_VAES);
    g_autoptr(GPtrArray) checkpoints = places_find(folders, PLACE_CHECKPOINTS);
    g_autoptr(GPtrArray) beside = places_files(checkpoints, ".vae" ENDING);
    GPtrArray *files = places_files(vaes, ENDING);

    for (guint i = 0; i < beside->len; i++)
        if (!g_ptr_array_find_with_equal_func(files, beside->pdata[i], g_str_equal, NULL))
            g_ptr_array_add(files, g_strdup(beside->pdata[i]));
    return files;
}

static int by_folded_name(const void *a, const void *b)
{
    g_autofree char *x = g_utf8_casefold(*(char *const *)a, -1);
    g_autofree char *y = g_utf8_casefold(*(char *const *)b, -1);

    return g_utf8_collate(x, y);
}

GPtrArray *parts_add_ons(char **folders, enum place_kind kind)
{
    g_autoptr(GPtrArray) places = places_find(folders, kind);
    g_autoptr(GPtrArray) files = places_files(places, ENDING);
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);

    for (guint i = 0; i < files->len; i++) {
        g_autofree char *name = stem(files->pdata[i]);

        if (g_utf8_validate(name, -1, NULL) && !strpbrk(name, ":<>") &&
            !g_ptr_array_find_with_equal_func(names, name, g_str_equal, NULL))
            g_ptr_array_add(names, g_steal_pointer(&name));
    }
    g_ptr_array_sort(names, by_folded_name);
    return names;
}

static char *by_name(char **folders, const char *name, GError **error)
{
    g_autoptr(GPtrArray) files = parts_vaes(folders);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *wanted = stem(name), *like = NULL;

    for (guint i = 0; i < files->len; i++) {
        char *own = stem(files->pdata[i]);

        g_ptr_array_add(names, own);
        if (g_ascii_strcasecmp(own, wanted) == 0)
            return g_strdup(files->pdata[i]);
    }
    like = suggest(wanted, (const char *const *)names->pdata, names->len);
    if (like)
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_MODEL,
                    _("There is no autoencoder (VAE) “%s” in your folders; did you mean “%s”?"),
                    name, like);
    else
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_MODEL,
                    _("There is no autoencoder (VAE) “%s” in your folders; give the path of a "
                      ".safetensors file."),
                    name);
    return NULL;
}

char *parts_find_vae(char **folders, const struct model_info *model, const char *name,
                     GError **error)
{
    if (name && *name && g_ascii_strcasecmp(name, "Automatic") != 0) {
        if (g_ascii_strcasecmp(name, "None") == 0)
            return NULL;
        if (g_file_test(name, G_FILE_TEST_IS_REGULAR))
            return g_canonicalize_filename(name, NULL);
        if (!strchr(name, '/'))
            return by_name(folders, name, error);
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_MODEL,
                    _("There is no autoencoder (VAE) at “%s”."), name);
        return NULL;
    }
    if (!model->folder && g_str_has_suffix(model->path, ENDING)) {
        g_autofree char *base = g_strndup(model->path, strlen(model->path) - strlen(ENDING));
        char *beside = g_strconcat(base, ".vae" ENDING, NULL);

        if (g_file_test(beside, G_FILE_TEST_IS_REGULAR))
            return beside;
        g_free(beside);
    }
    return NULL;
}

char *parts_find_taesd(char **folders, bool sdxl)
{
    static const char *const names[2][3] = {{"taesd_decoder", "taesd", NULL},
                                            {"taesdxl_decoder", "taesdxl", NULL}};
    g_autoptr(GPtrArray) places = places_find(folders, PLACE_TAESD);
    g_autoptr(GPtrArray) files = places_files(places, ENDING);

    for (const char *const *name = names[sdxl]; *name; name++)
        for (guint i = 0; i < files->len; i++) {
            g_autofree char *own = stem(files->pdata[i]);

            if (g_ascii_strcasecmp(own, *name) == 0)
                return g_strdup(files->pdata[i]);
        }
    return NULL;
}
