#include "engine/library.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gi18n-lib.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/engine.h"
#include "engine/facts.h"
#include "engine/places.h"
#include "engine/suggest.h"
#include "weights/model.h"

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
    g_free(info->kind);
    g_free(info->precision);
    g_free(info->sha256);
    g_free(info->preview);
    g_free(info->defaults.sampler);
    g_free(info->defaults.schedule);
    g_free(info);
}

/* ---- folders ---- */

char *library_data_folder(void)
{
    /* A package may lie elsewhere than where it was configured for: beside the program first. */
    g_autofree char *beside = places_beside("figment");
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

static void take_facts(struct model_info *info, struct facts_cache *cache)
{
    struct facts facts;

    facts_of(cache, info->path, &facts);
    info->family = g_steal_pointer(&facts.family);
    info->kind = g_steal_pointer(&facts.kind);
    info->precision = g_steal_pointer(&facts.precision);
    info->sha256 = g_steal_pointer(&facts.sha256);
    info->parameters = facts.parameters;
    info->unet_parameters = facts.unet_parameters;
    if (!info->problem)
        info->problem = g_steal_pointer(&facts.problem);
    if (!info->folder)
        info->defaults.width = info->defaults.height = facts.side;
    facts_clear(&facts);
}

/* A picture of the same name beside it, as A1111 shows in its lists. */
static char *preview_of(const struct model_info *info)
{
    static const char *const endings[] = {".preview.png", ".png",  ".preview.jpg", ".jpg",
                                          ".jpeg",        ".webp", ".preview.webp"};
    const char *dot = info->folder ? NULL : strrchr(info->path, '.');
    g_autofree char *stem =
        dot ? g_strndup(info->path, (gsize)(dot - info->path)) : g_strdup(info->path);

    for (gsize i = 0; i < G_N_ELEMENTS(endings); i++) {
        char *file = g_strconcat(stem, endings[i], NULL);

        if (g_file_test(file, G_FILE_TEST_IS_REGULAR))
            return file;
        g_free(file);
    }
    return NULL;
}

static struct model_info *from_folder(const char *path, struct facts_cache *cache)
{
    struct model_info *info = g_new0(struct model_info, 1);
    json_t *index = read_json(path, "model_index.json"),
           *unet = read_json(path, "unet/config.json");

    info->path = g_strdup(path);
    info->name = g_path_get_basename(path);
    info->folder = true;
    info->bytes = tree_bytes(path, 1);
    if (!index)
        info->problem = g_strdup(_("its model_index.json can't be read"));
    else if (!unet)
        info->problem = g_strdup(_("it has no unet/config.json"));
    read_defaults(info, unet);
    take_facts(info, cache);
    info->preview = preview_of(info);
    json_decref(index);
    json_decref(unet);
    return info;
}

static struct model_info *from_file(const char *path, struct facts_cache *cache)
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
    take_facts(info, cache);
    info->preview = preview_of(info);
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

struct scan {
    GPtrArray *list; /* struct model_info */
    struct facts_cache *cache;
};

static bool is_listed(const struct scan *scan, const char *path)
{
    for (guint i = 0; i < scan->list->len; i++)
        if (strcmp(((struct model_info *)scan->list->pdata[i])->path, path) == 0)
            return true;
    return false;
}

static void scan_folder(struct scan *scan, const char *path, int depth);

/* A repository of a Hugging Face cache: a diffusers folder, or single files. */
static void scan_cached(struct scan *scan, const char *path)
{
    g_autofree char *snapshot = model_cache_snapshot(path);

    if (!snapshot)
        return;
    if (!is_model_folder(snapshot)) {
        scan_folder(scan, snapshot, 0);
    } else if (!is_listed(scan, snapshot)) {
        struct model_info *info = from_folder(snapshot, scan->cache);

        g_free(info->name);
        info->name = model_cache_label(path);
        g_ptr_array_add(scan->list, info);
    }
}

static void scan_folder(struct scan *scan, const char *path, int depth)
{
    g_autoptr(GDir) dir = NULL;
    const char *name;

    if (is_model_folder(path)) {
        if (!is_listed(scan, path))
            g_ptr_array_add(scan->list, from_folder(path, scan->cache));
        return;
    }
    if (depth < 0 || !(dir = g_dir_open(path, 0, NULL)))
        return;
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *child = g_build_filename(path, name, NULL);

        if (name[0] == '.')
            continue;
        if (g_file_test(child, G_FILE_TEST_IS_DIR)) {
            if (g_str_has_prefix(name, "models--"))
                scan_cached(scan, child);
            else if (!is_parts_folder(name))
                scan_folder(scan, child, depth - 1);
        } else if (g_str_has_suffix(name, ".safetensors") &&
                   !g_str_has_suffix(name, ".vae.safetensors") &&
                   g_file_test(child, G_FILE_TEST_IS_REGULAR) && !is_listed(scan, child)) {
            g_ptr_array_add(scan->list, from_file(child, scan->cache));
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

static struct scan scan_begin(void)
{
    return (struct scan){g_ptr_array_new_with_free_func((GDestroyNotify)model_info_free),
                         facts_open()};
}

static GPtrArray *scan_end(struct scan *scan)
{
    facts_close(scan->cache);
    g_ptr_array_sort(scan->list, by_name);
    return scan->list;
}

static void scan_bundled(struct scan *scan)
{
    g_autofree char *data = library_data_folder();
    g_autofree char *models = data ? g_build_filename(data, "models", NULL) : NULL;

    if (models)
        scan_folder(scan, models, DEPTH_MAX);
    for (guint i = 0; i < scan->list->len; i++)
        ((struct model_info *)scan->list->pdata[i])->bundled = true;
}

GPtrArray *library_list(char **folders)
{
    g_autoptr(GPtrArray) checkpoints = places_find(folders, PLACE_CHECKPOINTS);
    g_autofree char *own = library_models_folder();
    struct scan scan = scan_begin();

    scan_bundled(&scan);
    scan_folder(&scan, own, DEPTH_MAX);
    for (guint i = 0; i < checkpoints->len; i++)
        scan_folder(&scan, checkpoints->pdata[i], DEPTH_MAX);
    return scan_end(&scan);
}

/* The bundled ones come first in every list: who wants one of them need not wait for all others. */
static GPtrArray *list_bundled(void)
{
    struct scan scan = scan_begin();

    scan_bundled(&scan);
    return scan_end(&scan);
}

/* ---- finding ---- */

static struct model_info *from_path(const char *path, GError **error)
{
    g_autofree char *absolute = g_canonicalize_filename(path, NULL);
    g_autofree char *snapshot = model_cache_snapshot(absolute);
    bool folder = is_model_folder(snapshot ? snapshot : absolute);
    struct model_info *info = NULL;

    if (folder || !g_file_test(absolute, G_FILE_TEST_IS_DIR)) {
        struct facts_cache *cache = facts_open();

        info = folder ? from_folder(snapshot ? snapshot : absolute, cache)
                      : from_file(absolute, cache);
        facts_close(cache);
    } else {
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_MODEL,
                    _("“%s” is no model: the folder has no model_index.json."), path);
    }
    return info;
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
                    _("There is no model “%s”; did you mean “%s”?"), name, meant);
    else if (list->len)
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_MODEL,
                    _("There is no model “%s”. There is: %s."), name, all);
    else
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_MODEL,
                    _("There is no model “%s”, and none at all yet: put a diffusers folder or a "
                      ".safetensors file into the models folder."),
                    name);
}

