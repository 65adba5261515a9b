#include "engine/add_ons.h"

#include <string.h>

#include "clip/prompt.h"
#include "clip/wildcards.h"
#include "engine/engine.h"
#include "engine/suggest.h"
#include "weights/lora.h"

#define DEPTH_MAX 4      /* folders below a folder with add-ons */
#define ALIASES_MAX 1000 /* files opened to look for the name they were trained under */

struct add_ons {
    GPtrArray *lora_folders; /* char * */
    struct inversions *inversions;
    struct wildcards *wildcards;
    GHashTable *open;  /* path -> struct lora * of what the model has applied */
    char *applied;     /* what the model has, as text */
    GPtrArray *in_use; /* struct lora *, borrowed from `open` */
};

/* Places of add-ons beside or below a folder with models: Figment's own, A1111's, ComfyUI's. */
static const char *const lora_places[] = {"loras",       "Lora",           "LyCORIS",
                                          "models/Lora", "models/LyCORIS", "models/loras",
                                          "../Lora",     "../LyCORIS",     "../loras"};
static const char *const embedding_places[] = {"embeddings", "models/embeddings", "../embeddings",
                                               "../../embeddings"};
static const char *const wildcard_places[] = {"wildcards", "../wildcards",
                                              "extensions/sd-dynamic-prompts/wildcards",
                                              "../../extensions/sd-dynamic-prompts/wildcards"};

static char *place(const char *folder, const char *name)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autofree char *whole = g_canonicalize_filename(path, NULL);

    return g_file_test(whole, G_FILE_TEST_IS_DIR) ? g_steal_pointer(&whole) : NULL;
}

static void look_into(struct add_ons *a, const char *folder)
{
    for (gsize i = 0; i < G_N_ELEMENTS(lora_places); i++) {
        char *found = place(folder, lora_places[i]);

        if (found && !g_ptr_array_find_with_equal_func(a->lora_folders, found, g_str_equal, NULL))
            g_ptr_array_add(a->lora_folders, found);
        else
            g_free(found);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(embedding_places); i++) {
        g_autofree char *found = place(folder, embedding_places[i]);

        if (found)
            inversions_add_folder(a->inversions, found);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(wildcard_places) && !a->wildcards; i++) {
        g_autofree char *found = place(folder, wildcard_places[i]);

        if (found)
            a->wildcards = wildcards_create(found);
    }
}

static void close_lora(gpointer lora)
{
    lora_close(lora);
}

struct add_ons *add_ons_create(char **folders)
{
    struct add_ons *a = g_new0(struct add_ons, 1);
    g_autofree char *own = g_build_filename(g_get_user_data_dir(), "figment", NULL);

    a->lora_folders = g_ptr_array_new_with_free_func(g_free);
    a->inversions = inversions_create();
    a->open = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, close_lora);
    look_into(a, own);
    for (char **folder = folders; folder && *folder; folder++)
        look_into(a, *folder);
    if (!a->wildcards)
        a->wildcards = wildcards_create(NULL);
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

static void collect(const char *folder, int depth, GPtrArray *paths)
{
    g_autoptr(GDir) dir = depth < DEPTH_MAX ? g_dir_open(folder, 0, NULL) : NULL;
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        char *path = g_build_filename(folder, name, NULL);

        if (g_str_has_suffix(name, ".safetensors")) {
            g_ptr_array_add(paths, path);
            continue;
        }
        if (name[0] != '.' && g_file_test(path, G_FILE_TEST_IS_DIR))
            collect(path, depth + 1, paths);
        g_free(path);
    }
}

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
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *like = NULL;

    for (guint i = 0; i < a->lora_folders->len; i++)
        collect(a->lora_folders->pdata[i], 0, paths);
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
    g_ptr_array_add(notices, like
                                 ? g_strdup_printf("There is no LoRA “%s” in your folders; did you "
                                                   "mean “%s”? The picture is made without it.",
                                                   name, like)
                                 : g_strdup_printf("There is no LoRA “%s” in your folders; the "
                                                   "picture is made without it.",
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
            g_ptr_array_add(notices, g_strdup_printf("<%s:%s> is of a kind that Figment does not "
                                                     "know; the picture is made without it.",
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
