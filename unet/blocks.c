#include "unet/blocks.h"

#define LAYER_NORM_EPS 1e-5f
#define TRANSFORMER_NORM_EPS 1e-6f /* not the resnets' */

static const struct weight *bind_part(struct bind *b, const char *name, const char *part, int rank,
                                      int out, int in, int kernel)
{
    g_autofree char *full = g_strdup_printf("%s.%s", name, part);
    switch (rank) {
    case 1:
        return bind_weight(b, full, 1, out);
    case 2:
        return bind_weight(b, full, 2, out, in);
    default:
        return bind_weight(b, full, 4, out, in, kernel, kernel);
    }
}

struct affine unet_bind_linear(struct bind *b, const char *name, int out, int in)
{
    return (struct affine){bind_part(b, name, "weight", 2, out, in, 0),
                           bind_part(b, name, "bias", 1, out, 0, 0)};
}

struct affine unet_bind_bare(struct bind *b, const char *name, int out, int in)
{
    return (struct affine){bind_part(b, name, "weight", 2, out, in, 0), NULL};
}

struct affine unet_bind_conv(struct bind *b, const char *name, int out, int in, int kernel)
{
    return (struct affine){bind_part(b, name, "weight", 4, out, in, kernel),
                           bind_part(b, name, "bias", 1, out, 0, 0)};
}

struct affine unet_bind_norm(struct bind *b, const char *name, int channels)
{
    return (struct affine){bind_part(b, name, "weight", 1, channels, 0, 0),
                           bind_part(b, name, "bias", 1, channels, 0, 0)};
}

void unet_bind_resnet(struct resnet *r, struct bind *b, const struct unet_config *config, int in,
                      int out)
{
    r->groups = config->groups;
    r->eps = config->eps;
    r->norm1 = unet_bind_norm(b, "norm1", in);
    r->conv1 = unet_bind_conv(b, "conv1", out, in, 3);
    r->time = unet_bind_linear(b, "time_emb_proj", out, config->time_channels);
    r->norm2 = unet_bind_norm(b, "norm2", out);
    r->conv2 = unet_bind_conv(b, "conv2", out, out, 3);
    if (in != out)
        r->skip = unet_bind_conv(b, "conv_shortcut", out, in, 1);
}

static void transformer_block_bind(struct transformer_block *m, struct bind *b, int channels,
                                   int heads, int text_channels)
{
    m->heads = heads;
    m->norm1 = unet_bind_norm(b, "norm1", channels);
    m->self_q = unet_bind_bare(b, "attn1.to_q", channels, channels);
    m->self_k = unet_bind_bare(b, "attn1.to_k", channels, channels);
    m->self_v = unet_bind_bare(b, "attn1.to_v", channels, channels);
    m->self_out = unet_bind_linear(b, "attn1.to_out.0", channels, channels);
    m->norm2 = unet_bind_norm(b, "norm2", channels);
    m->text_q = unet_bind_bare(b, "attn2.to_q", channels, channels);
    m->text_k = unet_bind_bare(b, "attn2.to_k", channels, text_channels);
    m->text_v = unet_bind_bare(b, "attn2.to_v", channels, text_channels);
    m->text_out = unet_bind_linear(b, "attn2.to_out.0", channels, channels);
    m->norm3 = unet_bind_norm(b, "norm3", channels);
    m->widen = unet_bind_linear(b, "ff.net.0.proj", 8 * channels, channels);
    m->narrow = unet_bind_linear(b, "ff.net.2", channels, 4 * channels);
}

void unet_bind_transformer(struct transformer *m, struct bind *b, const struct unet_config *config,
                           int channels, int heads, int depth)
{
    m->groups = config->groups;
    m->depth = depth;
    m->blocks = g_new0(struct transformer_block, depth);
    m->norm = unet_bind_norm(b, "norm", channels);
    /* Whether the file calls it a convolution or a linear layer, channels last makes them one. */
    m->proj_in = unet_bind_linear(b, "proj_in", channels, channels);
    for (int i = 0; i < depth; i++) {
        bind_push(b, "transformer_blocks.%d.", i);
        transformer_block_bind(&m->blocks[i], b, channels, heads, config->text_channels);
        bind_pop(b);
    }
    m->proj_out = unet_bind_linear(b, "proj_out", channels, channels);
}

