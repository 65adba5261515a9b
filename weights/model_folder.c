/*
 * Models as diffusers saves them: a folder with model_index.json and a folder for each component.
 * Everything is opened relative to the folders' descriptors, by names that hold no slash: so a file
 * of the model cannot name one elsewhere. Symbolic links are followed (a Hugging Face cache is made
 * of them), but must lead to regular files.
 */
#include "weights/config.h"
#include "weights/model_private.h"
#include "weights/quote.h"
#include "weights/weights_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glib/gi18n-lib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_SHARDS = 256 };

static bool safe_name(const char *name)
{
    return g_regex_match_simple("^[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}$", name,
                                G_REGEX_DOLLAR_ENDONLY, 0);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names in a folder, sorted; NULL when it cannot be listed. */
static GPtrArray *list_folder(int dir_fd)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    for (struct dirent *entry; (entry = readdir(dir));)
        g_ptr_array_add(names, g_strdup(entry->d_name));
    closedir(dir);
    g_ptr_array_sort(names, compare_names);
    return names;
}

/* The first name that the pattern matches whole, or NULL. */
static const char *first_match(const GPtrArray *names, const char *format, const char *base)
{
    g_autofree char *escaped = g_regex_escape_string(base, -1);
    g_autofree char *pattern = g_strdup_printf(format, escaped);
    for (guint i = 0; i < names->len; i++)
        if (g_regex_match_simple(pattern, g_ptr_array_index(names, i), G_REGEX_DOLLAR_ENDONLY, 0))
            return g_ptr_array_index(names, i);
    return NULL;
}

/*
 * The file to read, in order of liking: the plain one, whole or in shards, then variants, half
 * precision first. "non_ema" weights are for training on.
 */
static const char *choose(const GPtrArray *names, const char *base)
{
    static const char *const formats[] = {
        "^%s\\.safetensors$",
        "^%s\\.safetensors\\.index\\.json$",
        "^%s\\.fp16\\.safetensors$",
        "^%s(\\.fp16\\.safetensors\\.index|\\.safetensors\\.index\\.fp16)\\.json$",
        "^%s\\.bf16\\.safetensors$",
        "^%s\\.(?!non_ema)[A-Za-z0-9_]+\\.safetensors$",
        "^%s(\\.\\w+\\.safetensors\\.index|\\.safetensors\\.index\\.\\w+)\\.json$",
        "^%s\\.non_ema\\.safetensors$",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        const char *name = first_match(names, formats[i], base);
        if (name)
            return name;
    }
    return NULL;
}

static void refuse_folder(const GPtrArray *names, const char *folder, const char *base,
                          GError **error)
{
    g_autofree char *quoted = weights_quote(folder, -1);
    const char *shard =
        first_match(names, "^%s(\\.[A-Za-z0-9_]+)?-[0-9]+-of-[0-9]+\\.safetensors$", base);
    const char *pickle = first_match(names, "%s.*\\.(bin|pt|pth|ckpt|pkl)$", base);
    if (shard) {
        g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_BAD_FILE,
                    _("Can't open %s: it holds %s, but not the index file that belongs to it "
                      "(%s.safetensors.index.json)."),
                    quoted, shard, base);
    } else if (pickle) {
        g_autofree char *path = g_strdup_printf("%s/%s", folder, pickle);
        g_autofree char *file = weights_quote(path, -1);
        g_set_error(
            error, WEIGHTS_ERROR, WEIGHTS_ERROR_UNSUPPORTED,
            _("Can't open %s: this is a PyTorch pickle file, which can run programs on your "
              "computer. "
              "Use a .safetensors version of the model."),
            file);
    } else {
        g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_NOT_FOUND,
                    _("Can't open %s: the folder holds no %s.safetensors."), quoted, base);
    }
}

static void add_all(struct weights *w, struct safetensors *st, char *(*rename)(const char *))
{
    weights_take_file(w, st);
    for (size_t i = 0; i < safetensors_count(st); i++) {
        const struct st_tensor *t = safetensors_tensor(st, i);
        g_autofree char *name = rename ? rename(t->name) : NULL;
        weights_add(w, name ? name : t->name, st, t, 0, 0, false);
    }
}

