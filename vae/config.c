/* A diffusers AutoencoderKL config.json, read and checked. Defaults are diffusers'. */
#include "vae/vae.h"

#include "weights/config.h"

#include <glib/gi18n-lib.h>

#define MAX_CHANNELS 16384

static void read_types(struct config *in, const struct vae_config *c, const char *key,
                       const char *wanted)
{
    const char *types[VAE_MAX_LEVELS];
    size_t n = config_strings(in, key, types, VAE_MAX_LEVELS);

    if ((n ? n : 1) != (size_t)c->levels)
        config_fail(in, _("“%s” must have as many values as “block_out_channels”."), key);
    for (size_t i = 0; i < n; i++)
        if (!g_str_equal(types[i], wanted))
            config_fail(in, _("this version does not have blocks of type “%.60s”."), types[i]);
}

static void read_levels(struct config *in, struct vae_config *c)
{
    gint64 channels[VAE_MAX_LEVELS] = {64};
    size_t n = config_ints(in, "block_out_channels", 1, MAX_CHANNELS, channels, VAE_MAX_LEVELS);

    c->levels = n ? (int)n : 1;
    for (int i = 0; i < c->levels; i++) {
        c->channels[i] = (int)channels[i];
        if (channels[i] % c->groups != 0)
            config_fail(in, _("%d channels cannot be split into %d groups (“norm_num_groups”)."),
                        c->channels[i], c->groups);
    }
}

/* Per channel, or nothing. */
static void read_statistic(struct config *in, const struct vae_config *c, const char *key,
                           double min, float fallback, float *out)
{
    const json_t *list = json_object_get(in->root, key);

    for (int i = 0; i < VAE_MAX_LATENT; i++)
        out[i] = fallback;
    if (!list || json_is_null(list))
        return;
    if (json_array_size(list) != (size_t)c->latent_channels) {
        config_fail(in, _("“%s” must have a number for each of the %d channels."), key,
                    c->latent_channels);
        return;
    }
    for (int i = 0; i < c->latent_channels; i++) {
        double x = json_number_value(json_array_get(list, (size_t)i));
        if (x < min || x > 1e6)
            config_fail(in, _("“%s” holds a number that is out of range."), key);
        out[i] = (float)x;
    }
}

bool vae_config_read(struct vae_config *c, json_t *json, GError **error)
{
    static const char *const activations[] = {"silu", "swish", NULL};
    struct config in = config_init(json, "vae/config.json");

    *c = (struct vae_config){0};
    c->picture_channels = (int)config_int(&in, "in_channels", 1, 16, 3);
    if (config_int(&in, "out_channels", 1, 16, 3) != c->picture_channels)
        config_fail(&in, _("“in_channels” and “out_channels” differ."));
    c->latent_channels = (int)config_int(&in, "latent_channels", 1, VAE_MAX_LATENT, 4);
    c->layers = (int)config_int(&in, "layers_per_block", 1, 8, 1);
    c->groups = (int)config_int(&in, "norm_num_groups", 1, MAX_CHANNELS, 32);
    read_levels(&in, c);
    read_types(&in, c, "down_block_types", "DownEncoderBlock2D");
    read_types(&in, c, "up_block_types", "UpDecoderBlock2D");
    config_choice(&in, "act_fn", activations, 0);
    c->mid_attention = config_bool(&in, "mid_block_add_attention", true);
    c->quant_conv = config_bool(&in, "use_quant_conv", true);
    c->post_quant_conv = config_bool(&in, "use_post_quant_conv", true);
    c->force_upcast = config_bool(&in, "force_upcast", true);
    c->scaling = (float)config_number(&in, "scaling_factor", 1e-6, 1e6, 0.18215);
    read_statistic(&in, c, "latents_mean", -1e6, 0, c->mean);
    read_statistic(&in, c, "latents_std", 1e-6, 1, c->std);
    float shift = (float)config_number(&in, "shift_factor", -1e6, 1e6, 0);
    for (int i = 0; i < VAE_MAX_LATENT; i++)
        c->mean[i] += shift;
    return config_finish(&in, error);
}