/* The first of that name, or the first of all; NULL. */
static struct model_info *pick(GPtrArray *list, const char *name)
{
    for (guint i = 0; i < list->len; i++)
        if (!name || !*name || strcmp(((struct model_info *)list->pdata[i])->name, name) == 0)
            return g_ptr_array_steal_index(list, i);
    return NULL;
}

struct model_info *library_find(char **folders, const char *name, GError **error)
{
    g_autoptr(GPtrArray) bundled = NULL, list = NULL;
    struct model_info *info;

    if (name && *name &&
        (strchr(name, '/') || g_str_has_suffix(name, ".safetensors") ||
         g_file_test(name, G_FILE_TEST_EXISTS))) {
        if (g_file_test(name, G_FILE_TEST_EXISTS))
            return from_path(name, error);
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_MODEL, _("There is no model at “%s”."), name);
        return NULL;
    }
    bundled = list_bundled();
    if ((info = pick(bundled, name)))
        return info;
    list = library_list(folders);
    if ((info = pick(list, name)))
        return info;
    fail_unknown(list, name && *name ? name : "starter", error);
    return NULL;
}

struct model_info *library_match(char **folders, const char *name, const char *hash)
{
    g_autoptr(GPtrArray) list = library_list(folders);

    for (guint i = 0; hash && strlen(hash) >= HASH_DIGITS && i < list->len; i++) {
        const struct model_info *info = list->pdata[i];

        if (info->sha256 && g_ascii_strncasecmp(info->sha256, hash, HASH_DIGITS) == 0)
            return g_ptr_array_steal_index(list, i);
    }
    return name && *name ? pick(list, name) : NULL;
}

/* ---- hashes ---- */

char *library_hash(const char *path, bool cached_only, const int *cancel)
{
    char *hash = facts_sha256(path, cached_only, cancel);

    if (hash)
        hash[HASH_DIGITS] = '\0';
    return hash;
}

/* ---- memory ---- */

#define WORK_BYTES ((uint64_t)600 << 20)       /* at 512 x 512, the program itself included */
#define WORK_BYTES_SDXL ((uint64_t)1700 << 20) /* at 1024 x 1024 */

uint64_t library_needs(const struct model_info *info)
{
    bool large = info->family && g_str_has_prefix(info->family, "SDXL");

    return info->unet_parameters
               ? info->unet_parameters * 2 + (large ? WORK_BYTES_SDXL : WORK_BYTES)
               : 0;
}
