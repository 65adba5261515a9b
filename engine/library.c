#include "engine/library.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/engine.h"
#include "engine/save.h"
#include "engine/suggest.h"

#define JSON_BYTES_MAX ((goffset)16 << 20)
#define DEPTH_MAX 3 /* folders below a models folder */
#define HASH_DIGITS 10

void model_info_free(struct model_info *info)
{
    if (!info)
        return;
    g_free(info->name);
    g_free(info->path);
    g_free(info->family);
    g_free(info->problem);
    g_free(info->defaults.sampler);
    g_free(info->defaults.schedule);
    g_free(info);
}

/* ---- folders ---- */

char *library_data_folder(void)
{
    /* A package may lie elsewhere than where it was configured for: beside the program first. */
    g_autofree char *program = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *bin = program ? g_path_get_dirname(program) : NULL;
    g_autofree char *beside = bin ? g_build_filename(bin, "..", "share", "figment", NULL) : NULL;
    const char *candidates[] = {g_getenv("FIGMENT_DATA"), FIGMENT_SOURCE_ASSETS, beside,
                                FIGMENT_INSTALLED_DATA};

    for (gsize i = 0; i < G_N_ELEMENTS(candidates); i++) {
        g_autofree char *models =
            candidates[i] ? g_build_filename(candidates[i], "models", NULL) : NULL;

        if (models && g_file_test(models, G_FILE_TEST_IS_DIR))
            return g_strdup(candidates[i]);
    }
    return NULL;
}

char *library_models_folder(void)
{
    return g_build_filename(g_get_user_data_dir(), "figment", "models", NULL);
}

char *library_pictures_folder(void)
{
    const char *pictures = g_get_user_special_dir(G_USER_DIRECTORY_PICTURES);
    g_autofree char *fallback = g_build_filename(g_get_home_dir(), "Pictures", NULL);

    return g_build_filename(pictures ? pictures : fallback, "Figment", NULL);
}

/* ---- what a model is ---- */

static json_t *read_json(const char *folder, const char *name)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    json_t *json = NULL;

    if (fd < 0)
        return NULL;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= JSON_BYTES_MAX)
        json = json_loadfd(fd, JSON_REJECT_DUPLICATES, NULL);
    close(fd);
    return json;
}

static int member_int(const json_t *object, const char *name)
{
    return (int)json_integer_value(json_object_get(object, name));
}

/* The model's own wishes: figment.json, else the size its U-Net was trained at. */
static void read_defaults(struct model_info *info, const json_t *unet)
{
    json_t *own = read_json(info->path, "figment.json"),
           *vae = read_json(info->path, "vae/config.json");
    struct model_defaults *d = &info->defaults;
    size_t levels = json_array_size(json_object_get(vae, "block_out_channels"));
    int sample = member_int(unet, "sample_size");

    if (levels >= 1 && levels <= 6 && sample > 0 && sample <= 512)
        d->width = d->height = sample << (levels - 1);
    if (member_int(own, "width"))
        d->width = member_int(own, "width");
    if (member_int(own, "height"))
        d->height = member_int(own, "height");
    d->steps = member_int(own, "steps");
    d->clip_skip = member_int(own, "clip_skip");
    d->cfg = json_number_value(json_object_get(own, "cfg"));
    d->sampler = g_strdup(json_string_value(json_object_get(own, "sampler")));
    d->schedule = g_strdup(json_string_value(json_object_get(own, "schedule")));
    d->width = d->width ? CLAMP(d->width / 8 * 8, 64, 4096) : 0;
    d->height = d->height ? CLAMP(d->height / 8 * 8, 64, 4096) : 0;
    d->steps = CLAMP(d->steps, 0, 500);
    d->cfg = CLAMP(d->cfg, 0, 50);
    json_decref(own);
    json_decref(vae);
}

static uint64_t tree_bytes(const char *path, int depth)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;
    uint64_t bytes = 0;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *child = g_build_filename(path, name, NULL);
        struct stat st;

        if (stat(child, &st) != 0)
            continue;
        if (S_ISDIR(st.st_mode) && depth > 0)
            bytes += tree_bytes(child, depth - 1);
        else if (S_ISREG(st.st_mode))
            bytes += (uint64_t)st.st_size;
    }
    return bytes;
}

static const char *family_of(const json_t *unet)
{
    switch (member_int(unet, "cross_attention_dim")) {
    case 768:
        return "SD 1.x";
    case 1024:
        return "SD 2.x";
    case 2048:
        return "SDXL";
    default:
        return NULL;
    }
}

