#include "engine/add_ons.h"

#include <glib/gi18n-lib.h>
#include <string.h>

#include "clip/prompt.h"
#include "clip/wildcards.h"
#include "engine/engine.h"
#include "engine/places.h"
#include "engine/suggest.h"
#include "weights/lora.h"

#define ALIASES_MAX 1000 /* files opened to look for the name they were trained under */

struct add_ons {
    GPtrArray *lora_folders; /* char * */
    struct inversions *inversions;
    struct wildcards *wildcards;
    GHashTable *open;  /* path -> struct lora * of what the model has applied */
    char *applied;     /* what the model has, as text */
    GPtrArray *in_use; /* struct lora *, borrowed from `open` */
};

static void close_lora(gpointer lora)
{
    lora_close(lora);
}

struct add_ons *add_ons_create(char **folders)
{
    struct add_ons *a = g_new0(struct add_ons, 1);
    g_autoptr(GPtrArray) embeddings = places_find(folders, PLACE_EMBEDDINGS);
    g_autoptr(GPtrArray) wildcards = places_find(folders, PLACE_WILDCARDS);

    a->lora_folders = places_find(folders, PLACE_LORAS);
    a->inversions = inversions_create();
    a->open = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, close_lora);
    for (guint i = 0; i < embeddings->len; i++)
        inversions_add_folder(a->inversions, embeddings->pdata[i]);
    a->wildcards = wildcards_create(wildcards->len ? wildcards->pdata[0] : NULL);
    return a;
}

void add_ons_destroy(struct add_ons *a)
{
    if (!a)
        return;
    g_hash_table_unref(a->open);
    wildcards_destroy(a->wildcards);
    inversions_destroy(a->inversions);
    g_ptr_array_unref(a->lora_folders);
    g_free(a->applied);
    g_free(a);
}

struct inversions *add_ons_inversions(struct add_ons *a)
{
    return a->inversions;
}

bool add_ons_are_random(const char *prompt)
{
    return wildcards_needed(prompt);
}

char *add_ons_expand(struct add_ons *a, const char *prompt, uint64_t seed, GPtrArray *notices,
                     GError **error)
{
    g_autofree char *plain = NULL;

    if (!prompt_check(prompt, error))
        return NULL;
    plain = prompt_strip_comments(prompt);
    if (!wildcards_needed(plain))
        return g_steal_pointer(&plain);
    return wildcards_expand(a->wildcards, plain, seed, notices, error);
}

/* ---- LoRA files ---- */

static char *stem(const char *path)
{
    char *name = g_path_get_basename(path);

    name[strlen(name) - strlen(".safetensors")] = '\0';
    return name;
}

static bool has_alias(const char *path, const char *name)
{
    struct lora *lora = lora_open(path, NULL);
    bool same = lora && g_strcmp0(lora_alias(lora), name) == 0;

    lora_close(lora);
    return same;
}

/* By file name, then by file name in any case, then by the name it was trained under. g_free(). */
static char *find(struct add_ons *a, const char *name, GPtrArray *notices)
{
    g_autoptr(GPtrArray) paths = places_files(a->lora_folders, ".safetensors");
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *like = NULL;

    for (guint i = 0; i < paths->len; i++) {
        g_ptr_array_add(names, stem(paths->pdata[i]));
        if (strcmp(names->pdata[i], name) == 0)
            return g_strdup(paths->pdata[i]);
    }
    for (guint i = 0; i < paths->len; i++)
        if (g_ascii_strcasecmp(names->pdata[i], name) == 0)
            return g_strdup(paths->pdata[i]);
    for (guint i = 0; i < MIN(paths->len, ALIASES_MAX); i++)
        if (has_alias(paths->pdata[i], name))
            return g_strdup(paths->pdata[i]);
    like = suggest(name, (const char *const *)names->pdata, names->len);
    g_ptr_array_add(notices,
                    like ? g_strdup_printf(_("There is no LoRA “%s” in your folders; did you "
                                             "mean “%s”? The picture is made without it."),
                                           name, like)
                         : g_strdup_printf(_("There is no LoRA “%s” in your folders; the "
                                             "picture is made without it."),
                                           name));
    return NULL;
}

static struct lora *open_once(struct add_ons *a, const char *path, GError **error)
{
    struct lora *lora = g_hash_table_lookup(a->open, path);

    if (!lora && (lora = lora_open(path, error)))
        g_hash_table_insert(a->open, g_strdup(path), lora);
    return lora;
}

static bool is_lora(const struct prompt_network *network)
{
    return strcmp(network->kind, "lora") == 0 || strcmp(network->kind, "lyco") == 0;
}

/* The uses that the prompt asks for, and as text in `wanted`. False when a file is damaged. */
static bool gather(struct add_ons *a, const GPtrArray *networks, GArray *uses, GString *wanted,
                   GPtrArray *notices, GError **error)
{
    for (guint i = 0; i < networks->len; i++) {
        const struct prompt_network *network = networks->pdata[i];
        g_autofree char *path = NULL;
        struct lora_use use = {NULL, network->unet_weight, network->text_weight};

        if (!is_lora(network)) {
            g_ptr_array_add(notices, g_strdup_printf(_("<%s:%s> is of a kind that Figment does not "
                                                       "know; the picture is made without it."),
                                                     network->kind, network->name));
            continue;
        }
        if (!(path = find(a, network->name, notices)))
            continue;
        if (!(use.lora = open_once(a, path, error)))
            return false;
        g_string_append_printf(wanted, "%s\1%.17g\1%.17g\1", path, use.unet, use.text);
        g_array_append_val(uses, use);
    }
    return true;
}

/* Files that the model does not use any more are closed. */
static void close_unused(struct add_ons *a, const GArray *uses)
{
    GHashTableIter iter;
    gpointer lora;

    g_hash_table_iter_init(&iter, a->open);
    while (g_hash_table_iter_next(&iter, NULL, &lora)) {
        bool used = false;

        for (guint i = 0; i < uses->len; i++)
            used |= g_array_index(uses, struct lora_use, i).lora == lora;
        if (!used)
            g_hash_table_iter_remove(&iter);
    }
}

char *add_ons_apply(struct add_ons *a, struct model *model, const char *prompt, bool *changed,
                    GPtrArray *notices, GError **error)
{
    g_autoptr(GPtrArray) networks =
        g_ptr_array_new_with_free_func((GDestroyNotify)prompt_network_free);
    g_autoptr(GArray) uses = g_array_new(FALSE, FALSE, sizeof(struct lora_use));
    g_autoptr(GString) wanted = g_string_new(NULL);
    g_autofree char *rest = prompt_take_networks(prompt, networks);

    *changed = false;
    if (!gather(a, networks, uses, wanted, notices, error))
        return NULL;
    if (strcmp(a->applied ? a->applied : "", wanted->str) == 0)
        return g_steal_pointer(&rest);
    if (!lora_apply(model, (const struct lora_use *)(void *)uses->data, uses->len, notices, error))
        return NULL;
    *changed = true;
    g_free(a->applied);
    a->applied = g_strdup(wanted->str);
    close_unused(a, uses);
    return g_steal_pointer(&rest);
}

void add_ons_forget_model(struct add_ons *a)
{
    g_clear_pointer(&a->applied, g_free);
    g_hash_table_remove_all(a->open);
}
