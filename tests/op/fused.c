/*
 * Fused = unfused: networks made of the patterns that the planner fuses, on a back end as it is and
 * on the CPU back end in F32 with every fusion switched off; also that a cancelled run ends and
 * leaves nothing behind.
 *
 *     test_op_fused BACKEND
 */
#include "tests/op/op_test.h"

const char op_under_test[] = "fused";

struct tensor *op_record(struct op_case *c)
{
    struct tape *t = c->tape;
    int64_t b = op_int(c, "b", 1), h = op_int(c, "h", 5), w = op_int(c, "w", 6);
    int64_t in = op_int(c, "i", 16), out = op_int(c, "o", 32);
    int groups = op_int(c, "g", 4), kernel = op_int(c, "k", 3);
    struct conv2d_params same = {.padding = -1};
    struct tensor *x = op_input(c, "x", 1, 0, 4, (int64_t[]){b, h, w, in});
    const struct weight *conv = op_weight(c, "conv", 0.25, 4, (int64_t[]){out, in, kernel, kernel});
    const struct weight *conv2 =
        op_weight(c, "conv2", 0.125, 4, (int64_t[]){out, out, kernel, kernel});
    const struct weight *linear = op_weight(c, "linear", 0.25, 2, (int64_t[]){out, in});
    const struct weight *wide = op_weight(c, "wide", 0.125, 2, (int64_t[]){2 * out, in});
    const struct weight *bias = op_weight(c, "bias", 1, 1, (int64_t[]){out});
    const struct weight *bias2 = op_weight(c, "bias2", 1, 1, (int64_t[]){2 * out});
    const struct weight *norm = op_weight(c, "norm", 1, 1, (int64_t[]){in});
    const struct weight *norm2 = op_weight(c, "norm2", 1, 1, (int64_t[]){out});
    if (op_is(c, "net", "resnet")) {
        struct tensor *emb = op_input(c, "emb", 1, 0, 2, (int64_t[]){b, in});
        struct tensor *y = op_silu(t, op_group_norm(t, x, norm, norm, groups, 1e-5f));
        y = op_conv2d(t, y, conv, bias, same);
        y = op_add(t, y, op_linear(t, op_silu(t, emb), linear, bias));
        y = op_silu(t, op_group_norm(t, y, norm2, NULL, groups, 1e-5f));
        y = op_conv2d(t, y, conv2, bias, same);
        return op_add(t, op_linear(t, x, linear, NULL), y);
    }
    if (op_is(c, "net", "mlp")) {
        struct tensor *y = op_reshape(t, x, 3, (int64_t[]){b, h * w, in});
        struct tensor *g = op_geglu(t, op_linear(t, y, wide, bias2));
        struct tensor *r = op_linear(t, y, linear, bias);
        const struct weight *back = op_weight(c, "back", 0.125, 2, (int64_t[]){out, out});
        g = op_add(t, op_linear(t, g, back, bias), r);
        return op_reshape(t, g, 4, (int64_t[]){b, h, w, out});
    }
    if (op_is(c, "net", "activations")) {
        struct tensor *y = op_relu(t, op_conv2d(t, x, conv, bias, same));
        struct tensor *z = op_relu(t, op_add(t, op_conv2d(t, y, conv2, bias, same), y));
        const struct weight *back = op_weight(c, "back", 0.125, 2, (int64_t[]){out, out});
        z = op_gelu(t, op_linear(t, z, back, bias));
        z = op_quick_gelu(t, op_linear(t, z, back, bias));
        return op_silu(t, op_add(t, op_linear(t, z, back, NULL), y));
    }
    if (op_is(c, "net", "upsample")) {
        struct tensor *y = op_upsample_nearest(t, x, 2 * (int)h, 2 * (int)w);
        y = op_conv2d(t, y, conv, bias, same);
        struct tensor *z = op_silu(t, op_group_norm(t, y, norm2, norm2, groups, 1e-6f));
        z = op_upsample_nearest(t, z, 4 * (int)h, 4 * (int)w);
        return op_relu(t, op_conv2d(t, z, conv2, bias, same));
    }
    CHECK(false, "%s: no such net", c->line);
    return x;
}

int main(int argc, char **argv)
{
    static const char *const lines[] = {
        "fused net=resnet b=2",
        "fused net=resnet b=1 h=17 w=9 i=24 o=40",
        "fused net=resnet b=3 h=1 w=1 i=8 o=8 k=1",
        "fused net=resnet b=1 h=8 w=66 i=8 o=19 g=1",
        "fused net=resnet b=2 h=9 w=10 i=16 o=20",
        "fused net=mlp b=2",
        "fused net=mlp b=1 h=13 w=11 i=20 o=33",
        "fused net=mlp b=1 h=1 w=1 i=3 o=1",
        "fused net=activations b=1 h=9 w=7 i=3 o=48",
        "fused net=activations b=2 h=4 w=4 i=16 o=5",
        "fused net=activations b=1 h=9 w=8 i=16 o=48",
        "fused net=upsample b=2 h=5 w=9 i=16 o=24",
        "fused net=upsample b=1 h=6 w=5 i=16 o=16",
        "fused net=upsample b=2 h=1 w=3 i=5 o=12",
        "fused net=upsample b=1 h=9 w=33 i=8 o=64",
    };
    return op_test_fused(argc > 1 ? argv[1] : "cpu:f32", lines, G_N_ELEMENTS(lines));
}