static struct model_info *from_folder(const char *path)
{
    struct model_info *info = g_new0(struct model_info, 1);
    json_t *index = read_json(path, "model_index.json"),
           *unet = read_json(path, "unet/config.json");

    info->path = g_strdup(path);
    info->name = g_path_get_basename(path);
    info->folder = true;
    info->bytes = tree_bytes(path, 1);
    info->family = g_strdup(family_of(unet));
    if (!index)
        info->problem = g_strdup("its model_index.json can't be read");
    else if (!unet)
        info->problem = g_strdup("it has no unet/config.json");
    read_defaults(info, unet);
    json_decref(index);
    json_decref(unet);
    return info;
}

static struct model_info *from_file(const char *path)
{
    struct model_info *info = g_new0(struct model_info, 1);
    struct stat st;
    char *dot;

    info->path = g_strdup(path);
    info->name = g_path_get_basename(path);
    if ((dot = strrchr(info->name, '.')))
        *dot = '\0';
    if (stat(path, &st) == 0)
        info->bytes = (uint64_t)st.st_size;
    return info;
}

static bool is_model_folder(const char *path)
{
    g_autofree char *index = g_build_filename(path, "model_index.json", NULL);

    return g_file_test(index, G_FILE_TEST_IS_REGULAR);
}

/* ---- lists ---- */

/* Folders of A1111 and ComfyUI that hold parts, not whole models. */
static bool is_parts_folder(const char *name)
{
    static const char *const parts[] = {
        "vae",
        "VAE",
        "Lora",
        "loras",
        "LyCORIS",
        "embeddings",
        "ControlNet",
        "controlnet",
        "clip",
        "unet",
        "text_encoders",
        "clip_vision",
        "vae_approx",
        "VAE-approx",
        "ESRGAN",
        "upscale_models",
        "hypernetworks",
        "RealESRGAN",
        "SwinIR",
        "inpaint",
        "prompt_expansion",
    };

    for (gsize i = 0; i < G_N_ELEMENTS(parts); i++)
        if (strcmp(name, parts[i]) == 0)
            return true;
    return false;
}

static void scan(GPtrArray *list, const char *path, int depth)
{
    g_autoptr(GDir) dir = NULL;
    const char *name;

    if (is_model_folder(path)) {
        g_ptr_array_add(list, from_folder(path));
        return;
    }
    if (depth < 0 || !(dir = g_dir_open(path, 0, NULL)))
        return;
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *child = g_build_filename(path, name, NULL);

        if (name[0] == '.')
            continue;
        if (g_file_test(child, G_FILE_TEST_IS_DIR)) {
            if (!is_parts_folder(name))
                scan(list, child, depth - 1);
        } else if (g_str_has_suffix(name, ".safetensors") &&
                   !g_str_has_suffix(name, ".vae.safetensors") &&
                   g_file_test(child, G_FILE_TEST_IS_REGULAR)) {
            g_ptr_array_add(list, from_file(child));
        }
    }
}

static int by_name(gconstpointer a, gconstpointer b)
{
    const struct model_info *x = *(struct model_info *const *)a,
                            *y = *(struct model_info *const *)b;

    if (x->bundled != y->bundled)
        return x->bundled ? -1 : 1;
    return g_utf8_collate(x->name, y->name);
}

GPtrArray *library_list(char **folders)
{
    GPtrArray *list = g_ptr_array_new_with_free_func((GDestroyNotify)model_info_free);
    g_autofree char *data = library_data_folder(), *own = library_models_folder();

    if (data) {
        g_autofree char *models = g_build_filename(data, "models", NULL);

        scan(list, models, DEPTH_MAX);
        for (guint i = 0; i < list->len; i++)
            ((struct model_info *)list->pdata[i])->bundled = true;
    }
    scan(list, own, DEPTH_MAX);
    for (char **folder = folders; folder && *folder; folder++)
        scan(list, *folder, DEPTH_MAX);
    g_ptr_array_sort(list, by_name);
    return list;
}

/* ---- finding ---- */

static struct model_info *from_path(const char *path, GError **error)
{
    g_autofree char *absolute = g_canonicalize_filename(path, NULL);

