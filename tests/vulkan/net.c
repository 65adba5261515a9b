#include "tests/vulkan/net.h"

#define CHANNELS 32

static float value_at(size_t i, unsigned seed)
{
    uint32_t z = (uint32_t)i * 2654435761u + seed * 2246822519u;
    z ^= z >> 15;
    z *= 2246822519u;
    z ^= z >> 13;
    return (float)((int)(z % 256) - 128) / 128;
}

static bool read_values(const struct weight *w, enum dtype as, size_t first, size_t count,
                        void *dst, GError **error)
{
    (void)error;
    unsigned seed = GPOINTER_TO_UINT(w->owner);
    float scale = 1.0f / sqrtf((float)weight_count(w) / (float)w->dims[0]);
    for (size_t i = 0; i < count; i++) {
        float v = value_at(first + i, seed) * scale;
        if (as == DTYPE_F32)
            ((float *)dst)[i] = v;
        else
            ((_Float16 *)dst)[i] = (_Float16)v;
    }
    return true;
}

static const struct weight *weight(unsigned seed, int rank, int64_t a, int64_t b, int64_t c)
{
    static struct weight weights[32];
    struct weight *w = &weights[seed];
    *w = (struct weight){.name = "a weight",
                         .rank = rank,
                         .dims = {a, b, c, c},
                         .read = read_values,
                         .owner = GUINT_TO_POINTER(seed)};
    return w;
}

struct net net_record(int size)
{
    struct tape *t = tape_create("net");
    struct conv2d_params same = {.padding = -1}, down = {.padding = -1, .stride = 2};
    struct tensor *x = tape_input(t, "x", DTYPE_F32, 4, (int64_t[]){2, size, size, 4});
    struct tensor *step = tape_input(t, "step", DTYPE_F32, 1, (int64_t[]){2});
    struct tensor *ids = tape_input(t, "ids", DTYPE_I32, 2, (int64_t[]){2, 7});
    const int64_t c = CHANNELS;

    struct tensor *emb = op_time_embedding(t, step, CHANNELS, true, 0);
    emb = op_silu(t, op_linear(t, emb, weight(1, 2, c, c, 0), weight(2, 1, c, 0, 0)));
    struct tensor *text = op_embedding(t, ids, weight(3, 2, 50, c, 0)); /* [2, 7, C] */
    tape_mark(t, "conv_in");
    struct tensor *h = op_conv2d(t, x, weight(4, 4, c, 4, 3), weight(5, 1, c, 0, 0), same);
    struct tensor *skip = h;
    tape_mark(t, "resnet");
    struct tensor *r = op_silu(t, op_group_norm(t, h, weight(6, 1, c, 0, 0), NULL, 8, 1e-5f));
    r = op_conv2d(t, r, weight(7, 4, c, c, 3), NULL, same);
    r = op_add(t, r, op_linear(t, emb, weight(8, 2, c, c, 0), NULL));
    h = op_add(t, r, h);
    tape_mark(t, "down");
    h = op_conv2d(t, h, weight(9, 4, c, c, 3), NULL, down); /* [2, size / 2, size / 2, C] */
    tape_mark(t, "attention");
    int64_t l = (int64_t)(size / 2) * (size / 2);
    struct tensor *tokens = op_reshape(t, h, 3, (int64_t[]){2, l, c});
    struct tensor *n = op_layer_norm(t, tokens, weight(10, 1, c, 0, 0), NULL, 1e-5f);
    struct tensor *q = op_linear(t, n, weight(11, 2, c, c, 0), NULL);
    struct tensor *self = op_attention(t, q, n, n, (struct attention_params){.heads = 2});
    struct tensor *k = op_linear(t, text, weight(12, 2, c, c, 0), NULL);
    struct tensor *cross = op_attention(t, q, k, text, (struct attention_params){.heads = 2});
    tokens = op_add(t, op_add(t, self, cross), tokens);
    tape_mark(t, "mlp");
    struct tensor *g = op_geglu(t, op_linear(t, tokens, weight(13, 2, 4 * c, c, 0), NULL));
    tokens = op_linear(t, op_gelu(t, g), weight(14, 2, c, 2 * c, 0), NULL);
    h = op_reshape(t, op_scale(t, tokens, 0.5f), 4, (int64_t[]){2, size / 2, size / 2, c});
    tape_mark(t, "up");
    h = op_upsample_nearest(t, h, size, size);
    h = op_concat(t, op_conv2d(t, h, weight(15, 4, c, c, 3), NULL, same), skip);
    h = op_conv2d(t, op_relu(t, h), weight(16, 4, 3, 2 * c, 3), NULL, same);
    tape_output(t, "y", op_soft_clamp(t, h));
    return (struct net){t, (size_t)(2 * size * size * 4), (size_t)(2 * size * size * 3), size};
}

bool net_finish(struct net *net, struct backend *backend, GError **error)
{
    return tape_finish(net->tape, backend, NULL, error);
}

bool net_run(struct net *net, float *out, GError **error)
{
    float *x = g_new(float, net->in_count), steps[] = {999, 3};
    int32_t ids[14];
    for (size_t i = 0; i < net->in_count; i++)
        x[i] = value_at(i, 99);
    for (int i = 0; i < 14; i++)
        ids[i] = i * 37 % 50;
    tape_write(net->tape, "x", x);
    tape_write(net->tape, "step", steps);
    tape_write(net->tape, "ids", ids);
    g_free(x);
    if (!tape_run(net->tape, NULL, error))
        return false;
    tape_read(net->tape, "y", out);
    return true;
}

void net_destroy(struct net *net)
{
    tape_destroy(net->tape);
    net->tape = NULL;
}