struct shards {
    int dir_fd;
    const char *folder, *index; /* for messages: "unet", "unet/….index.json" */
    struct weights *set;
    GHashTable *open; /* file name to struct safetensors; the set owns them */
    char *(*rename)(const char *);
};

static struct safetensors *open_shard(struct shards *s, const char *file, GError **error)
{
    struct safetensors *st = g_hash_table_lookup(s->open, file);
    if (st)
        return st;
    g_autofree char *index = weights_quote(s->index, -1);
    if (!safe_name(file)) {
        g_autofree char *quoted = weights_quote(file, -1);
        g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_BAD_FILE,
                    _("This model folder refers to a file outside itself (%s). It was not opened."),
                    quoted);
        return NULL;
    }
    if (g_hash_table_size(s->open) >= MAX_SHARDS) {
        g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_BAD_FILE,
                    _("Can't open %s: it lists more than %d files."), index, MAX_SHARDS);
        return NULL;
    }
    g_autofree char *label = g_strdup_printf("%s/%s", s->folder, file);
    st = safetensors_open_at(s->dir_fd, file, label, error);
    if (!st)
        return NULL;
    weights_take_file(s->set, st);
    g_hash_table_insert(s->open, g_strdup(file), st);
    return st;
}

static bool add_shards(struct shards *s, const json_t *root, GError **error)
{
    g_autofree char *index = weights_quote(s->index, -1);
    json_t *map = json_object_get(root, "weight_map"), *file;
    const char *name;
    if (!json_is_object(map)) {
        g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_BAD_FILE,
                    _("Can't open %s: it holds no list of tensors (“weight_map”)."), index);
        return false;
    }
    json_object_foreach(map, name, file)
    {
        g_autofree char *quoted = weights_quote(name, -1);
        if (!json_is_string(file)) {
            g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_BAD_FILE,
                        _("Can't open %s: the entry for %s is no file name."), index, quoted);
            return false;
        }
        struct safetensors *st = open_shard(s, json_string_value(file), error);
        const struct st_tensor *t = st ? safetensors_find(st, name) : NULL;
        if (st && !t)
            g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_MISMATCH,
                        _("Can't open %s: it lists %s in “%s”, which does not hold it."), index,
                        quoted, json_string_value(file));
        if (!t)
            return false;
        g_autofree char *other = s->rename ? s->rename(name) : NULL;
        weights_add(s->set, other ? other : name, st, t, 0, 0, false);
    }
    return true;
}

static bool read_shards(struct shards *s, const char *index, GError **error)
{
    g_autofree char *label = g_strdup_printf("%s/%s", s->folder, index);
    json_t *root = config_load(s->dir_fd, index, label, error);
    if (!root)
        return false;
    s->index = label;
    s->open = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    bool ok = add_shards(s, root, error);
    g_hash_table_unref(s->open);
    json_decref(root);
    return ok;
}

struct weights *folder_weights(int dir_fd, const char *folder, const char *base, const char *source,
                               char *(*rename)(const char *), GError **error)
{
    g_autoptr(GPtrArray) names = list_folder(dir_fd);
    const char *file = names ? choose(names, base) : NULL;
    if (!file) {
        g_autoptr(GPtrArray) none = g_ptr_array_new();
        refuse_folder(names ? names : none, folder, base, error);
        return NULL;
    }
    struct weights *w = weights_new(source);
    bool ok;
    if (g_str_has_suffix(file, ".json")) {
        struct shards s = {.dir_fd = dir_fd, .folder = folder, .set = w, .rename = rename};
        ok = read_shards(&s, file, error);
    } else {
        g_autofree char *label = g_strdup_printf("%s/%s", folder, file);
        struct safetensors *st = safetensors_open_at(dir_fd, file, label, error);
        ok = st != NULL;
        if (ok)
            add_all(w, st, rename);
    }
    if (ok) {
        weights_seal(w);
        return w;
    }
    weights_destroy(w);
    return NULL;
}

/* The class of a component in model_index.json; NULL when the model has none. */
static const char *component_class(const json_t *index, const char *name)
{
    return json_string_value(json_array_get(json_object_get(index, name), 1));
}