    if (is_model_folder(absolute))
        return from_folder(absolute);
    if (g_file_test(absolute, G_FILE_TEST_IS_DIR)) {
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_MODEL,
                    "“%s” is no model: the folder has no model_index.json.", path);
        return NULL;
    }
    return from_file(absolute);
}

static void fail_unknown(GPtrArray *list, const char *name, GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    g_autofree char *meant = NULL, *all = NULL;

    for (guint i = 0; i < list->len; i++)
        g_ptr_array_add(names, ((struct model_info *)list->pdata[i])->name);
    meant = suggest(name, (const char *const *)names->pdata, names->len);
    g_ptr_array_add(names, NULL);
    all = g_strjoinv(", ", (char **)names->pdata);
    if (meant)
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_MODEL,
                    "There is no model “%s”; did you mean “%s”?", name, meant);
    else if (list->len)
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_MODEL,
                    "There is no model “%s”. There is: %s.", name, all);
    else
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_MODEL,
                    "There is no model “%s”, and none at all yet: put a diffusers folder or a "
                    ".safetensors file into the models folder.",
                    name);
}

struct model_info *library_find(char **folders, const char *name, GError **error)
{
    g_autoptr(GPtrArray) list = NULL;

    if (name && *name &&
        (strchr(name, '/') || g_str_has_suffix(name, ".safetensors") ||
         g_file_test(name, G_FILE_TEST_EXISTS))) {
        if (g_file_test(name, G_FILE_TEST_EXISTS))
            return from_path(name, error);
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_MODEL, "There is no model at “%s”.", name);
        return NULL;
    }
    list = library_list(folders);
    if ((!name || !*name) && list->len)
        return g_ptr_array_steal_index(list, 0);
    for (guint i = 0; name && i < list->len; i++) {
        struct model_info *info = list->pdata[i];

        if (strcmp(info->name, name) == 0)
            return g_ptr_array_steal_index(list, i);
    }
    fail_unknown(list, name && *name ? name : "starter", error);
    return NULL;
}

/* ---- hashes ---- */

static char *hash_file(const char *path, const int *cancel)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    g_autofree guint8 *buffer = g_malloc(1 << 20);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n;

    if (fd < 0)
        return NULL;
    while ((n = read(fd, buffer, 1 << 20)) > 0 || (n < 0 && errno == EINTR)) {
        if (n > 0)
            g_checksum_update(sum, buffer, n);
        if (cancel && g_atomic_int_get(cancel)) {
            n = -1;
            break;
        }
    }
    close(fd);
    return n < 0 ? NULL : g_strndup(g_checksum_get_string(sum), HASH_DIGITS);
}

/* The file whose hash names the model. */
static char *hashed_file(const char *path)
{
    static const char *const names[] = {
        "unet/diffusion_pytorch_model.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
    };

    if (!g_file_test(path, G_FILE_TEST_IS_DIR))
        return g_strdup(path);
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        char *file = g_build_filename(path, names[i], NULL);

        if (g_file_test(file, G_FILE_TEST_IS_REGULAR))
            return file;
        g_free(file);
    }
    return NULL;
}

char *library_hash(const char *path, bool cached_only, const int *cancel)
{
    g_autofree char *file = hashed_file(path), *cache = NULL, *folder = NULL, *group = NULL;
    g_autoptr(GKeyFile) keys = g_key_file_new();
    g_autofree char *text = NULL, *hash = NULL;
    struct stat st;
    gsize length;

    if (!file || stat(file, &st) != 0 || !S_ISREG(st.st_mode))
        return NULL;
    folder = g_build_filename(g_get_user_cache_dir(), "figment", NULL);
    cache = g_build_filename(folder, "hashes.ini", NULL);
    group = g_strdup_printf("%ju.%ju.%jd.%ld.%jd", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino,
                            (intmax_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, (intmax_t)st.st_size);
    g_key_file_load_from_file(keys, cache, G_KEY_FILE_NONE, NULL);
    hash = g_key_file_get_string(keys, group, "sha256", NULL);
    if (hash || cached_only || !(hash = hash_file(file, cancel)))
        return g_steal_pointer(&hash);
    g_key_file_set_string(keys, group, "sha256", hash);
    text = g_key_file_to_data(keys, &length, NULL);
    if (g_mkdir_with_parents(folder, 0700) == 0) {
        g_autoptr(GBytes) bytes = g_bytes_new(text, length);

        save_bytes(cache, bytes, true, NULL); /* a cache: the next run computes it again */
    }
    return g_steal_pointer(&hash);
}
