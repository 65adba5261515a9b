/* The autoencoder: binding, then the decoder and the encoder drawn top to bottom. */
#include "vae/vae.h"

#include "compute/op.h"
#include "weights/weights.h"

#include <math.h>

#define NORM_EPS 1e-6f

struct affine {
    const struct weight *w, *b;
};

struct resnet {
    struct affine norm1, conv1, norm2, conv2;
    struct affine skip; /* w is NULL when input and output have the same width */
};

struct attention {
    struct affine norm, q, k, v, out;
};

struct mid {
    struct resnet res[2];
    struct attention attn; /* norm.w is NULL: none */
};

struct level {
    struct resnet *res;
    int layers;
    struct affine resample; /* w is NULL at the last level */
};

struct half { /* the encoder or the decoder */
    struct affine conv_in, norm_out, conv_out;
    struct mid mid;
    struct level level[VAE_MAX_LEVELS];
};

struct vae_parts {
    struct half encoder, decoder;
    struct affine quant, post_quant; /* w is NULL: none */
};

/* ---- binding ---- */

static struct affine bind_conv(struct bind *b, const char *name, int out, int in, int kernel)
{
    bind_push(b, "%s.", name);
    struct affine a = {bind_weight(b, "weight", 4, out, in, kernel, kernel),
                       bind_weight(b, "bias", 1, out)};
    bind_pop(b);
    return a;
}

static struct affine bind_norm(struct bind *b, const char *name, int channels)
{
    bind_push(b, "%s.", name);
    struct affine a = {bind_weight(b, "weight", 1, channels), bind_weight(b, "bias", 1, channels)};
    bind_pop(b);
    return a;
}

static struct affine bind_linear(struct bind *b, const char *name, int channels)
{
    bind_push(b, "%s.", name);
    struct affine a = {bind_weight(b, "weight", 2, channels, channels),
                       bind_weight(b, "bias", 1, channels)};
    bind_pop(b);
    return a;
}

static void bind_resnet(struct resnet *r, struct bind *b, int index, int in, int out)
{
    bind_push(b, "resnets.%d.", index);
    r->norm1 = bind_norm(b, "norm1", in);
    r->conv1 = bind_conv(b, "conv1", out, in, 3);
    r->norm2 = bind_norm(b, "norm2", out);
    r->conv2 = bind_conv(b, "conv2", out, out, 3);
    if (in != out)
        r->skip = bind_conv(b, "conv_shortcut", out, in, 1);
    bind_pop(b);
}

static void bind_mid(struct mid *m, struct bind *b, const struct vae_config *c)
{
    int channels = c->channels[c->levels - 1];

    bind_push(b, "mid_block.");
    for (int i = 0; i < 2; i++)
        bind_resnet(&m->res[i], b, i, channels, channels);
    if (c->mid_attention) {
        bind_push(b, "attentions.0.");
        m->attn.norm = bind_norm(b, "group_norm", channels);
        m->attn.q = bind_linear(b, "to_q", channels);
        m->attn.k = bind_linear(b, "to_k", channels);
        m->attn.v = bind_linear(b, "to_v", channels);
        m->attn.out = bind_linear(b, "to_out.0", channels);
        bind_pop(b);
    }
    bind_pop(b);
}

static void bind_level(struct level *l, struct bind *b, int layers, int in, int out)
{
    l->layers = layers;
    l->res = g_new0(struct resnet, layers);
    for (int j = 0; j < layers; j++)
        bind_resnet(&l->res[j], b, j, j ? out : in, out);
}

static void bind_encoder(struct half *e, struct bind *b, const struct vae_config *c)
{
    int last = c->channels[c->levels - 1];

    bind_push(b, "encoder.");
    e->conv_in = bind_conv(b, "conv_in", c->channels[0], c->picture_channels, 3);
    for (int i = 0; i < c->levels; i++) {
        struct level *l = &e->level[i];
        bind_push(b, "down_blocks.%d.", i);
        bind_level(l, b, c->layers, c->channels[MAX(i - 1, 0)], c->channels[i]);
        if (i + 1 < c->levels)
            l->resample = bind_conv(b, "downsamplers.0.conv", c->channels[i], c->channels[i], 3);
        bind_pop(b);
    }
    bind_mid(&e->mid, b, c);
    e->norm_out = bind_norm(b, "conv_norm_out", last);
    e->conv_out = bind_conv(b, "conv_out", 2 * c->latent_channels, last, 3);
    bind_pop(b);
}

static void bind_decoder(struct half *d, struct bind *b, const struct vae_config *c)
{
    int last = c->channels[c->levels - 1];

    bind_push(b, "decoder.");
    d->conv_in = bind_conv(b, "conv_in", last, c->latent_channels, 3);
    bind_mid(&d->mid, b, c);
    for (int i = 0; i < c->levels; i++) {
        struct level *l = &d->level[i];
        int deep = c->levels - 1 - i, channels = c->channels[deep];
        bind_push(b, "up_blocks.%d.", i);
        bind_level(l, b, c->layers + 1, c->channels[MIN(deep + 1, c->levels - 1)], channels);
        if (deep > 0)
            l->resample = bind_conv(b, "upsamplers.0.conv", channels, channels, 3);
        bind_pop(b);
    }
    d->norm_out = bind_norm(b, "conv_norm_out", c->channels[0]);
    d->conv_out = bind_conv(b, "conv_out", c->picture_channels, c->channels[0], 3);
    bind_pop(b);
}

