#include "weights/model.h"

#include "weights/config.h"
#include "weights/model_private.h"

#include <string.h>

const char *model_part_name(enum model_part part)
{
    static const char *const names[] = {"unet", "vae", "text_encoder", "text_encoder_2"};
    return names[part];
}

const char *model_config_label(enum model_part part)
{
    static const char *const labels[] = {"unet/config.json", "vae/config.json",
                                         "text_encoder/config.json", "text_encoder_2/config.json"};
    return labels[part];
}

const char *model_family_name(enum model_family family)
{
    static const char *const names[] = {"other", "SD 1.x", "SD 2.x", "SDXL", "SDXL refiner"};
    return names[family];
}

/* By the width of the text that the cross-attention reads; the first blocks' width keeps small
 * look-alikes apart. */
enum model_family model_family_of(const json_t *unet_config)
{
    struct config c = config_init(unet_config, "");
    gint64 width[8] = {0}, channels[8] = {0};
    config_ints(&c, "cross_attention_dim", 1, G_MAXINT, width, G_N_ELEMENTS(width));
    config_ints(&c, "block_out_channels", 1, G_MAXINT, channels, G_N_ELEMENTS(channels));
    bool sizes = !g_strcmp0(config_string(&c, "addition_embed_type", NULL), "text_time");
    g_clear_error(&c.error);
    if (sizes && width[0] == 2048 && channels[0] == 320)
        return MODEL_SDXL;
    if (sizes && width[0] == 1280 && channels[0] == 384)
        return MODEL_SDXL_REFINER;
    if (!sizes && width[0] == 768 && channels[0] == 320)
        return MODEL_SD1;
    if (!sizes && width[0] == 1024 && channels[0] == 320)
        return MODEL_SD2;
    return MODEL_OTHER;
}

/* A Hugging Face cache keeps a repository as refs/main (a commit) and snapshots/<commit>/. */
char *model_cache_snapshot(const char *path)
{
    g_autofree char *ref = g_build_filename(path, "refs", "main", NULL), *commit = NULL;
    g_autofree char *snapshots = g_build_filename(path, "snapshots", NULL);
    if (!g_file_test(snapshots, G_FILE_TEST_IS_DIR))
        return NULL;
    if (g_file_test(ref, G_FILE_TEST_IS_REGULAR) && g_file_get_contents(ref, &commit, NULL, NULL)) {
        g_strstrip(commit);
        if (g_regex_match_simple("^[0-9A-Za-z_-]{1,64}$", commit, 0, 0)) {
            g_autofree char *dir = g_build_filename(snapshots, commit, NULL);
            if (g_file_test(dir, G_FILE_TEST_IS_DIR))
                return g_steal_pointer(&dir);
        }
    }
    g_autoptr(GDir) list = g_dir_open(snapshots, 0, NULL);
    const char *only = list ? g_dir_read_name(list) : NULL;
    return only ? g_build_filename(snapshots, only, NULL) : NULL;
}

/* "models--org--name" reads as "name". */
char *model_cache_label(const char *path)
{
    g_autofree char *base = g_path_get_basename(path);
    const char *last = base;
    for (const char *p; g_str_has_prefix(base, "models--") && (p = strstr(last, "--"));)
        last = p + 2;
    return g_strdup(last);
}

struct model *model_open(const char *path, GError **error)
{
    struct model *m = g_new0(struct model, 1);
    g_autofree char *base = g_path_get_basename(path);
    m->label = model_cache_label(path);
    if (!strcmp(base, "model_index.json")) {
        m->path = g_path_get_dirname(path);
        g_free(m->label);
        m->label = g_path_get_basename(m->path);
    } else {
        m->path = model_cache_snapshot(path);
        if (!m->path)
            m->path = g_strdup(path);
    }
    bool file =
        g_file_test(m->path, G_FILE_TEST_EXISTS) && !g_file_test(m->path, G_FILE_TEST_IS_DIR);
    if (file ? model_open_file(m, error) : model_open_folder(m, error))
        return m;
    model_close(m);
    return NULL;
}

void model_close(struct model *m)
{
    if (!m)
        return;
    for (int i = 0; i < MODEL_PARTS; i++) {
        weights_destroy(m->weights[i]);
        json_decref(m->config[i]);
    }
    json_decref(m->scheduler);
    json_decref(m->index);
    g_free(m->tokenizer[0]);
    g_free(m->tokenizer[1]);
    g_free(m->path);
    g_free(m->label);
    g_free(m);
}