static bool check_classes(const struct model *m, GError **error)
{
    static const char *const known[MODEL_PARTS][3] = {
        {"UNet2DConditionModel"},
        {"AutoencoderKL", "AutoencoderTiny"},
        {"CLIPTextModel", "CLIPTextModelWithProjection"},
        {"CLIPTextModelWithProjection", "CLIPTextModel"},
    };
    bool ok = component_class(m->index, "unet") && component_class(m->index, "vae");
    for (int part = 0; part < MODEL_PARTS; part++) {
        const char *class = component_class(m->index, model_part_name(part));
        bool found = !class;
        for (int i = 0; i < 3 && !found && known[part][i]; i++)
            found = !strcmp(class, known[part][i]);
        ok &= found;
    }
    if (!ok) {
        g_autofree char *quoted = weights_quote(m->label, -1);
        const char *class = json_string_value(json_object_get(m->index, "_class_name"));
        g_autofree char *kind = class ? weights_escape(class, -1) : NULL;
        if (kind)
            g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_UNSUPPORTED,
                        _("%s is a %s model; this version supports SD 1.x, SD 2.x and SDXL."),
                        quoted, kind);
        else
            g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_UNSUPPORTED,
                        _("%s is a model of an unknown kind; this version supports SD 1.x, SD 2.x "
                          "and SDXL."),
                        quoted);
    }
    return ok;
}

static bool open_part(struct model *m, int dir_fd, enum model_part part, GError **error)
{
    const char *name = model_part_name(part);
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        g_autofree char *quoted = weights_quote(m->label, -1);
        g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_NOT_FOUND,
                    _("Can't open %s: its folder “%s” is missing."), quoted, name);
        return false;
    }
    bool text = part == MODEL_TEXT || part == MODEL_TEXT_2;
    m->config[part] = config_load(fd, "config.json", model_config_label(part), error);
    if (m->config[part])
        m->weights[part] =
            folder_weights(fd, name, text ? "model" : "diffusion_pytorch_model", m->label,
                           part == MODEL_VAE ? names_old_attention : NULL, error);
    close(fd);
    return m->weights[part] != NULL;
}

static char *tokenizer_folder(const struct model *m, int dir_fd, const char *name)
{
    g_autofree char *vocab = g_build_filename(name, "vocab.json", NULL);
    g_autofree char *merges = g_build_filename(name, "merges.txt", NULL);
    if (faccessat(dir_fd, vocab, R_OK, 0) || faccessat(dir_fd, merges, R_OK, 0))
        return NULL;
    return g_build_filename(m->path, name, NULL);
}

static bool open_scheduler(struct model *m, int dir_fd, GError **error)
{
    static const char name[] = "scheduler/scheduler_config.json";
    if (faccessat(dir_fd, name, F_OK, 0))
        return true;
    m->scheduler = config_load(dir_fd, name, name, error);
    return m->scheduler != NULL;
}

bool model_open_folder(struct model *m, GError **error)
{
    g_autofree char *quoted = weights_quote(m->label, -1);
    int fd = open(m->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_NOT_FOUND, _("Can't open %s: %s."), quoted,
                    errno == ENOENT ? _("there is no such file or folder") : g_strerror(errno));
        return false;
    }
    bool ok = false;
    if (faccessat(fd, "model_index.json", F_OK, 0)) {
        g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_NOT_FOUND,
                    _("Can't open %s: the folder holds no model_index.json."), quoted);
        goto out;
    }
    m->index = config_load(fd, "model_index.json", "model_index.json", error);
    if (!m->index || !check_classes(m, error) || !open_scheduler(m, fd, error))
        goto out;
    for (int part = 0; part < MODEL_PARTS; part++)
        if (component_class(m->index, model_part_name(part)) && !open_part(m, fd, part, error))
            goto out;
    m->tokenizer[0] = tokenizer_folder(m, fd, "tokenizer");
    m->tokenizer[1] = tokenizer_folder(m, fd, "tokenizer_2");
    m->family = model_family_of(m->config[MODEL_UNET]);
    ok = true;
out:
    close(fd);
    return ok;
}