bool vae_init(struct vae *v, struct weights *weights, json_t *config, GError **error)
{
    *v = (struct vae){0};
    if (!vae_config_read(&v->config, config, error))
        return false;
    const struct vae_config *c = &v->config;
    struct vae_parts *p = v->parts = g_new0(struct vae_parts, 1);
    v->has_encoder = weights_has(weights, "encoder.conv_in.weight");

    struct bind b;
    bind_init(&b, weights, "vae");
    bind_decoder(&p->decoder, &b, c);
    if (c->post_quant_conv)
        p->post_quant = bind_conv(&b, "post_quant_conv", c->latent_channels, c->latent_channels, 1);
    if (v->has_encoder) {
        int both = 2 * c->latent_channels;
        bind_encoder(&p->encoder, &b, c);
        if (c->quant_conv)
            p->quant = bind_conv(&b, "quant_conv", both, both, 1);
    }
    if (!bind_finish(&b, error)) {
        vae_finish(v);
        return false;
    }
    return true;
}

void vae_finish(struct vae *v)
{
    for (int i = 0; v->parts && i < VAE_MAX_LEVELS; i++) {
        g_free(v->parts->encoder.level[i].res);
        g_free(v->parts->decoder.level[i].res);
    }
    g_clear_pointer(&v->parts, g_free);
}

int vae_factor(const struct vae *v)
{
    return 1 << (v->config.levels - 1);
}

void vae_from_model(const struct vae *v, float *latent, size_t n)
{
    const struct vae_config *c = &v->config;
    for (size_t i = 0; i < n; i++) {
        size_t channel = i % (size_t)c->latent_channels;
        latent[i] = latent[i] * c->std[channel] / c->scaling + c->mean[channel];
    }
}

void vae_to_model(const struct vae *v, float *latent, size_t n)
{
    const struct vae_config *c = &v->config;
    for (size_t i = 0; i < n; i++) {
        size_t channel = i % (size_t)c->latent_channels;
        latent[i] = (latent[i] - c->mean[channel]) * c->scaling / c->std[channel];
    }
}

/* ---- the diagram ---- */

static struct tensor *conv(struct tape *t, const struct affine *a, struct tensor *x)
{
    return op_conv2d(t, x, a->w, a->b, (struct conv2d_params){.padding = -1});
}

/* How group norms are done: plainly, or as those of a strip. */
struct norms {
    int groups, count; /* count: met so far */
    const struct vae_strip *strip;
    int cells; /* rows of the strip */
};

static struct norms whole(const struct vae *v)
{
    return (struct norms){.groups = v->config.groups};
}

static struct tensor *strip_norm(struct tape *t, struct norms *n, const struct affine *a,
                                 struct tensor *x)
{
    int index = n->count++, scale = (int)x->dims[1] / n->cells;

    if (index < n->strip->known) {
        g_autofree char *name = g_strdup_printf("given.%d", index);
        struct tensor *moments = tape_input(t, name, DTYPE_F32, 3, (int64_t[]){1, n->groups, 2});
        return op_group_norm_given(t, x, moments, a->w, a->b, n->groups, NORM_EPS);
    }
    if (index == n->strip->known)
        tape_output(
            t, "moments",
            op_group_moments(t, x, n->groups, n->strip->first * scale, n->strip->rows * scale));
    return x; /* what follows is not read */
}

static struct tensor *group_norm(struct tape *t, struct norms *n, const struct affine *a,
                                 struct tensor *x)
{
    return n->strip ? strip_norm(t, n, a, x) : op_group_norm(t, x, a->w, a->b, n->groups, NORM_EPS);
}

static struct tensor *norm_silu(struct tape *t, struct norms *n, const struct affine *a,
                                struct tensor *x)
{
    return op_silu(t, group_norm(t, n, a, x));
}

/* [B, H, W, I] -> [B, H, W, O] */
static struct tensor *resnet(struct tape *t, struct norms *n, const struct resnet *r,
                             struct tensor *x)
{
    struct tensor *h = conv(t, &r->conv1, norm_silu(t, n, &r->norm1, x));
    h = norm_silu(t, n, &r->norm2, h);
    if (r->skip.w)
        x = conv(t, &r->skip, x);
    return op_add(t, conv(t, &r->conv2, h), x);
}

static struct tensor *linear(struct tape *t, const struct affine *a, struct tensor *x)
{
    return op_linear(t, x, a->w, a->b);
}

/* [B, H, W, C] -> [B, H, W, C]: one head that looks at all pixels. */
static struct tensor *attention(struct tape *t, struct norms *n, const struct attention *a,
                                struct tensor *x)
{
    const int64_t *d = x->dims, pixels[] = {d[0], d[1] * d[2], d[3]};

