#include "engine/places.h"

#include <stdbool.h>
#include <string.h>

#define DEPTH_MAX 4 /* folders below one of these */
#define YAML_BYTES_MAX (1 << 20)

/* Where things of a kind lie, seen from the program's folder, its models, or its checkpoints. */
static const char *const places[PLACE_KINDS][10] = {
    [PLACE_CHECKPOINTS] = {"models/Stable-diffusion", "models/checkpoints", "models/diffusers",
                           "Stable-diffusion", "checkpoints", "diffusers"},
    [PLACE_VAES] = {"vae", "VAE", "models/VAE", "models/vae", "../VAE", "../vae"},
    [PLACE_TAESD] = {"vae_approx", "VAE-approx", "models/VAE-approx", "models/vae_approx",
                     "../VAE-approx", "../vae_approx"},
    [PLACE_LORAS] = {"loras", "Lora", "LyCORIS", "models/Lora", "models/LyCORIS", "models/loras",
                     "../Lora", "../LyCORIS", "../loras"},
    [PLACE_EMBEDDINGS] = {"embeddings", "models/embeddings", "../embeddings", "../../embeddings"},
    [PLACE_WILDCARDS] = {"wildcards", "../wildcards", "extensions/sd-dynamic-prompts/wildcards",
                         "../../extensions/sd-dynamic-prompts/wildcards"},
};

/* Their names in ComfyUI's extra_model_paths.yaml. */
static const char *const yaml_keys[PLACE_KINDS] = {
    [PLACE_CHECKPOINTS] = "checkpoints", [PLACE_VAES] = "vae",
    [PLACE_TAESD] = "vae_approx",        [PLACE_LORAS] = "loras",
    [PLACE_EMBEDDINGS] = "embeddings",
};

char *places_beside(const char *name)
{
    g_autofree char *program = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *bin = program ? g_path_get_dirname(program) : NULL;

    return bin ? g_build_filename(bin, "..", "share", name, NULL) : NULL;
}

/* Adds an existing folder that is not there yet; false when there is none. */
static bool add_folder(GPtrArray *list, const char *base, const char *name)
{
    g_autofree char *path = g_build_filename(base, name, NULL);
    char *whole = g_canonicalize_filename(path, NULL);

    if (g_file_test(whole, G_FILE_TEST_IS_DIR)) {
        if (g_ptr_array_find_with_equal_func(list, whole, g_str_equal, NULL))
            g_free(whole);
        else
            g_ptr_array_add(list, whole);
        return true;
    }
    g_free(whole);
    return false;
}

/* ---- extra_model_paths.yaml: sections of "key: value", values of one line or of several ---- */

struct yaml {
    const char *folder; /* of the file: relative paths start there */
    const char *key;    /* wanted */
    char *base;         /* base_path of the section */
    GPtrArray *values;  /* wanted ones of the section: base_path may come after them */
    GPtrArray *list;
};

/* Without comment, quotes and spaces around. g_free(). */
static char *yaml_value(const char *text)
{
    char *value = g_strstrip(g_strdup(text));
    char *comment = strstr(value, " #");
    size_t n;

    if (comment)
        *comment = '\0';
    g_strstrip(value);
    n = strlen(value);
    if (n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n - 1] == value[0]) {
        value[n - 1] = '\0';
        memmove(value, value + 1, n - 1);
    }
    return value;
}

static char *expand_home(const char *path)
{
    return path[0] == '~' && (path[1] == '/' || !path[1])
               ? g_strconcat(g_get_home_dir(), path + 1, NULL)
               : g_strdup(path);
}

static void end_section(struct yaml *y)
{
    g_autofree char *home = y->base ? expand_home(y->base) : NULL;
    g_autofree char *base = home ? g_canonicalize_filename(home, y->folder) : g_strdup(y->folder);

    for (guint i = 0; i < y->values->len; i++) {
        g_autofree char *path = expand_home(y->values->pdata[i]);

        if (g_path_is_absolute(path))
            add_folder(y->list, path, "");
        else
            add_folder(y->list, base, path);
    }
    g_ptr_array_set_size(y->values, 0);
    g_clear_pointer(&y->base, g_free);
}

static void read_line(struct yaml *y, const char *line, bool *in_block, size_t *block_indent)
{
    size_t indent = strspn(line, " ");
    const char *colon = strchr(line, ':');
    g_autofree char *value = NULL, *key = NULL;

    if (line[indent] == '#' || !line[indent])
        return;
    if (*in_block && indent > *block_indent) { /* a line of a value of several */
        g_ptr_array_add(y->values, yaml_value(line));
        return;
    }
    *in_block = false;
    if (!colon)
        return;
    key = g_strstrip(g_strndup(line, (gsize)(colon - line)));
    value = yaml_value(colon + 1);
    if (indent == 0) {
        end_section(y);
        return;
    }
    if (strcmp(key, "base_path") == 0) {
        g_free(y->base);
        y->base = g_steal_pointer(&value);
    } else if (strcmp(key, y->key) == 0) {
        *in_block = strcmp(value, "|") == 0 || strcmp(value, ">") == 0 || !*value;
        *block_indent = indent;
        if (!*in_block)
            g_ptr_array_add(y->values, g_steal_pointer(&value));
    }
}

