/*
 * A diffusers UNet2DConditionModel config.json, read and checked. Defaults are diffusers'. Two
 * settings mean nothing here: with channels last, use_linear_projection makes no difference, and
 * attention adds up in F32 with or without upcast_attention.
 */
#include "unet/unet.h"

#include "weights/config.h"

#include <glib/gi18n-lib.h>
#include <math.h>

#define MAX_CHANNELS 16384
#define MAX_DEPTH 64 /* transformer blocks in a row */

/* A setting that must have its usual value, and what a file that differs asks for. */
static const struct usual {
    const char *key;
    double number;    /* for numbers and booleans */
    const char *text; /* for texts; NULL: the key must be absent or null, or false, or the number */
    const char *what;
} usuals[] = {
    {"center_input_sample", 0, NULL, N_("a U-Net that centres its input")},
    {"dual_cross_attention", 0, NULL, N_("Versatile Diffusion's dual attention")},
    {"class_embed_type", NAN, NULL, N_("class labels, as unCLIP and the 4x upscaler have them")},
    {"num_class_embeds", NAN, NULL, N_("class labels, as the 4x upscaler has them")},
    {"class_embeddings_concat", 0, NULL, N_("class labels")},
    {"encoder_hid_dim", NAN, NULL, N_("Kandinsky's or DeepFloyd's text projection")},
    {"encoder_hid_dim_type", NAN, NULL, N_("Kandinsky's or DeepFloyd's text projection")},
    {"resnet_time_scale_shift", NAN, "default", N_("another kind of time embedding")},
    {"resnet_skip_time_act", 0, NULL, N_("DeepFloyd's residual blocks")},
    {"resnet_out_scale_factor", 1, NULL, N_("scaled residual blocks")},
    {"mid_block_scale_factor", 1, NULL, N_("a scaled middle block")},
    {"mid_block_only_cross_attention", 0, NULL, N_("a middle block without self-attention")},
    {"time_embedding_type", NAN, "positional", N_("another kind of time embedding")},
    {"time_embedding_act_fn", NAN, NULL, N_("an activation after the time embedding")},
    {"timestep_post_act", NAN, NULL, N_("an activation after the time embedding")},
    {"conv_in_kernel", 3, NULL, N_("a first convolution that is not 3x3")},
    {"conv_out_kernel", 3, NULL, N_("a last convolution that is not 3x3")},
    {"downsample_padding", 1, NULL, N_("another kind of downsampling")},
    {"attention_type", NAN, "default", N_("GLIGEN's gated attention")},
    {"cross_attention_norm", NAN, NULL, N_("DeepFloyd's attention")},
};

static bool is_usual(const struct usual *u, const json_t *value)
{
    if (!value || json_is_null(value))
        return true;
    if (json_is_string(value))
        return u->text && g_str_equal(u->text, json_string_value(value));
    if (json_is_boolean(value))
        return u->number == (double)json_is_true(value);
    return json_is_number(value) && u->number == json_number_value(value);
}

static void check_usuals(struct config *in)
{
    for (size_t i = 0; i < G_N_ELEMENTS(usuals); i++) {
        json_t *value = json_object_get(in->root, usuals[i].key);
        if (is_usual(&usuals[i], value))
            continue;
        g_autofree char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        config_fail(in, _("“%s” is %.40s: this version does not have %s."), usuals[i].key, text,
                    _(usuals[i].what));
    }

    /* One value, or one a level; the 4x upscaler mixes them. */
    json_t *only = json_object_get(in->root, "only_cross_attention");
    bool any = json_is_true(only);
    for (size_t i = 0; i < json_array_size(only); i++)
        any |= json_is_true(json_array_get(only, i));
    if (any)
        config_fail(in,
                    _("“only_cross_attention” is set: this version does not have blocks without "
                      "self-attention (the 4x upscaler)."));
}

/* One value for all levels or one for each. */
static void read_levels(struct config *in, const struct unet_config *c, const char *key, gint64 min,
                        gint64 max, gint64 fallback, gint64 *out)
{
    size_t levels = (size_t)c->levels, n = config_ints(in, key, min, max, out, UNET_MAX_LEVELS);
    if (n > 1 && n != levels)
        config_fail(in, _("“%s” has %zu values for %zu levels."), key, n, levels);
    for (size_t i = n; i < levels; i++)
        out[i] = n ? out[0] : fallback;
}