    struct tensor *h = group_norm(t, n, &a->norm, x);
    h = op_reshape(t, h, 3, pixels); // [B, HW, C]
    h = op_attention(t, linear(t, &a->q, h), linear(t, &a->k, h), linear(t, &a->v, h),
                     (struct attention_params){.heads = 1});
    h = op_add(t, linear(t, &a->out, h), op_reshape(t, x, 3, pixels));
    return op_reshape(t, h, 4, d); // [B, H, W, C]
}

static struct tensor *middle(struct tape *t, struct norms *n, const struct mid *m, struct tensor *h)
{
    h = resnet(t, n, &m->res[0], h);
    if (m->attn.norm.w)
        h = attention(t, n, &m->attn, h);
    return resnet(t, n, &m->res[1], h);
}

/* Levels [first, end) of the way up, deepest first. */
static struct tensor *climb(struct tape *t, const struct vae *v, struct norms *n, int first,
                            int end, struct tensor *h)
{
    for (int i = first; i < end; i++) {
        const struct level *l = &v->parts->decoder.level[i];
        tape_mark(t, "vae.up.%d", i);
        for (int j = 0; j < l->layers; j++)
            h = resnet(t, n, &l->res[j], h);
        if (l->resample.w) {
            int height = (int)h->dims[1], width = (int)h->dims[2];
            h = op_upsample_nearest(t, h, 2 * height, 2 * width);
            h = conv(t, &l->resample, h); // [B, 2H, 2W, C]
        }
    }
    return h;
}

static struct tensor *lower(struct tape *t, const struct vae *v, struct norms *n, int cut,
                            struct tensor *latent)
{
    const struct half *d = &v->parts->decoder;

    tape_mark(t, "vae.mid");
    struct tensor *h = latent; // [B, H, W, L]
    if (v->parts->post_quant.w)
        h = conv(t, &v->parts->post_quant, h);
    h = conv(t, &d->conv_in, h); // [B, H, W, C]
    h = middle(t, n, &d->mid, h);
    return climb(t, v, n, 0, cut, h);
}

static struct tensor *upper(struct tape *t, const struct vae *v, struct norms *n, int cut,
                            struct tensor *h)
{
    const struct half *d = &v->parts->decoder;

    h = climb(t, v, n, cut, v->config.levels, h);
    tape_mark(t, "vae.out");
    return conv(t, &d->conv_out, norm_silu(t, n, &d->norm_out, h)); // [B, 8H, 8W, 3]
}

struct tensor *vae_decode(struct tape *t, const struct vae *v, struct tensor *latent)
{
    struct norms n = whole(v);
    return upper(t, v, &n, 0, lower(t, v, &n, 0, latent));
}

struct tensor *vae_decode_lower(struct tape *t, const struct vae *v, struct tensor *latent, int cut)
{
    struct norms n = whole(v);
    return lower(t, v, &n, cut, latent);
}

void vae_decode_strip(struct tape *t, const struct vae *v, struct tensor *h,
                      const struct vae_strip *strip)
{
    struct norms n = {.groups = v->config.groups, .strip = strip};

    n.cells = (int)h->dims[1] >> strip->cut;
    h = upper(t, v, &n, strip->cut, h);
    if (strip->known >= n.count)
        tape_output(t, "out", h);
}

int vae_upper_norms(const struct vae *v, int cut)
{
    return (v->config.levels - cut) * (v->config.layers + 1) * 2 + 1;
}

/* A 3x3 convolution looks one pixel around; at level i a cell is 1 << i pixels a side. */
int vae_upper_halo(const struct vae *v, int cut)
{
    const struct vae_config *c = &v->config;
    double cells = 0;

    for (int i = cut; i < c->levels; i++) {
        bool last = i == c->levels - 1;
        cells += 2.0 * (c->layers + 1) / (1 << i) + 1.0 / (1 << (last ? i : i + 1));
    }
    return (int)ceil(cells);
}

struct tensor *vae_encode(struct tape *t, const struct vae *v, struct tensor *picture)
{
    const struct vae_config *c = &v->config;
    const struct half *e = &v->parts->encoder;
    struct norms n = whole(v);

    tape_mark(t, "encode.conv_in");
    struct tensor *h = conv(t, &e->conv_in, picture); // [B, 8H, 8W, C]

    for (int i = 0; i < c->levels; i++) { // down
        const struct level *l = &e->level[i];
        tape_mark(t, "encode.down.%d", i);
        for (int j = 0; j < l->layers; j++)
            h = resnet(t, &n, &l->res[j], h);
        if (l->resample.w) // pads right and bottom only
            h = op_conv2d(t, h, l->resample.w, l->resample.b,
                          (struct conv2d_params){.stride = 2, .pad_end = true});
    }

    tape_mark(t, "encode.mid");
    h = middle(t, &n, &e->mid, h); // [B, H, W, C]

    tape_mark(t, "encode.out");
    h = conv(t, &e->conv_out, norm_silu(t, &n, &e->norm_out, h)); // [B, H, W, 2L]
    if (v->parts->quant.w)
        h = conv(t, &v->parts->quant, h);
    return h;
}
