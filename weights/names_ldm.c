#include "weights/names_ldm.h"

#include "weights/model_private.h"

#include <stdio.h>
#include <string.h>

/* First pair whose first text is `from`; its second, or NULL. */
static const char *lookup(const char *const pairs[][2], size_t n, const char *from)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(pairs[i][0], from))
            return pairs[i][1];
    return NULL;
}

/* "in_layers.0.weight" with "in_layers.0" in the table becomes "norm1.weight". */
static char *replace_start(const char *const pairs[][2], size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(pairs[i][0]);
        if (!strncmp(name, pairs[i][0], len) && (name[len] == '.' || name[len] == 0))
            return g_strconcat(pairs[i][1], name + len, NULL);
    }
    return NULL;
}

/* The number after the start of a name: "input_blocks." of "input_blocks.12.0.op" gives 12 and
 * "0.op". */
static bool number_after(const char *name, const char *start, int *number, const char **rest)
{
    size_t len = strlen(start);
    if (strncmp(name, start, len))
        return false;
    const char *p = name + len;
    int n = 0, digits = 0;
    for (; g_ascii_isdigit(*p) && digits < 4; p++, digits++)
        n = n * 10 + (*p - '0');
    if (!digits || *p != '.')
        return false;
    *number = n;
    *rest = p + 1;
    return true;
}

char *names_old_attention(const char *name)
{
    static const char *const pairs[][2] = {{".query.", ".to_q."},
                                           {".key.", ".to_k."},
                                           {".value.", ".to_v."},
                                           {".proj_attn.", ".to_out.0."}};
    for (size_t i = 0; i < G_N_ELEMENTS(pairs); i++) {
        const char *at = strstr(name, pairs[i][0]);
        if (at)
            return g_strdup_printf("%.*s%s%s", (int)(at - name), name, pairs[i][1],
                                   at + strlen(pairs[i][0]));
    }
    return NULL;
}

/* Transformer blocks in slot 1 of a block. */
static int count_depth(const struct safetensors *st, const char *prefix, const char *block)
{
    int depth = 0;
    while (depth < 1000 && safetensors_find_part(
                               st, prefix, "%s.1.transformer_blocks.%d.norm1.weight", block, depth))
        depth++;
    return depth;
}

static bool scan_inputs(struct ldm_unet *u, const struct safetensors *st)
{
    int level = 0, layer = 0, n = 1;
    for (; n < LDM_MAX_BLOCKS; n++) {
        struct ldm_block *b = &u->input[n];
        char block[32];
        g_snprintf(block, sizeof block, "input_blocks.%d", n);
        *b = (struct ldm_block){level, layer, 0, -1, false};
        if (safetensors_find_part(st, u->prefix, "%s.0.op.weight", block)) {
            b->resample = 0;
            layer = 0;
            if (++level >= LDM_MAX_LEVELS)
                return false;
        } else if (safetensors_find_part(st, u->prefix, "%s.0.in_layers.0.weight", block)) {
            b->resnet = true;
            b->depth = count_depth(st, u->prefix, block);
            u->layers[level] = ++layer;
            if (layer >= LDM_MAX_LAYERS)
                return false;
        } else {
            break;
        }
    }
    u->inputs = n;
    u->levels = level + 1;
    return n > 1;
}

static bool scan_outputs(struct ldm_unet *u, const struct safetensors *st)
{
    int level = 0, layer = 0, n = 0;
    for (; n < LDM_MAX_BLOCKS; n++) {
        struct ldm_block *b = &u->output[n];
        char block[32];
        g_snprintf(block, sizeof block, "output_blocks.%d", n);
        if (!safetensors_find_part(st, u->prefix, "%s.0.in_layers.0.weight", block))
            break;
        *b = (struct ldm_block){level, layer, count_depth(st, u->prefix, block), -1, true};
        if (++layer > LDM_MAX_LAYERS)
            return false;
        for (int slot = 1; slot <= 2; slot++)
            if (safetensors_find_part(st, u->prefix, "%s.%d.conv.weight", block, slot))
                b->resample = slot;
        if (b->resample >= 0) {
            layer = 0;
            if (++level >= LDM_MAX_LEVELS)
                return false;
        }
    }
    u->outputs = n;
    return n > 0 && level + 1 == u->levels;
}

