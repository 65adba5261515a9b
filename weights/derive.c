#include "weights/derive.h"

#include <stdio.h>

enum { SD2_TEXT_LAYERS = 23 };

static json_int_t dim(const struct st_tensor *t, unsigned i)
{
    return t && i < t->rank && t->dims[i] <= G_MAXINT ? (json_int_t)t->dims[i] : 0;
}

static void set_int(json_t *root, const char *key, json_int_t value)
{
    json_object_set_new(root, key, json_integer(value));
}

static void set_text(json_t *root, const char *key, const char *value)
{
    json_object_set_new(root, key, json_string(value));
}

/* The depths of one level's resnets: a number when all are the same, else a list. */
static json_t *depths(const struct ldm_block *blocks, int n, int level)
{
    json_t *list = json_array();
    bool same = true;
    int first = -1;
    for (int i = 0; i < n; i++) {
        if (!blocks[i].resnet || blocks[i].level != level)
            continue;
        if (first < 0)
            first = blocks[i].depth;
        same &= blocks[i].depth == first;
        json_array_append_new(list, json_integer(blocks[i].depth));
    }
    if (!same)
        return list;
    json_decref(list);
    return json_integer(MAX(first, 0));
}

static bool is_plain(const json_t *depth)
{
    return json_is_integer(depth) && json_integer_value(depth) == 0;
}

static void set_depths(json_t *root, const struct ldm_unet *u)
{
    json_t *down = json_array(), *up = json_array(), *down_types = json_array(),
           *up_types = json_array();
    bool mirror = true; /* the way up is the way down: then one list says both */
    for (int i = 0; i < u->levels; i++) {
        json_t *d = depths(u->input + 1, u->inputs - 1, i), *p = depths(u->output, u->outputs, i);
        json_array_append_new(down_types,
                              json_string(is_plain(d) ? "DownBlock2D" : "CrossAttnDownBlock2D"));
        json_array_append_new(up_types,
                              json_string(is_plain(p) ? "UpBlock2D" : "CrossAttnUpBlock2D"));
        json_array_append_new(down, d);
        json_array_append_new(up, p);
    }
    for (int i = 0; i < u->levels; i++) {
        const json_t *d = json_array_get(down, (size_t)i);
        mirror &=
            json_is_integer(d) && json_equal(d, json_array_get(up, (size_t)(u->levels - 1 - i)));
    }
    /* The middle takes the last level's depth; a plain level's own is read by nobody. */
    for (int i = 0; i < u->levels; i++)
        if (is_plain(json_array_get(down, (size_t)i)))
            json_array_set_new(down, (size_t)i,
                               json_integer(i == u->levels - 1 ? MAX(u->middle_depth, 1) : 1));
    json_object_set_new(root, "transformer_layers_per_block", down);
    if (mirror)
        json_decref(up);
    else
        json_object_set_new(root, "reverse_transformer_layers_per_block", up);
    json_object_set_new(root, "down_block_types", down_types);
    json_object_set_new(root, "up_block_types", up_types);
    json_object_set_new(
        root, "mid_block_type",
        u->middle ? json_string(u->middle_depth ? "UNetMidBlock2DCrossAttn" : "UNetMidBlock2D")
                  : json_null());
}

/* The first block with a transformer; false when there is none. */
static bool first_transformer(const struct ldm_unet *u, char *name, size_t size)
{
    for (int i = 1; i < u->inputs; i++)
        if (u->input[i].depth) {
            g_snprintf(name, size, "input_blocks.%d.1", i);
            return true;
        }
    g_snprintf(name, size, "middle_block.1");
    return u->middle_depth > 0;
}