void unet_finish_transformer(struct transformer *m)
{
    g_clear_pointer(&m->blocks, g_free);
}

struct tensor *unet_conv3x3(struct tape *t, const struct affine *conv, struct tensor *x)
{
    return op_conv2d(t, x, conv->w, conv->b, (struct conv2d_params){.padding = 1});
}

struct tensor *unet_linear(struct tape *t, const struct affine *layer, struct tensor *x)
{
    return op_linear(t, x, layer->w, layer->b);
}

struct tensor *unet_resnet(struct tape *t, const struct resnet *r, struct tensor *x,
                           struct tensor *rows, const struct unet_memo *memo)
{
    struct tensor *time = op_gather(t, rows, memo->time[r->index]); // [B, O]

    struct tensor *h = op_silu(t, op_group_norm(t, x, r->norm1.w, r->norm1.b, r->groups, r->eps));
    h = op_add(t, unet_conv3x3(t, &r->conv1, h), time); // [B, H, W, O]
    h = op_silu(t, op_group_norm(t, h, r->norm2.w, r->norm2.b, r->groups, r->eps));

    if (r->skip.w)
        x = op_conv2d(t, x, r->skip.w, r->skip.b, (struct conv2d_params){0});
    return op_add(t, unet_conv3x3(t, &r->conv2, h), x);
}

static struct tensor *layer_norm(struct tape *t, const struct affine *norm, struct tensor *x)
{
    return op_layer_norm(t, x, norm->w, norm->b, LAYER_NORM_EPS);
}

static struct tensor *transformer_block(struct tape *t, const struct transformer_block *m,
                                        struct tensor *h, const struct unet_memo *memo)
{
    struct attention_params params = {.heads = m->heads};

    struct tensor *n = layer_norm(t, &m->norm1, h); // [B, HW, C]
    struct tensor *a = op_attention(t, unet_linear(t, &m->self_q, n), unet_linear(t, &m->self_k, n),
                                    unet_linear(t, &m->self_v, n), params);
    h = op_add(t, unet_linear(t, &m->self_out, a), h);

    n = layer_norm(t, &m->norm2, h);
    a = op_attention(t, unet_linear(t, &m->text_q, n), memo->text[m->index].k,
                     memo->text[m->index].v, params);
    h = op_add(t, unet_linear(t, &m->text_out, a), h);

    n = layer_norm(t, &m->norm3, h);
    n = op_geglu(t, unet_linear(t, &m->widen, n)); // [B, HW, 4C]
    return op_add(t, unet_linear(t, &m->narrow, n), h);
}

struct tensor *unet_transformer(struct tape *t, const struct transformer *m, struct tensor *x,
                                const struct unet_memo *memo)
{
    const int64_t *d = x->dims, tokens[] = {d[0], d[1] * d[2], d[3]};

    struct tensor *h = op_group_norm(t, x, m->norm.w, m->norm.b, m->groups, TRANSFORMER_NORM_EPS);
    h = unet_linear(t, &m->proj_in, op_reshape(t, h, 3, tokens)); // [B, HW, C]
    for (int i = 0; i < m->depth; i++)
        h = transformer_block(t, &m->blocks[i], h, memo);
    h = op_add(t, unet_linear(t, &m->proj_out, h), op_reshape(t, x, 3, tokens));
    return op_reshape(t, h, 4, d); // [B, H, W, C]
}

struct tensor *unet_downsample(struct tape *t, const struct affine *conv, struct tensor *x)
{
    return op_conv2d(t, x, conv->w, conv->b, (struct conv2d_params){.stride = 2, .padding = 1});
}

struct tensor *unet_upsample(struct tape *t, const struct affine *conv, struct tensor *x,
                             const struct tensor *like)
{
    return unet_conv3x3(t, conv, op_upsample_nearest(t, x, (int)like->dims[1], (int)like->dims[2]));
}
