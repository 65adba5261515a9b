#include "engine/loaded.h"

#include <gio/gio.h>

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
    int channels = l->unet.config.in_channels;

    if (channels == l->vae.config.latent_channels && channels == PREVIEW_CHANNELS)
        return true;
    g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_MODEL,
                "“%s” can't be used: its U-Net takes %d channels and its latents have %d%s.",
                l->model->label, channels, l->vae.config.latent_channels,
                channels == 9   ? " (it is an inpainting model)"
                : channels == 8 ? " (it edits pictures by instruction)"
                                : "");
    return false;
}

static bool bind(struct loaded *l, struct backend *backend, struct inversions *inversions,
                 GPtrArray *notices, GError **error)
{
    struct model *m = l->model;

    if (!m->weights[MODEL_UNET] || !m->weights[MODEL_VAE]) {
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_MODEL, "“%s” has no %s.", m->label,
                    m->weights[MODEL_UNET] ? "autoencoder (vae)" : "U-Net");
        return false;
    }
    if (!unet_init(&l->unet, m->weights[MODEL_UNET], m->config[MODEL_UNET], error) ||
        !vae_init(&l->vae, m->weights[MODEL_VAE], m->config[MODEL_VAE], error) ||
        !check(l, error) ||
        !(l->text = text_encoder_create(backend, m, inversions, notices, error)))
        return false;
    l->denoiser = denoiser_create(backend, &l->unet);
    l->decoder = decoder_create(backend, &l->vae);
    return true;
}

struct loaded *loaded_create(struct backend *backend, const struct model_info *info,
                             struct inversions *inversions, GPtrArray *notices, GError **error)
{
    struct loaded *l = g_new0(struct loaded, 1);

    l->path = g_strdup(info->path);
    l->model = model_open(info->path, error);
    if (!l->model || !bind(l, backend, inversions, notices, error)) {
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
    vae_finish(&l->vae);
    unet_finish(&l->unet);
    model_close(l->model);
    g_free(l->path);
    g_free(l);
}
