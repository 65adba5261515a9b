#include "engine/loaded.h"

#include <gio/gio.h>
#include <glib/gi18n-lib.h>

#include "engine/engine.h"
#include "weights/config.h"

/* "preview" of a model's figment.json: four rows of [r, g, b] and one of the constants. */
static void read_preview(struct preview *preview, const char *path)
{
    g_autofree char *file = g_build_filename(path, "figment.json", NULL);
    json_t *json = json_load_file(file, JSON_REJECT_DUPLICATES, NULL), *rows;

    rows = json_object_get(json, "preview");
    if (json_array_size(rows) == PREVIEW_CHANNELS + 1) {
        for (int i = 0; i <= PREVIEW_CHANNELS; i++) {
            float *row = i < PREVIEW_CHANNELS ? preview->matrix[i] : preview->bias;

            for (int k = 0; k < 3; k++)
                row[k] = (float)json_number_value(json_array_get(json_array_get(rows, i), k));
        }
        preview->fitted = true;
    }
    json_decref(json);
}

static bool check(const struct loaded *l, GError **error)
{
    int in = l->unet.config.in_channels, channels = l->vae.config.latent_channels;

    if (channels == PREVIEW_CHANNELS &&
        (in == channels || in == 2 * channels + 1 || in == 2 * channels))
        return true;
    g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_MODEL,
                _("“%s” can't be used: its U-Net takes %d channels and its latents have %d."),
                l->model->label, in, channels);
    return false;
}

/* ---- a separate autoencoder ---- */

static double own_scaling(const struct model *m)
{
    json_t *own = json_object_get(m->config[MODEL_VAE], "scaling_factor");

    if (json_is_number(own))
        return json_number_value(own);
    return m->family == MODEL_SDXL || m->family == MODEL_SDXL_REFINER ? 0.13025 : 0.18215;
}

/* In place of the model's, whose scale and groups it takes over: the file does not say. */
static bool replace_vae(struct model *m, const char *path, GError **error)
{
    json_t *config = NULL, *groups;
    struct weights *weights = model_open_vae(path, &config, error);

    if (!weights) {
        json_decref(config);
        return false;
    }
    json_object_set_new(config, "scaling_factor", json_real(own_scaling(m)));
    if ((groups = json_object_get(m->config[MODEL_VAE], "norm_num_groups")))
        json_object_set(config, "norm_num_groups", groups);
    weights_destroy(m->weights[MODEL_VAE]);
    json_decref(m->config[MODEL_VAE]);
    m->weights[MODEL_VAE] = weights;
    m->config[MODEL_VAE] = config;
    return true;
}

/* Something that makes previews better: without it there is the linear map. */
static void open_tiny(struct loaded *l, const char *path, GPtrArray *notices)
{
    g_autoptr(GError) problem = NULL;

    l->tiny_weights = weights_open(path, &problem);
    if (l->tiny_weights && tiny_init(&l->tiny, l->tiny_weights, &problem) &&
        l->tiny.latent_channels == PREVIEW_CHANNELS)
        return;
    tiny_finish(&l->tiny);
    g_clear_pointer(&l->tiny_weights, weights_destroy);
    if (notices)
        g_ptr_array_add(notices,
                        g_strdup_printf(_("The small decoder for previews was not used: %s"),
                                        problem ? problem->message : path));
}

/* ---- all parts ---- */

static bool has_parts(const struct model *m, GError **error)
{
    if (m->weights[MODEL_UNET] && m->weights[MODEL_VAE])
        return true;
    g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_MODEL,
                m->weights[MODEL_UNET] ? _("“%s” has no autoencoder (vae). Choose one in a file of "
                                           "its own (--vae).")
                                       : _("“%s” has no U-Net."),
                m->label);
    return false;
}

static void tell_unused(const struct model *m, GPtrArray *notices)
{
    for (int i = 0; i < MODEL_PARTS; i++) {
        char *sentence = m->weights[i] ? weights_unused_sentence(m->weights[i]) : NULL;

        if (sentence && notices)
            g_ptr_array_add(notices, sentence);
        else
            g_free(sentence);
    }
}

