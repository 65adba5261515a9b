#include "clip/clip.h"

#include "compute/op.h"
#include "weights/config.h"
#include "weights/quote.h"
#include "weights/weights.h"

#include <glib/gi18n-lib.h>
#include <string.h>

#define MAX_LAYERS 128

struct affine {
    const struct weight *w, *b;
};

struct layer {
    struct affine norm1, q, k, v, out;
    struct affine norm2, widen, narrow;
};

struct clip_parts {
    const struct weight *tokens, *positions; /* [vocabulary, C], [77, C] */
    struct layer *layers;
    struct affine norm;
    struct affine projection; /* w is NULL without one; never a bias */
};

/* Whether the configuration is of a CLIPTextModelWithProjection. */
static bool is_projected(struct config *in)
{
    const char *names[4];
    size_t n = config_strings(in, "architectures", names, G_N_ELEMENTS(names));
    for (size_t i = 0; i < n; i++)
        if (g_str_equal(names[i], "CLIPTextModelWithProjection"))
            return true;
    return false;
}

bool clip_config_read(struct clip_config *config, const json_t *json, GError **error)
{
    static const char *const activations[] = {"quick_gelu", "gelu", NULL};
    struct config in = config_init(json, "text_encoder/config.json");
    *config = (struct clip_config){
        .vocabulary = (int)config_int(&in, "vocab_size", 1, 1 << 20, 49408),
        .positions = (int)config_int(&in, "max_position_embeddings", 1, 4096, 77),
        .width = (int)config_int(&in, "hidden_size", 1, 16384, 512),
        .layers = (int)config_int(&in, "num_hidden_layers", 1, MAX_LAYERS, 12),
        .heads = (int)config_int(&in, "num_attention_heads", 1, 1024, 8),
        .inner = (int)config_int(&in, "intermediate_size", 1, 65536, 2048),
        .activation = (enum clip_activation)config_choice(&in, "hidden_act", activations, 0),
        .eps = (float)config_number(&in, "layer_norm_eps", 1e-12, 1e-2, 1e-5),
    };
    if (is_projected(&in))
        config->projection = (int)config_int(&in, "projection_dim", 1, 16384, 512);
    if (config->width % config->heads)
        config_fail(&in, _("hidden_size %d is no multiple of num_attention_heads %d"),
                    config->width, config->heads);
    return config_finish(&in, error);
}

static struct affine bind_affine(struct bind *b, const char *name, int out, int in)
{
    g_autofree char *w = g_strconcat(name, ".weight", NULL);
    g_autofree char *bias = g_strconcat(name, ".bias", NULL);
    return (struct affine){in ? bind_weight(b, w, 2, out, in) : bind_weight(b, w, 1, out),
                           bind_weight(b, bias, 1, out)};
}

static void bind_layer(struct bind *b, struct layer *l, const struct clip_config *config)
{
    int width = config->width;
    l->norm1 = bind_affine(b, "layer_norm1", width, 0);
    l->q = bind_affine(b, "self_attn.q_proj", width, width);
    l->k = bind_affine(b, "self_attn.k_proj", width, width);
    l->v = bind_affine(b, "self_attn.v_proj", width, width);
    l->out = bind_affine(b, "self_attn.out_proj", width, width);
    l->norm2 = bind_affine(b, "layer_norm2", width, 0);
    l->widen = bind_affine(b, "mlp.fc1", config->inner, width);
    l->narrow = bind_affine(b, "mlp.fc2", width, config->inner);
}

bool clip_init(struct clip *c, const char *name, struct weights *weights, const json_t *config,
               GError **error)
{
    struct bind b;
    *c = (struct clip){.name = name};
    if (!clip_config_read(&c->config, config, error))
        return false;
    int width = c->config.width;
    struct clip_parts *parts = c->parts = g_new0(struct clip_parts, 1);
    parts->layers = g_new0(struct layer, c->config.layers);
    bool bare = weights_has(weights, "embeddings.token_embedding.weight");
    bind_init(&b, weights, name);
    bind_push(&b, "%s", bare ? "" : "text_model.");
    parts->tokens =
        bind_weight(&b, "embeddings.token_embedding.weight", 2, c->config.vocabulary, width);
    parts->positions =
        bind_weight(&b, "embeddings.position_embedding.weight", 2, c->config.positions, width);
    for (int i = 0; i < c->config.layers; i++) {
        bind_push(&b, "encoder.layers.%d.", i);
        bind_layer(&b, &parts->layers[i], &c->config);
        bind_pop(&b);
    }
    parts->norm = bind_affine(&b, "final_layer_norm", width, 0);
    bind_pop(&b);
    if (c->config.projection)
        parts->projection.w =
            bind_weight(&b, "text_projection.weight", 2, c->config.projection, width);
    if (bind_finish(&b, error))
        return true;
    clip_finish(c);
    return false;
}