bool ldm_unet_scan(struct ldm_unet *u, const struct safetensors *st, const char *prefix)
{
    *u = (struct ldm_unet){.prefix = prefix};
    if (!safetensors_find_part(st, prefix, "input_blocks.0.0.weight") || !scan_inputs(u, st) ||
        !scan_outputs(u, st))
        return false;
    u->middle = safetensors_find_part(st, prefix, "middle_block.0.in_layers.0.weight");
    u->middle_depth = count_depth(st, prefix, "middle_block");
    return true;
}

static const char *const resnet_pairs[][2] = {
    {"in_layers.0", "norm1"},  {"in_layers.2", "conv1"},  {"emb_layers.1", "time_emb_proj"},
    {"out_layers.0", "norm2"}, {"out_layers.3", "conv2"}, {"skip_connection", "conv_shortcut"}};

static char *resnet_name(const char *rest)
{
    return replace_start(resnet_pairs, G_N_ELEMENTS(resnet_pairs), rest);
}

static char *input_name(const struct ldm_unet *u, int n, const char *rest)
{
    const struct ldm_block *b = &u->input[n];
    g_autofree char *inner = NULL;
    if (n >= u->inputs || strlen(rest) < 3 || rest[1] != '.')
        return NULL;
    if (b->resample == 0 && g_str_has_prefix(rest, "0.op."))
        return g_strdup_printf("down_blocks.%d.downsamplers.0.conv.%s", b->level, rest + 5);
    if (b->resnet && rest[0] == '1')
        return g_strdup_printf("down_blocks.%d.attentions.%d.%s", b->level, b->layer, rest + 2);
    if (b->resnet && rest[0] == '0' && (inner = resnet_name(rest + 2)))
        return g_strdup_printf("down_blocks.%d.resnets.%d.%s", b->level, b->layer, inner);
    return NULL;
}

static char *output_name(const struct ldm_unet *u, int n, const char *rest)
{
    const struct ldm_block *b = &u->output[n];
    g_autofree char *inner = NULL;
    if (n >= u->outputs || strlen(rest) < 3 || rest[1] != '.')
        return NULL;
    if (b->resample == rest[0] - '0' && g_str_has_prefix(rest + 2, "conv."))
        return g_strdup_printf("up_blocks.%d.upsamplers.0.%s", b->level, rest + 2);
    if (rest[0] == '1')
        return g_strdup_printf("up_blocks.%d.attentions.%d.%s", b->level, b->layer, rest + 2);
    if (rest[0] == '0' && (inner = resnet_name(rest + 2)))
        return g_strdup_printf("up_blocks.%d.resnets.%d.%s", b->level, b->layer, inner);
    return NULL;
}

static char *middle_name(const char *rest)
{
    g_autofree char *inner = NULL;
    if (g_str_has_prefix(rest, "1."))
        return g_strdup_printf("mid_block.attentions.0.%s", rest + 2);
    if ((rest[0] == '0' || rest[0] == '2') && rest[1] == '.' && (inner = resnet_name(rest + 2)))
        return g_strdup_printf("mid_block.resnets.%d.%s", rest[0] == '2', inner);
    return NULL;
}

static const char *const top_pairs[][2] = {
    {"input_blocks.0.0", "conv_in"},
    {"time_embed.0", "time_embedding.linear_1"},
    {"time_embed.2", "time_embedding.linear_2"},
    {"time_embed.cond_proj", "time_embedding.cond_proj"},
    {"time_embedding.cond_proj", "time_embedding.cond_proj"},
    {"label_emb.0.0", "add_embedding.linear_1"},
    {"label_emb.0.2", "add_embedding.linear_2"},
    {"out.0", "conv_norm_out"},
    {"out.2", "conv_out"},
};

char *ldm_unet_name(const struct ldm_unet *u, const char *name)
{
    const char *rest;
    int n;
    char *top = replace_start(top_pairs, G_N_ELEMENTS(top_pairs), name);
    if (top)
        return top;
    if (number_after(name, "input_blocks.", &n, &rest))
        return n < LDM_MAX_BLOCKS ? input_name(u, n, rest) : NULL;
    if (number_after(name, "output_blocks.", &n, &rest))
        return n < LDM_MAX_BLOCKS ? output_name(u, n, rest) : NULL;
    if (g_str_has_prefix(name, "middle_block."))
        return middle_name(name + strlen("middle_block."));
    return NULL;
}

