#include "engine/facts.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gi18n-lib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/save.h"
#include "weights/model.h"

#define VERSION 1 /* of the facts: others are made again */
#define HASH_BLOCK (1 << 20)

struct facts_cache {
    GKeyFile *known, *fresh; /* fresh: not saved yet */
};

static GMutex saving; /* over reading, merging and writing the file */

void facts_clear(struct facts *f)
{
    g_free(f->family);
    g_free(f->kind);
    g_free(f->precision);
    g_free(f->problem);
    g_free(f->sha256);
    memset(f, 0, sizeof *f);
}

/* ---- the file ---- */

static char *cache_file(void)
{
    return g_build_filename(g_get_user_cache_dir(), "figment", "models.ini", NULL);
}

/* The file whose numbers name the model. */
static char *main_file(const char *path)
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

/* NULL when there is no such file. */
static char *group_of(const char *file)
{
    struct stat st;

    if (!file || stat(file, &st) != 0 || !S_ISREG(st.st_mode))
        return NULL;
    return g_strdup_printf("%ju.%ju.%jd.%ld.%jd", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino,
                           (intmax_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, (intmax_t)st.st_size);
}

static GKeyFile *load(void)
{
    g_autofree char *path = cache_file();
    GKeyFile *keys = g_key_file_new();

    g_key_file_load_from_file(keys, path, G_KEY_FILE_NONE, NULL);
    return keys;
}

static void merge(GKeyFile *from, GKeyFile *to)
{
    g_auto(GStrv) groups = g_key_file_get_groups(from, NULL);

    for (char **group = groups; *group; group++) {
        g_auto(GStrv) keys = g_key_file_get_keys(from, *group, NULL, NULL);

        for (char **key = keys; key && *key; key++) {
            g_autofree char *value = g_key_file_get_value(from, *group, *key, NULL);

            g_key_file_set_value(to, *group, *key, value);
        }
    }
}

/* Others may have written since: only what is new is laid over what is there. */
static void save(GKeyFile *fresh)
{
    g_autofree char *path = cache_file();
    g_autoptr(GKeyFile) all = NULL;

    g_mutex_lock(&saving);
    all = load();
    merge(fresh, all);
    save_cache(path, all);
    g_mutex_unlock(&saving);
}

struct facts_cache *facts_open(void)
{
    struct facts_cache *cache = g_new0(struct facts_cache, 1);

    cache->known = load();
    cache->fresh = g_key_file_new();
    return cache;
}

void facts_close(struct facts_cache *cache)
{
    g_auto(GStrv) groups = g_key_file_get_groups(cache->fresh, NULL);

    if (*groups)
        save(cache->fresh);
    g_key_file_unref(cache->known);
    g_key_file_unref(cache->fresh);
    g_free(cache);
}

/* ---- facts ---- */

static void put(GKeyFile *keys, const char *group, const char *key, const char *value)
{
    if (value)
        g_key_file_set_string(keys, group, key, value);
}

static const char *kind_of(const struct model *m)
{
    json_int_t in = json_integer_value(json_object_get(m->config[MODEL_UNET], "in_channels"));
    const char *prediction = json_string_value(json_object_get(m->scheduler, "prediction_type"));

    return in == 9                                      ? "inpainting"
           : in == 8                                    ? "instruct"
           : g_strcmp0(prediction, "v_prediction") == 0 ? "v-prediction"
                                                        : NULL;
}

static int side_of(const struct model *m, const char *kind)
{
    if (m->family == MODEL_SDXL || m->family == MODEL_SDXL_REFINER)
        return 1024;
    if (m->family == MODEL_SD2 && g_strcmp0(kind, "v-prediction") == 0)
        return 768;
    return m->family == MODEL_OTHER ? 0 : 512;
}

/* What a sentence is kept with: another language examines the file again. */
static const char *language(void)
{
    /* Translators: the code of your language, as "de". */
    return _("en");
}

static void examine(const char *path, GKeyFile *keys, const char *group)
{
    g_autoptr(GError) error = NULL;
    struct model *m = model_open(path, &error);
    uint64_t all = 0;

    g_key_file_set_integer(keys, group, "version", VERSION);
    if (!m) {
        put(keys, group, "problem", error->message);
        put(keys, group, "language", language());
        return;
    }
    if (m->family != MODEL_OTHER)
        put(keys, group, "family", model_family_name(m->family));
    put(keys, group, "kind", kind_of(m));
    for (int i = 0; i < MODEL_PARTS; i++)
        if (m->weights[i])
            all += weights_parameters(m->weights[i]);
    if (m->weights[MODEL_UNET]) {
        put(keys, group, "precision", dtype_name(weights_main_dtype(m->weights[MODEL_UNET])));
        g_key_file_set_uint64(keys, group, "unet", weights_parameters(m->weights[MODEL_UNET]));
    }
    g_key_file_set_uint64(keys, group, "parameters", all);
    g_key_file_set_integer(keys, group, "side", side_of(m, kind_of(m)));
    model_close(m);
}

static bool is_current(GKeyFile *keys, const char *group)
{
    g_autofree char *said_in = g_key_file_get_string(keys, group, "language", NULL);

    return g_key_file_get_integer(keys, group, "version", NULL) == VERSION &&
           (!g_key_file_has_key(keys, group, "problem", NULL) ||
            g_strcmp0(said_in, language()) == 0);
}

static void read_facts(GKeyFile *keys, const char *group, struct facts *f)
{
    *f = (struct facts){
        .family = g_key_file_get_string(keys, group, "family", NULL),
        .kind = g_key_file_get_string(keys, group, "kind", NULL),
        .precision = g_key_file_get_string(keys, group, "precision", NULL),
        .problem = g_key_file_get_string(keys, group, "problem", NULL),
        .unet_parameters = g_key_file_get_uint64(keys, group, "unet", NULL),
        .parameters = g_key_file_get_uint64(keys, group, "parameters", NULL),
        .side = g_key_file_get_integer(keys, group, "side", NULL),
        .sha256 = g_key_file_get_string(keys, group, "sha256", NULL),
    };
}

void facts_of(struct facts_cache *cache, const char *path, struct facts *facts)
{
    g_autofree char *file = main_file(path), *group = group_of(file);

    memset(facts, 0, sizeof *facts);
    if (!group) { /* shards, or nothing: not kept */
        g_autoptr(GKeyFile) keys = g_key_file_new();

        examine(path, keys, "it");
        read_facts(keys, "it", facts);
        return;
    }
    if (!is_current(cache->known, group)) {
        g_autoptr(GKeyFile) keys = g_key_file_new();

        examine(path, keys, group);
        merge(keys, cache->known);
        merge(keys, cache->fresh);
    }
    read_facts(cache->known, group, facts);
}

/* ---- hashes ---- */

static char *hash_file(const char *path, const int *cancel)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    g_autofree guint8 *buffer = g_malloc(HASH_BLOCK);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n;

    if (fd < 0)
        return NULL;
    while ((n = read(fd, buffer, HASH_BLOCK)) > 0 || (n < 0 && errno == EINTR)) {
        if (n > 0)
            g_checksum_update(sum, buffer, n);
        if (cancel && g_atomic_int_get(cancel)) {
            n = -1;
            break;
        }
    }
    close(fd);
    return n < 0 ? NULL : g_strdup(g_checksum_get_string(sum));
}

char *facts_sha256(const char *path, bool cached_only, const int *cancel)
{
    g_autofree char *file = main_file(path), *group = group_of(file), *hash = NULL;
    g_autoptr(GKeyFile) known = group ? load() : NULL;
    g_autoptr(GKeyFile) fresh = g_key_file_new();

    if (!group)
        return NULL;
    hash = g_key_file_get_string(known, group, "sha256", NULL);
    if (hash || cached_only || !(hash = hash_file(file, cancel)))
        return g_steal_pointer(&hash);
    g_key_file_set_string(fresh, group, "sha256", hash);
    save(fresh);
    return g_steal_pointer(&hash);
}