/* Whether block i of each way has transformers. */
static void read_block_types(struct config *in, int levels, bool *down, bool *up)
{
    static const char *const down_plain = "DownBlock2D", *const down_text = "CrossAttnDownBlock2D";
    static const char *const up_plain = "UpBlock2D", *const up_text = "CrossAttnUpBlock2D";
    const char *downs[UNET_MAX_LEVELS] = {down_text, down_text, down_text, down_plain};
    const char *ups[UNET_MAX_LEVELS] = {up_plain, up_text, up_text, up_text};
    size_t n_down = config_strings(in, "down_block_types", downs, UNET_MAX_LEVELS);
    size_t n_up = config_strings(in, "up_block_types", ups, UNET_MAX_LEVELS);

    if ((n_down ? n_down : 4) != (size_t)levels || (n_up ? n_up : 4) != (size_t)levels) {
        config_fail(in, _("“down_block_types” and “up_block_types” must have as many values as "
                          "“block_out_channels”."));
        return;
    }
    for (int i = 0; i < levels; i++) {
        down[i] = g_str_equal(downs[i], down_text);
        up[i] = g_str_equal(ups[i], up_text);
        if (!down[i] && !g_str_equal(downs[i], down_plain))
            config_fail(in, _("this version does not have blocks of type “%.60s”."), downs[i]);
        if (!up[i] && !g_str_equal(ups[i], up_plain))
            config_fail(in, _("this version does not have blocks of type “%.60s”."), ups[i]);
    }
}

/* value: a depth for all n layers of a block, or a list of one for each. */
static void read_block_depths(struct config *in, const char *key, const json_t *value, int n,
                              int *out)
{
    if (json_is_array(value) && json_array_size(value) < (size_t)n) {
        config_fail(in, _("“%s” has %zu values for a block of %d layers."), key,
                    json_array_size(value), n);
        return;
    }
    for (int j = 0; j < n; j++) {
        const json_t *each = json_is_array(value) ? json_array_get(value, (size_t)j) : value;
        gint64 depth = each ? json_integer_value(each) : 1;
        if ((each && !json_is_integer(each)) || depth < 1 || depth > MAX_DEPTH)
            config_fail(in, _("“%s” must hold whole numbers from 1 to %d."), key, MAX_DEPTH);
        else
            out[j] = (int)depth;
    }
}

static const json_t *depth_at(struct config *in, const char *key, const json_t *list, int levels,
                              int i)
{
    if (!json_is_array(list))
        return json_is_null(list) ? NULL : list;
    if (json_array_size(list) != (size_t)levels)
        config_fail(in, _("“%s” has %zu values for %d levels."), key, json_array_size(list),
                    levels);
    return json_array_get(list, (size_t)i);
}

/* How many transformer blocks follow each residual block, on both ways and in the middle. */
static void read_depths(struct config *in, struct unet_config *c)
{
    static const char *const key = "transformer_layers_per_block";
    static const char *const reverse_key = "reverse_transformer_layers_per_block";
    const json_t *depths = json_object_get(in->root, key);
    const json_t *reverse = json_object_get(in->root, reverse_key);
    bool down[UNET_MAX_LEVELS] = {0}, up[UNET_MAX_LEVELS] = {0};
    int last = c->levels - 1;

    read_block_types(in, c->levels, down, up);
    for (int i = 0; i < c->levels; i++) {
        struct unet_level_config *l = &c->level[i];
        const json_t *way_down = depth_at(in, key, depths, c->levels, i), *way_up = way_down;
        const char *way_up_key = key;
        if (json_is_array(reverse)) {
            way_up = depth_at(in, reverse_key, reverse, c->levels, last - i);
            way_up_key = reverse_key;
        } else if (json_is_array(way_down) && up[last - i]) {
            config_fail(in, _("“%s” is missing, which must go with a nested “%s”."), reverse_key,
                        key);
        }
        if (down[i])
            read_block_depths(in, key, way_down, l->layers, l->down_depth);
        if (up[last - i])
            read_block_depths(in, way_up_key, way_up, l->layers + 1, l->up_depth);
    }
    if (c->mid == UNET_MID_ATTENTION)
        read_block_depths(in, key, depth_at(in, key, depths, c->levels, last), 1, &c->mid_depth);
}

static void read_heads(struct config *in, struct unet_config *c)
{
    /*
     * In almost all files "attention_head_dim" is the number of heads, not their size (diffusers
     * named it wrongly and keeps it); a few newer files say "num_attention_heads".
     */
    const char *key =
        config_has(in, "num_attention_heads") ? "num_attention_heads" : "attention_head_dim";
    gint64 heads[UNET_MAX_LEVELS];

    read_levels(in, c, key, 1, 1024, 8, heads);
    for (int i = 0; i < c->levels; i++) {
        c->level[i].heads = (int)heads[i];
        if (c->level[i].channels % heads[i] != 0)
            config_fail(in, _("%d channels cannot be split into %d heads (“%s”)."),
                        c->level[i].channels, c->level[i].heads, key);
    }
}