void ldm_count(struct ldm_counts *c, const struct weights *unet)
{
    char name[96];
    *c = (struct ldm_counts){0};
    for (int level = 0; level < LDM_MAX_LEVELS; level++)
        for (int up = 0; up < 2; up++) {
            const char *way = up ? "up" : "down";
            int *n = up ? &c->up[level] : &c->down[level];
            for (; *n < LDM_MAX_LAYERS; ++*n) {
                g_snprintf(name, sizeof name, "%s_blocks.%d.resnets.%d.norm1.weight", way, level,
                           *n);
                if (!weights_has(unet, name))
                    break;
            }
            g_snprintf(name, sizeof name, "up_blocks.%d.attentions.0.norm.weight", level);
            c->up_attention[level] = weights_has(unet, name);
        }
}

/* Second text to first: "norm1" becomes "in_layers.0". */
static char *replace_back(const char *const pairs[][2], size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(pairs[i][1]);
        if (!strncmp(name, pairs[i][1], len) && (name[len] == '.' || name[len] == 0))
            return g_strconcat(pairs[i][0], name + len, NULL);
    }
    return NULL;
}

/* "resnets.1.conv1" or "attentions.1.proj_in" in a block whose first layer has number `first`. */
static char *old_layer_name(const char *way, int first, const char *rest)
{
    const char *inner;
    int layer;
    if (number_after(rest, "attentions.", &layer, &inner))
        return g_strdup_printf("%s_blocks.%d.1.%s", way, first + layer, inner);
    if (!number_after(rest, "resnets.", &layer, &inner))
        return NULL;
    g_autofree char *old = replace_back(resnet_pairs, G_N_ELEMENTS(resnet_pairs), inner);
    return old ? g_strdup_printf("%s_blocks.%d.0.%s", way, first + layer, old) : NULL;
}

static char *old_middle_name(const char *rest)
{
    const char *inner;
    int n;
    if (number_after(rest, "attentions.", &n, &inner))
        return g_strdup_printf("middle_block.1.%s", inner);
    if (!number_after(rest, "resnets.", &n, &inner))
        return NULL;
    g_autofree char *old = replace_back(resnet_pairs, G_N_ELEMENTS(resnet_pairs), inner);
    return old ? g_strdup_printf("middle_block.%d.%s", 2 * n, old) : NULL;
}

char *ldm_unet_old_name(const struct ldm_counts *c, const char *module)
{
    const char *rest;
    int level, first = 0;
    char *top = replace_back(top_pairs, G_N_ELEMENTS(top_pairs), module);
    if (top)
        return top;
    if (g_str_has_prefix(module, "mid_block."))
        return old_middle_name(module + strlen("mid_block."));
    if (number_after(module, "down_blocks.", &level, &rest) && level < LDM_MAX_LEVELS) {
        for (int i = 0; i < level; i++)
            first += c->down[i] + 1;
        if (!strcmp(rest, "downsamplers.0.conv"))
            return g_strdup_printf("input_blocks.%d.0.op", 1 + first + c->down[level]);
        return old_layer_name("input", 1 + first, rest);
    }
    if (number_after(module, "up_blocks.", &level, &rest) && level < LDM_MAX_LEVELS) {
        for (int i = 0; i < level; i++)
            first += c->up[i];
        if (!strcmp(rest, "upsamplers.0.conv"))
            return g_strdup_printf("output_blocks.%d.%d.conv", first + c->up[level] - 1,
                                   c->up_attention[level] ? 2 : 1);
        return old_layer_name("output", first, rest);
    }
    return NULL;
}

static char *vae_resnet_name(const char *rest)
{
    static const char *const pairs[][2] = {{"nin_shortcut", "conv_shortcut"}};
    char *name = replace_start(pairs, G_N_ELEMENTS(pairs), rest);
    return name ? name : g_strdup(rest);
}