static void read_yaml(GPtrArray *list, const char *folder, enum place_kind kind)
{
    g_autofree char *path = g_build_filename(folder, "extra_model_paths.yaml", NULL);
    g_autofree char *text = NULL;
    struct yaml y = {.folder = folder, .key = yaml_keys[kind], .list = list};
    g_auto(GStrv) lines = NULL;
    bool in_block = false;
    size_t block_indent = 0;
    gsize length;

    if (!y.key || !g_file_test(path, G_FILE_TEST_IS_REGULAR) ||
        !g_file_get_contents(path, &text, &length, NULL) || length > YAML_BYTES_MAX ||
        !g_utf8_validate(text, (gssize)length, NULL))
        return;
    y.values = g_ptr_array_new_with_free_func(g_free);
    lines = g_strsplit_set(text, "\n\r", -1);
    for (char **line = lines; *line; line++)
        read_line(&y, *line, &in_block, &block_indent);
    end_section(&y);
    g_ptr_array_unref(y.values);
}

/* ---- folders ---- */

static void look_into(GPtrArray *list, const char *folder, enum place_kind kind)
{
    g_autofree char *above = g_path_get_dirname(folder), *top = g_path_get_dirname(above);
    bool found = false;

    for (gsize i = 0; i < G_N_ELEMENTS(places[kind]) && places[kind][i]; i++)
        found |= add_folder(list, folder, places[kind][i]);
    if (kind == PLACE_CHECKPOINTS && !found)
        add_folder(list, folder, "");
    read_yaml(list, folder, kind);
    read_yaml(list, above, kind);
    read_yaml(list, top, kind);
}

GPtrArray *places_find(char **folders, enum place_kind kind)
{
    GPtrArray *list = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *own = g_build_filename(g_get_user_data_dir(), "figment", NULL);
    g_auto(GStrv) usual = places_usual();

    if (kind != PLACE_CHECKPOINTS)
        look_into(list, own, kind);
    for (char **folder = folders; folder && *folder; folder++)
        look_into(list, *folder, kind);
    for (char **folder = usual; *folder; folder++)
        look_into(list, *folder, kind);
    return list;
}

char **places_usual(void)
{
    static const char *const names[] = {"stable-diffusion-webui", "stable-diffusion-webui-forge",
                                        "ComfyUI", "Fooocus"};
    const char *home = g_get_home_dir(), *hub = g_getenv("HF_HUB_CACHE"), *hf = g_getenv("HF_HOME");
    g_autofree char *cache =
        hub  ? g_strdup(hub)
        : hf ? g_build_filename(hf, "hub", NULL)
             : g_build_filename(g_get_user_cache_dir(), "huggingface", "hub", NULL);
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(g_free);

    for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
        add_folder(list, home, names[i]);
    add_folder(list, cache, "");
    g_ptr_array_add(list, NULL);
    return (char **)g_ptr_array_steal(list, NULL);
}

GPtrArray *places_styles(char **folders)
{
    static const char *const above[] = {"styles.csv", "../styles.csv", "../../styles.csv"};
    GPtrArray *list = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *own = g_build_filename(g_get_user_data_dir(), "figment", "styles.csv", NULL);
    g_auto(GStrv) usual = places_usual();

    g_ptr_array_add(list, g_steal_pointer(&own));
    for (int k = 0; k < 2; k++)
        for (char **folder = k ? usual : folders; folder && *folder; folder++)
            for (gsize i = 0; i < (k ? 1 : G_N_ELEMENTS(above)); i++) {
                g_autofree char *path = g_build_filename(*folder, above[i], NULL);
                char *whole = g_canonicalize_filename(path, NULL);

                if (g_ptr_array_find_with_equal_func(list, whole, g_str_equal, NULL))
                    g_free(whole);
                else
                    g_ptr_array_add(list, whole);
            }
    for (guint i = list->len; i-- > 0;)
        if (!g_file_test(list->pdata[i], G_FILE_TEST_IS_REGULAR))
            g_ptr_array_remove_index(list, i);
    return list;
}

static void collect(const char *folder, int depth, const char *suffix, GPtrArray *files)
{
    g_autoptr(GDir) dir = depth < DEPTH_MAX ? g_dir_open(folder, 0, NULL) : NULL;
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        char *path = g_build_filename(folder, name, NULL);

        if (g_str_has_suffix(name, suffix)) {
            g_ptr_array_add(files, path);
            continue;
        }
        if (name[0] != '.' && g_file_test(path, G_FILE_TEST_IS_DIR))
            collect(path, depth + 1, suffix, files);
        g_free(path);
    }
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

GPtrArray *places_files(const GPtrArray *folders, const char *suffix)
{
    GPtrArray *files = g_ptr_array_new_with_free_func(g_free);

    for (guint i = 0; i < folders->len; i++) {
        g_autoptr(GPtrArray) some = g_ptr_array_new();

        collect(folders->pdata[i], 0, suffix, some);
        g_ptr_array_sort(some, by_text);
        for (guint k = 0; k < some->len; k++)
            g_ptr_array_add(files, some->pdata[k]);
    }
    return files;
}