void clip_finish(struct clip *c)
{
    if (!c->parts)
        return;
    g_free(c->parts->layers);
    g_clear_pointer(&c->parts, g_free);
}

/* ---- embeddings ---- */

static bool check_ids(const struct clip *c, const int32_t *ids, int n, int length, GError **error)
{
    if (length > c->config.positions) {
        g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_MISMATCH,
                    _("%s: this text encoder takes %d tokens at a time, not %d"), c->name,
                    c->config.positions, length);
        return false;
    }
    for (int i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= c->config.vocabulary) {
            g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_MISMATCH,
                        _("%s: token %d is beyond the %d embeddings of this text encoder (a "
                          "tokenizer of another model?)"),
                        c->name, ids[i], c->config.vocabulary);
            return false;
        }
    }
    return true;
}

static bool read_row(const struct weight *w, int32_t row, int width, float *out, GError **error)
{
    return w->read(w, DTYPE_F32, (size_t)row * (size_t)width, (size_t)width, out, error);
}

bool clip_embed(const struct clip *c, const int32_t *ids, int batch, int length,
                const struct clip_vectors *vectors, size_t n_vectors, float *out, GError **error)
{
    size_t width = (size_t)c->config.width, rows = (size_t)batch * (size_t)length;
    if (!check_ids(c, ids, batch * length, length, error))
        return false;
    for (size_t i = 0; i < rows; i++) {
        if (i > 0 && ids[i] == ids[i - 1]) /* padding */
            memcpy(out + i * width, out + (i - 1) * width, width * sizeof *out);
        else if (!read_row(c->parts->tokens, ids[i], (int)width, out + i * width, error))
            return false;
    }
    for (size_t i = 0; i < n_vectors; i++) {
        const struct clip_vectors *v = &vectors[i];
        g_return_val_if_fail(v->row >= 0 && (size_t)(v->row + v->count) <= rows, false);
        memcpy(out + (size_t)v->row * width, v->values, (size_t)v->count * width * sizeof *out);
    }
    g_autofree float *places = g_new(float, (size_t)length *width);
    const struct weight *w = c->parts->positions;
    if (!w->read(w, DTYPE_F32, 0, (size_t)length * width, places, error))
        return false;
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < width; j++)
            out[i * width + j] += places[i % (size_t)length * width + j];
    return true;
}

/* ---- the network ---- */

static struct tensor *linear(struct tape *t, const struct affine *layer, struct tensor *x)
{
    return op_linear(t, x, layer->w, layer->b);
}

static struct tensor *norm(struct tape *t, const struct clip *c, const struct affine *layer,
                           struct tensor *x)
{
    return op_layer_norm(t, x, layer->w, layer->b, c->config.eps);
}

static struct tensor *transformer_layer(struct tape *t, const struct clip *c, const struct layer *l,
                                        struct tensor *h)
{
    struct attention_params causal = {.heads = c->config.heads, .causal = true};

    struct tensor *n = norm(t, c, &l->norm1, h); // [B, L, C]
    struct tensor *a =
        op_attention(t, linear(t, &l->q, n), linear(t, &l->k, n), linear(t, &l->v, n), causal);
    h = op_add(t, linear(t, &l->out, a), h);

    n = linear(t, &l->widen, norm(t, c, &l->norm2, h)); // [B, L, inner]
    n = c->config.activation == CLIP_GELU ? op_gelu(t, n) : op_quick_gelu(t, n);
    return op_add(t, linear(t, &l->narrow, n), h);
}

struct clip_output clip_forward(struct tape *t, const struct clip *c, struct tensor *embedded,
                                struct tensor *ends, struct clip_choice choice)
{
    const struct clip_parts *p = c->parts;
    struct clip_output out = {NULL, NULL};
    int chosen = CLAMP(c->config.layers + 1 - MAX(choice.skip, 1), 0, c->config.layers);
    struct tensor *h = embedded; // [B, L, C]

    for (int i = 0; i <= c->config.layers; i++) {
        if (i == chosen)
            out.hidden = h;
        if (i == c->config.layers || (i == chosen && !ends))
            break;
        tape_mark(t, "layer.%d", i);
        h = transformer_layer(t, c, &p->layers[i], h);
    }
    tape_mark(t, "out");
    if (choice.norm)
        out.hidden = norm(t, c, &p->norm, out.hidden);
    if (ends) {
        out.pooled = norm(t, c, &p->norm, op_gather(t, ends, h)); // [B, C]
        if (p->projection.w)
            out.pooled = linear(t, &p->projection, out.pooled); // [B, P]
    }
    return out;
}