static char *vae_half_name(const char *half, const char *rest, int levels)
{
    static const char *const tops[][2] = {
        {"norm_out", "conv_norm_out"}, {"conv_in", "conv_in"}, {"conv_out", "conv_out"}};
    static const char *const attention[][2] = {{"norm", "group_norm"},
                                               {"q", "to_q"},
                                               {"k", "to_k"},
                                               {"v", "to_v"},
                                               {"proj_out", "to_out.0"}};
    const char *after;
    int level, layer;
    for (int i = 0; i < 2; i++)
        if (g_str_has_prefix(rest, i ? "mid.block_2." : "mid.block_1.")) {
            g_autofree char *resnet = vae_resnet_name(rest + strlen("mid.block_1."));
            return g_strdup_printf("%s.mid_block.resnets.%d.%s", half, i, resnet);
        }
    g_autofree char *inner = replace_start(tops, G_N_ELEMENTS(tops), rest);
    if (inner)
        return g_strdup_printf("%s.%s", half, inner);
    if (g_str_has_prefix(rest, "mid.attn_1.") &&
        (inner = replace_start(attention, G_N_ELEMENTS(attention), rest + strlen("mid.attn_1."))))
        return g_strdup_printf("%s.mid_block.attentions.0.%s", half, inner);
    bool up = number_after(rest, "up.", &level, &after);
    if (!up && !number_after(rest, "down.", &level, &after))
        return NULL;
    if (up)
        level = levels - 1 - level;
    if (level < 0 || level >= levels)
        return NULL;
    if (number_after(after, "block.", &layer, &after)) {
        inner = vae_resnet_name(after);
        return g_strdup_printf("%s.%s_blocks.%d.resnets.%d.%s", half, up ? "up" : "down", level,
                               layer, inner);
    }
    if (g_str_has_prefix(after, up ? "upsample." : "downsample."))
        return g_strdup_printf("%s.%s_blocks.%d.%ssamplers.0.%s", half, up ? "up" : "down", level,
                               up ? "up" : "down", strchr(after, '.') + 1);
    return NULL;
}

char *ldm_vae_name(const char *name, int levels)
{
    g_autofree char *half = NULL;
    if (g_str_has_prefix(name, "quant_conv.") || g_str_has_prefix(name, "post_quant_conv."))
        return g_strdup(name);
    if (g_str_has_prefix(name, "encoder."))
        half = vae_half_name("encoder", name + strlen("encoder."), levels);
    else if (g_str_has_prefix(name, "decoder."))
        half = vae_half_name("decoder", name + strlen("decoder."), levels);
    return g_steal_pointer(&half);
}

char *ldm_clip_name(const char *name)
{
    static const char *const tops[] = {"embeddings.", "encoder.", "final_layer_norm."};
    if (g_str_has_prefix(name, "text_model.") || g_str_has_prefix(name, "text_projection."))
        return g_strdup(name);
    for (size_t i = 0; i < G_N_ELEMENTS(tops); i++)
        if (g_str_has_prefix(name, tops[i]))
            return g_strconcat("text_model.", name, NULL);
    return NULL;
}

int ldm_openclip_layer(const char *name)
{
    const char *rest;
    int n;
    return number_after(name, "transformer.resblocks.", &n, &rest) ? n : -1;
}

char *ldm_openclip_name(const char *name, bool *split, bool *transposed)
{
    static const char *const tops[][2] = {
        {"positional_embedding", "text_model.embeddings.position_embedding.weight"},
        {"token_embedding.weight", "text_model.embeddings.token_embedding.weight"},
        {"ln_final.weight", "text_model.final_layer_norm.weight"},
        {"ln_final.bias", "text_model.final_layer_norm.bias"},
        {"text_projection", "text_projection.weight"},
        {"text_projection.weight", "text_projection.weight"}};
    static const char *const inners[][2] = {{"ln_1", "layer_norm1"},
                                            {"ln_2", "layer_norm2"},
                                            {"mlp.c_fc", "mlp.fc1"},
                                            {"mlp.c_proj", "mlp.fc2"},
                                            {"attn.out_proj", "self_attn.out_proj"},
                                            {"attn.in_proj_weight", "self_attn.?_proj.weight"},
                                            {"attn.in_proj_bias", "self_attn.?_proj.bias"}};
    const char *rest, *top = lookup(tops, G_N_ELEMENTS(tops), name);
    int layer;
    *split = false;
    *transposed = !strcmp(name, "text_projection");
    if (top)
        return g_strdup(top);
    if (!number_after(name, "transformer.resblocks.", &layer, &rest))
        return NULL;
    g_autofree char *inner = replace_start(inners, G_N_ELEMENTS(inners), rest);
    if (!inner)
        return NULL;
    *split = strchr(inner, '?') != NULL;
    return g_strdup_printf("text_model.encoder.layers.%d.%s", layer, inner);
}

char *ldm_openclip_part(const char *name, int part)
{
    char *copy = g_strdup(name), *mark = strchr(copy, '?');
    if (mark)
        *mark = "qkv"[part];
    return copy;
}