static void set_levels(json_t *root, const struct ldm_unet *u, const struct safetensors *st,
                       bool linear)
{
    json_t *channels = json_array(), *layers = json_array(), *heads = json_array();
    for (int level = 0; level < u->levels; level++) {
        int n = 1;
        while (n < u->inputs && (u->input[n].level != level || !u->input[n].resnet))
            n++;
        json_int_t c = dim(
            safetensors_find_part(st, u->prefix, "input_blocks.%d.0.out_layers.3.weight", n), 0);
        json_array_append_new(channels, json_integer(c));
        json_array_append_new(layers, json_integer(u->layers[level]));
        /* 1x1 convolutions around the transformers mark SD 1.x: 8 heads. Since then a head has 64
         * channels. */
        json_array_append_new(heads, json_integer(linear ? MAX(c / 64, 1) : 8));
    }
    json_object_set_new(root, "block_out_channels", channels);
    json_object_set_new(root, "layers_per_block", layers);
    json_object_set_new(root, "attention_head_dim", heads); /* diffusers' name for their number */
}

json_t *derive_unet(const struct ldm_unet *u, const struct safetensors *st, bool sizes)
{
    char block[48];
    const char *p = u->prefix;
    bool any = first_transformer(u, block, sizeof block);
    const struct st_tensor *proj =
        any ? safetensors_find_part(st, p, "%s.proj_in.weight", block) : NULL;
    const struct st_tensor *key =
        any ? safetensors_find_part(st, p, "%s.transformer_blocks.0.attn2.to_k.weight", block)
            : NULL;
    const struct st_tensor *label = safetensors_find_part(st, p, "label_emb.0.0.weight");
    const struct st_tensor *guidance = safetensors_find_part(st, p, "time_embed.cond_proj.weight");
    bool linear = proj && proj->rank == 2;
    json_t *root = json_object();
    if (!guidance)
        guidance = safetensors_find_part(st, p, "time_embedding.cond_proj.weight");
    set_text(root, "_class_name", "UNet2DConditionModel");
    set_int(root, "in_channels", dim(safetensors_find_part(st, p, "input_blocks.0.0.weight"), 1));
    set_int(root, "out_channels", dim(safetensors_find_part(st, p, "out.2.weight"), 0));
    set_int(root, "sample_size", sizes ? 128 : 64);
    set_levels(root, u, st, linear);
    set_depths(root, u);
    json_object_set_new(root, "use_linear_projection", json_boolean(linear));
    if (key)
        set_int(root, "cross_attention_dim", dim(key, 1));
    if (label && sizes) {
        set_text(root, "addition_embed_type", "text_time");
        set_int(root, "addition_time_embed_dim", 256);
        set_int(root, "projection_class_embeddings_input_dim", dim(label, 1));
    } else if (label) {
        set_text(root, "class_embed_type", "projection");
        set_int(root, "projection_class_embeddings_input_dim", dim(label, 1));
    }
    if (guidance)
        set_int(root, "time_cond_proj_dim", dim(guidance, 1));
    return root;
}

json_t *derive_vae(const struct safetensors *st, const char *prefix, bool diffusers, double scaling,
                   bool upcast, int *levels)
{
    static const char *const formats[] = {"decoder.up.%d.block.%d.conv1.weight",
                                          "decoder.up_blocks.%d.resnets.%d.conv1.weight"};
    const char *format = formats[diffusers];
    json_t *channels = json_array(), *down = json_array(), *up = json_array(),
           *root = json_object();
    int layers = 0;
    /* The decoder says it all, and a file for decoding alone has no encoder. */
    for (*levels = 0; *levels < LDM_MAX_LEVELS; ++*levels) {
        const struct st_tensor *t = safetensors_find_part(st, prefix, format, *levels, 0);
        if (!t)
            break;
        /* Finest first: the original counts that way, diffusers counts from the coarsest. */
        json_array_insert_new(channels, diffusers ? 0 : json_array_size(channels),
                              json_integer(dim(t, 0)));
        json_array_append_new(down, json_string("DownEncoderBlock2D"));
        json_array_append_new(up, json_string("UpDecoderBlock2D"));
    }
    while (layers < LDM_MAX_LAYERS && safetensors_find_part(st, prefix, format, 0, layers))
        layers++;
    set_text(root, "_class_name", "AutoencoderKL");
    set_int(root, "in_channels",
            dim(safetensors_find_part(st, prefix, "decoder.conv_out.weight"), 0));
    set_int(root, "out_channels",
            dim(safetensors_find_part(st, prefix, "decoder.conv_out.weight"), 0));
    set_int(root, "latent_channels",
            dim(safetensors_find_part(st, prefix, "decoder.conv_in.weight"), 1));
    set_int(root, "layers_per_block", MAX(layers - 1, 1));
    json_object_set_new(root, "block_out_channels", channels);
    json_object_set_new(root, "down_block_types", down);
    json_object_set_new(root, "up_block_types", up);
    json_object_set_new(root, "scaling_factor", json_real(scaling));
    json_object_set_new(root, "force_upcast", json_boolean(upcast));
    json_object_set_new(
        root, "use_quant_conv",
        json_boolean(safetensors_find_part(st, prefix, "quant_conv.weight") != NULL));
    json_object_set_new(
        root, "use_post_quant_conv",
        json_boolean(safetensors_find_part(st, prefix, "post_quant_conv.weight") != NULL));
    return root;
}

