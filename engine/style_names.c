#include "engine/style_names.h"

#include "engine/engine.h"
#include "engine/places.h"
#include "engine/suggest.h"

static struct style *copy(const struct style *style)
{
    struct style *c = g_new(struct style, 1);

    *c = (struct style){g_strdup(style->name), g_strdup(style->prompt), g_strdup(style->negative)};
    return c;
}

static void style_free(gpointer data)
{
    struct style *style = data;

    g_free(style->name);
    g_free(style->prompt);
    g_free(style->negative);
    g_free(style);
}

GPtrArray *style_names_list(char **folders)
{
    g_autoptr(GPtrArray) files = places_styles(folders);
    GPtrArray *all = g_ptr_array_new_with_free_func(style_free);

    for (guint i = 0; i < files->len; i++) {
        g_autoptr(GPtrArray) some = styles_load(files->pdata[i], NULL);

        for (guint k = 0; some && k < some->len; k++) {
            const struct style *style = some->pdata[k];

            /* Of two of one name in a file the later counts. */
            if (styles_find(some, style->name) == style && !styles_find(all, style->name))
                g_ptr_array_add(all, copy(style));
        }
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
        engine_input_error(error, "There is no style “%s”; did you mean “%s”?", name, like);
    else if (styles->len)
        engine_input_error(error, "There is no style “%s” in your styles.csv.", name);
    else
        engine_input_error(error, "There is no style “%s”: there is no styles.csv in your folders.",
                           name);
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
