#include "engine/style_names.h"

#include "engine/engine.h"
#include "engine/places.h"
#include "engine/suggest.h"

#include <glib/gi18n-lib.h>

GPtrArray *style_names_list(char **folders)
{
    g_autoptr(GPtrArray) files = places_styles(folders);
    GPtrArray *all = styles_none();

    for (guint i = 0; i < files->len; i++) {
        GPtrArray *some = styles_load(files->pdata[i], NULL);

        if (some)
            styles_take(all, some);
    }
    return all;
}

static void fail_unknown(const GPtrArray *styles, const char *name, GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    g_autofree char *like = NULL;

    for (guint i = 0; i < styles->len; i++)
        g_ptr_array_add(names, ((struct style *)styles->pdata[i])->name);
    like = suggest(name, (const char *const *)names->pdata, names->len);
    if (like)
        engine_input_error(error, _("There is no style “%s”; did you mean “%s”?"), name, like);
    else if (styles->len)
        engine_input_error(error, _("There is no style “%s” in your styles.csv."), name);
    else
        engine_input_error(
            error, _("There is no style “%s”: there is no styles.csv in your folders."), name);
}

bool style_names_apply(char **folders, struct request *request, GError **error)
{
    g_auto(GStrv) names = g_strsplit(request->styles ? request->styles : "", "\n", -1);
    g_autoptr(GPtrArray) styles = *names ? style_names_list(folders) : NULL;

    for (char **name = names; *name; name++) {
        const struct style *style = styles_find(styles, *name);
        char *prompt, *negative;

        if (!**name)
            continue;
        if (!style) {
            fail_unknown(styles, *name, error);
            return false;
        }
        prompt = styles_apply(style->prompt, request->prompt ? request->prompt : "");
        negative = styles_apply(style->negative, request->negative ? request->negative : "");
        g_free(request->prompt);
        g_free(request->negative);
        request->prompt = prompt;
        request->negative = negative;
    }
    g_clear_pointer(&request->styles, g_free);
    return true;
}