/* What is wrong with any part is told at once. */
static bool bind(struct loaded *l, struct backend *backend, const struct loaded_options *o,
                 GError **error)
{
    struct model *m = l->model;
    GError *problem = NULL, *other = NULL;

    if (!has_parts(m, error))
        return false;
    unet_init(&l->unet, m->weights[MODEL_UNET], m->config[MODEL_UNET], &problem);
    vae_init(&l->vae, m->weights[MODEL_VAE], m->config[MODEL_VAE], &other);
    engine_join_errors(&problem, &other);
    l->text = text_encoder_create(backend, m, o->inversions, o->notices, &other);
    engine_join_errors(&problem, &other);
    if (problem) {
        g_propagate_error(error, problem);
        return false;
    }
    if (!check(l, error))
        return false;
    tell_unused(m, o->notices);
    l->denoiser = denoiser_create(backend, &l->unet);
    l->decoder = decoder_create(backend, &l->vae, l->tiny_weights ? &l->tiny : NULL, o->notices);
    return true;
}

struct loaded *loaded_create(struct backend *backend, const struct model_info *info,
                             const struct loaded_options *options, GError **error)
{
    struct loaded *l = g_new0(struct loaded, 1);

    l->path = g_strdup(info->path);
    l->vae_path = g_strdup(options->vae);
    l->model = model_open(info->path, error);
    if (!l->model || (options->vae && !replace_vae(l->model, options->vae, error))) {
        loaded_destroy(l);
        return NULL;
    }
    if (options->taesd)
        open_tiny(l, options->taesd, options->notices);
    if (!bind(l, backend, options, error)) {
        loaded_destroy(l);
        return NULL;
    }
    preview_init(&l->preview, l->vae.config.scaling);
    if (info->folder)
        read_preview(&l->preview, info->path);
    return l;
}

/* Sides in cells of the latent that is decoded, and of its patches of one value: a patch is wide
 * enough for the decoder to show its colour in the middle. */
#define FIT_SIDE 16
#define FIT_PATCH 4

bool loaded_fit_preview(struct loaded *l, const int *cancel, GError **error)
{
    float latent[FIT_SIDE * FIT_SIDE * PREVIEW_CHANNELS];
    int factor = vae_factor(&l->vae), side = FIT_SIDE * factor;
    g_autofree float *picture = g_new(float, (gsize)side *side * 3);
    g_autoptr(GRand) random = g_rand_new_with_seed(1);
    GError *problem = NULL;

    if (l->preview.fitted || l->model->family != MODEL_OTHER)
        return true;
    for (int y = 0; y < FIT_SIDE; y++)
        for (int x = 0; x < FIT_SIDE; x++)
            for (int c = 0; c < PREVIEW_CHANNELS; c++) {
                int corner = (y / FIT_PATCH * FIT_PATCH * FIT_SIDE + x / FIT_PATCH * FIT_PATCH);
                bool first = y % FIT_PATCH == 0 && x % FIT_PATCH == 0;

                latent[(y * FIT_SIDE + x) * PREVIEW_CHANNELS + c] =
                    first ? (float)g_rand_double_range(random, -1.7, 1.7) /* of variance 1 */
                          : latent[corner * PREVIEW_CHANNELS + c];
            }
    if (decoder_decode(l->decoder, latent, FIT_SIDE, FIT_SIDE, picture, cancel, &problem))
        preview_fit(&l->preview, latent, FIT_SIDE, FIT_SIDE, picture, factor);
    l->preview.fitted = false; /* the first real picture makes a better one */
    if (g_error_matches(problem, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
        g_propagate_error(error, problem);
        return false;
    }
    g_clear_error(&problem); /* the real decoding will say it again */
    return true;
}

void loaded_forget_tapes(struct loaded *l)
{
    text_encoder_forget(l->text);
    denoiser_forget(l->denoiser);
}

void loaded_destroy(struct loaded *l)
{
    if (!l)
        return;
    denoiser_destroy(l->denoiser);
    decoder_destroy(l->decoder);
    text_encoder_destroy(l->text);
    tiny_finish(&l->tiny);
    vae_finish(&l->vae);
    unet_finish(&l->unet);
    weights_destroy(l->tiny_weights);
    model_close(l->model);
    g_free(l->vae_path);
    g_free(l->path);
    g_free(l);
}
