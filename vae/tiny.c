#include "vae/tiny.h"

#include "compute/op.h"
#include "weights/weights.h"

#include <gio/gio.h>
#include <glib/gi18n-lib.h>

struct tiny_layer {
    bool block; /* a residual block of three convolutions, or a single one */
    const struct weight *w[3], *b[3];
    const struct weight *skip; /* of a block; NULL: the input itself */
};

/* ---- binding ---- */

static bool has(struct weights *weights, const char *prefix, int index, const char *rest)
{
    g_autofree char *name = g_strdup_printf("%s%d.%s", prefix, index, rest);
    return weights_has(weights, name);
}

static void bind_block(struct tiny_layer *l, struct bind *b)
{
    l->block = true;
    for (int i = 0; i < 3; i++) {
        bind_push(b, "conv.%d.", 2 * i);
        l->w[i] = bind_weight(b, "weight", 4, -1, -1, 3, 3);
        l->b[i] = bind_weight(b, "bias", 1, l->w[i] ? (int)l->w[i]->dims[0] : -1);
        bind_pop(b);
    }
    l->skip = bind_optional(b, "skip.weight", 4, -1, -1, 1, 1);
}

static void bind_half(struct tiny_half *half, struct weights *weights, struct bind *b,
                      const char *prefix)
{
    half->layer = g_new0(struct tiny_layer, TINY_MAX_LAYERS);
    for (int i = 0; i < TINY_MAX_LAYERS; i++) {
        struct tiny_layer *l = &half->layer[half->layers];
        bool block = has(weights, prefix, i, "conv.0.weight");
        if (!block && !has(weights, prefix, i, "weight"))
            continue; /* an activation or an upsampling */
        bind_push(b, "%s%d.", prefix, i);
        if (block) {
            bind_block(l, b);
        } else {
            l->w[0] = bind_weight(b, "weight", 4, -1, -1, 3, 3);
            l->b[0] = bind_optional(b, "bias", 1, l->w[0] ? (int)l->w[0]->dims[0] : -1);
        }
        bind_pop(b);
        half->layers++;
    }
}

/* The prefix under which the file has a half, or NULL. */
static const char *find_prefix(struct weights *weights, const char *const *prefixes)
{
    for (int i = 0; prefixes[i]; i++)
        if (has(weights, prefixes[i], 0, "weight") || has(weights, prefixes[i], 1, "weight"))
            return prefixes[i];
    return NULL;
}

/* First and last layer are convolutions, and each layer takes what the one before gives. */
static bool is_chain(const struct tiny_half *half)
{
    if (half->layers < 2 || half->layer[0].block || half->layer[half->layers - 1].block)
        return false;
    for (int i = 1; i < half->layers; i++) {
        const struct tiny_layer *before = &half->layer[i - 1], *l = &half->layer[i];
        if (l->w[0]->dims[1] != before->w[before->block ? 2 : 0]->dims[0])
            return false;
    }
    return true;
}

bool tiny_init(struct tiny *v, struct weights *weights, GError **error)
{
    static const char *const decoders[] = {"decoder.layers.", "taesd_decoder.", "decoder.", NULL};
    static const char *const encoders[] = {"encoder.layers.", "taesd_encoder.", "encoder.", NULL};
    const char *decoder = find_prefix(weights, decoders);
    const char *encoder = find_prefix(weights, encoders);
    struct bind b;

    *v = (struct tiny){0};
    if (!decoder &&
        !encoder) { /* a file for one half; a decoder begins with a clamp, not a weight */
        bool numbered = has(weights, "", 0, "weight");
        encoder = numbered ? "" : NULL;
        decoder = !numbered && has(weights, "", 1, "weight") ? "" : NULL;
    }
    bind_init(&b, weights, "taesd");
    if (decoder)
        bind_half(&v->decoder, weights, &b, decoder);
    if (encoder)
        bind_half(&v->encoder, weights, &b, encoder);
    bool ok = bind_finish(&b, error);
    if (ok && ((!decoder && !encoder) || (decoder && !is_chain(&v->decoder)) ||
               (encoder && !is_chain(&v->encoder)))) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                    _("“%s” is not a TAESD file: its layers do not fit together."),
                    weights_source(weights));
        ok = false;
    }
    if (!ok) {
        tiny_finish(v);
        return false;
    }
    v->latent_channels = decoder ? (int)v->decoder.layer[0].w[0]->dims[1]
                                 : (int)v->encoder.layer[v->encoder.layers - 1].w[0]->dims[0];
    return true;
}

void tiny_finish(struct tiny *v)
{
    g_clear_pointer(&v->decoder.layer, g_free);
    g_clear_pointer(&v->encoder.layer, g_free);
    v->decoder.layers = v->encoder.layers = 0;
}

/* ---- the diagram ---- */

static struct tensor *conv(struct tape *t, const struct tiny_layer *l, int i, struct tensor *x)
{
    return op_conv2d(t, x, l->w[i], l->b[i], (struct conv2d_params){.padding = 1});
}

static struct tensor *block(struct tape *t, const struct tiny_layer *l, struct tensor *x)
{
    struct tensor *h = op_relu(t, conv(t, l, 0, x));
    h = op_relu(t, conv(t, l, 1, h));
    if (l->skip)
        x = op_conv2d(t, x, l->skip, NULL, (struct conv2d_params){0});
    return op_relu(t, op_add(t, conv(t, l, 2, h), x));
}

struct tensor *tiny_decode(struct tape *t, const struct tiny *v, struct tensor *latent)
{
    tape_mark(t, "tiny");
    struct tensor *h = op_soft_clamp(t, latent);         // [B, H, W, L]
    h = op_relu(t, conv(t, &v->decoder.layer[0], 0, h)); // [B, H, W, C]
    for (int i = 1; i < v->decoder.layers; i++) {
        const struct tiny_layer *l = &v->decoder.layer[i];
        bool up = !l->block && !l->b[0]; /* the convolutions after an upsampling have no bias */
        if (up)
            h = op_upsample_nearest(t, h, 2 * (int)h->dims[1], 2 * (int)h->dims[2]);
        h = l->block ? block(t, l, h) : conv(t, l, 0, h);
    }
    return h; // [B, 8H, 8W, 3]
}

struct tensor *tiny_encode(struct tape *t, const struct tiny *v, struct tensor *picture)
{
    tape_mark(t, "tiny.encode");
    struct tensor *h = picture;
    for (int i = 0; i < v->encoder.layers; i++) {
        const struct tiny_layer *l = &v->encoder.layer[i];
        int stride = l->block || l->b[0] ? 1 : 2; /* the convolutions that halve have no bias */
        h = l->block ? block(t, l, h)
                     : op_conv2d(t, h, l->w[0], l->b[0],
                                 (struct conv2d_params){.stride = stride, .padding = 1});
    }
    return h; // [B, H, W, L]
}