static json_t *clip_config(const struct st_tensor *tokens, const struct st_tensor *places,
                           const struct st_tensor *fc1, const struct st_tensor *projection,
                           int layers, const char *activation, bool projected)
{
    json_t *root = json_object();
    json_int_t width = dim(tokens, 1);
    json_object_set_new(
        root, "architectures",
        json_pack("[s]", projected ? "CLIPTextModelWithProjection" : "CLIPTextModel"));
    set_int(root, "vocab_size", dim(tokens, 0));
    set_int(root, "hidden_size", width);
    set_int(root, "max_position_embeddings", dim(places, 0));
    set_int(root, "num_hidden_layers", layers);
    set_int(root, "num_attention_heads", MAX(width / 64, 1));
    set_int(root, "intermediate_size", dim(fc1, 0));
    set_text(root, "hidden_act", activation);
    if (projection)
        set_int(root, "projection_dim", dim(projection, 0));
    return root;
}

json_t *derive_clip(const struct safetensors *st, const char *prefix)
{
    int layers = 0;
    while (layers < 100 &&
           safetensors_find_part(st, prefix, "encoder.layers.%d.mlp.fc1.weight", layers))
        layers++;
    return clip_config(safetensors_find_part(st, prefix, "embeddings.token_embedding.weight"),
                       safetensors_find_part(st, prefix, "embeddings.position_embedding.weight"),
                       safetensors_find_part(st, prefix, "encoder.layers.0.mlp.fc1.weight"), NULL,
                       layers, "quick_gelu", false);
}

json_t *derive_openclip(const struct safetensors *st, const char *prefix, bool drop_last,
                        int *layers)
{
    const struct st_tensor *transposed = safetensors_find_part(st, prefix, "text_projection");
    const struct st_tensor *projection =
        safetensors_find_part(st, prefix, "text_projection.weight");
    struct st_tensor turned;
    *layers = 0;
    while (*layers < 100 &&
           safetensors_find_part(st, prefix, "transformer.resblocks.%d.mlp.c_fc.weight", *layers))
        ++*layers;
    /* OpenCLIP-H has 24; files that went through diffusers have lost the last. */
    if (drop_last)
        *layers = MIN(*layers, SD2_TEXT_LAYERS);
    if (transposed && transposed->rank == 2) {
        turned = *transposed;
        turned.dims[0] = transposed->dims[1];
        projection = &turned;
    }
    return clip_config(safetensors_find_part(st, prefix, "token_embedding.weight"),
                       safetensors_find_part(st, prefix, "positional_embedding"),
                       safetensors_find_part(st, prefix, "transformer.resblocks.0.mlp.c_fc.weight"),
                       projection, *layers, "gelu", !drop_last);
}

json_t *derive_scheduler(bool v_prediction, bool zero_snr)
{
    return json_pack("{s:i, s:f, s:f, s:s, s:s, s:b, s:i, s:s, s:b, s:b}", "num_train_timesteps",
                     1000, "beta_start", 0.00085, "beta_end", 0.012, "beta_schedule",
                     "scaled_linear", "prediction_type", v_prediction ? "v_prediction" : "epsilon",
                     "rescale_betas_zero_snr", zero_snr, "steps_offset", 1, "timestep_spacing",
                     zero_snr ? "trailing" : "leading", "set_alpha_to_one", false, "clip_sample",
                     false);
}