static void read_mid(struct config *in, struct unet_config *c)
{
    json_t *value = json_object_get(in->root, "mid_block_type");
    const char *type = value ? json_string_value(value) : "UNetMidBlock2DCrossAttn";

    if (json_is_null(value))
        c->mid = UNET_MID_NONE;
    else if (g_strcmp0(type, "UNetMidBlock2DCrossAttn") == 0)
        c->mid = UNET_MID_ATTENTION;
    else if (g_strcmp0(type, "UNetMidBlock2D") == 0)
        c->mid = UNET_MID_RESNET;
    else
        config_fail(in, _("this version does not have a middle block of type “%.60s”."),
                    type ? type : "?");
}

static void read_levels_all(struct config *in, struct unet_config *c)
{
    gint64 channels[UNET_MAX_LEVELS] = {320, 640, 1280, 1280}, layers[UNET_MAX_LEVELS];
    size_t n = config_ints(in, "block_out_channels", 2, MAX_CHANNELS, channels, UNET_MAX_LEVELS);

    c->levels = n ? (int)n : 4;
    read_levels(in, c, "layers_per_block", 1, UNET_MAX_LAYERS, 2, layers);
    for (int i = 0; i < c->levels; i++) {
        c->level[i].channels = (int)channels[i];
        c->level[i].layers = (int)layers[i];
        if (channels[i] % c->groups != 0)
            config_fail(in, _("%d channels cannot be split into %d groups (“norm_num_groups”)."),
                        c->level[i].channels, c->groups);
    }
    if (channels[0] % 2 != 0)
        config_fail(in, _("the first of “block_out_channels” must be even."));
}

static void read_added(struct config *in, struct unet_config *c)
{
    static const char *const types[] = {"text_time", NULL};

    if (config_choice(in, "addition_embed_type", types, -1) < 0)
        return;
    c->size_channels = (int)config_int(in, "addition_time_embed_dim", 2, MAX_CHANNELS, 0);
    c->added_channels =
        (int)config_int(in, "projection_class_embeddings_input_dim", 1, 4 * MAX_CHANNELS, 0);
    if (!c->size_channels || c->size_channels % 2 || !c->added_channels)
        config_fail(in, _("“addition_embed_type” is “text_time”, but “addition_time_embed_dim” or "
                          "“projection_class_embeddings_input_dim” is missing or odd."));
}

bool unet_config_read(struct unet_config *c, json_t *json, GError **error)
{
    static const char *const activations[] = {"silu", "swish", NULL};
    struct config in = config_init(json, "unet/config.json");
    gint64 text[UNET_MAX_LEVELS], size[2] = {0, 0};

    *c = (struct unet_config){0};
    c->in_channels = (int)config_int(&in, "in_channels", 1, 64, 4);
    c->out_channels = (int)config_int(&in, "out_channels", 1, 64, 4);
    config_ints(&in, "sample_size", 1, MAX_CHANNELS, size, 2);
    c->sample_size = (int)size[0];
    c->groups = (int)config_int(&in, "norm_num_groups", 1, MAX_CHANNELS, 32);
    c->eps = (float)config_number(&in, "norm_eps", 1e-12, 1, 1e-5);
    c->cos_first = config_bool(&in, "flip_sin_to_cos", true);
    c->shift = (float)config_number(&in, "freq_shift", 0, 1, 0);
    config_choice(&in, "act_fn", activations, 0);
    check_usuals(&in);
    read_levels_all(&in, c);
    read_levels(&in, c, "cross_attention_dim", 1, MAX_CHANNELS, 1280, text);
    for (int i = 1; i < c->levels; i++)
        if (text[i] != text[0])
            config_fail(&in, _("“cross_attention_dim” differs between levels."));
    c->text_channels = (int)text[0];
    read_mid(&in, c);
    read_heads(&in, c);
    read_depths(&in, c);
    c->time_channels =
        (int)config_int(&in, "time_embedding_dim", 1, 4 * MAX_CHANNELS, 4 * c->level[0].channels);
    read_added(&in, c);
    c->guidance_channels = (int)config_int(&in, "time_cond_proj_dim", 4, MAX_CHANNELS, 0);
    if (c->guidance_channels % 2)
        config_fail(&in, _("“time_cond_proj_dim” must be even."));
    return config_finish(&in, error);
}
