/*
 * What goldens and networks leave out, against the CPU back end with every fusion switched off
 * (which the goldens hold to PyTorch). The lines are few that hold every pair of choices: an
 * epilogue's parts, whole quads or not, tiles of few rows, a split K (i=63 and more).
 * tests/vulkan/coverage.c tells when one is missing.
 *
 *     test_op_variants BACKEND
 *     test_op_variants BACKEND boxes     the same of products on matrices of a whole workgroup
 *     test_op_variants BACKEND heads     and of attention
 */
#include "tests/op/op_test.h"

const char op_under_test[] = "variants";

static struct tensor *attention(struct op_case *c)
{
    int64_t b = op_int(c, "b", 1), heads = op_int(c, "c", 1), width = heads * op_int(c, "d", 1);
    int64_t queries[] = {b, op_int(c, "l", 1), width}, keys[] = {b, op_int(c, "m", 1), width};
    struct tensor *q = op_input(c, "q", 1, 0, 3, queries), *k = op_input(c, "k", 1, 0, 3, keys);
    return op_attention(c->tape, q, k, op_input(c, "v", 1, 0, 3, keys),
                        (struct attention_params){.heads = (int)heads});
}

/* The product alone: [b, h, w, o], or 2 * o for geglu. */
static struct tensor *product(struct op_case *c, const int64_t *dims, int64_t out)
{
    int64_t in = op_int(c, "i", 1), kernel = op_int(c, "k", 3);
    bool conv = op_is(c, "op", "conv2d"), up = op_int(c, "upsample", 0);
    struct tensor *x = op_input(c, "x", 1, 0, 4, (int64_t[]){dims[0], dims[1], dims[2], in});
    const struct weight *bias = op_int(c, "bias", 0) ? op_weight(c, "bias", 1, 1, &out) : NULL;
    if (!conv)
        return op_linear(c->tape, x, op_weight(c, "w", 0.25, 2, (int64_t[]){out, in}), bias);
    if (up)
        x = op_upsample_nearest(c->tape, x, 2 * (int)dims[1], 2 * (int)dims[2]);
    return op_conv2d(c->tape, x, op_weight(c, "w", 0.25, 4, (int64_t[]){out, in, kernel, kernel}),
                     bias, (struct conv2d_params){.padding = -1});
}

struct tensor *op_record(struct op_case *c)
{
    struct tape *t = c->tape;
    if (op_is(c, "op", "attention"))
        return attention(c);
    int64_t out = op_int(c, "o", 1);
    int64_t dims[] = {op_int(c, "b", 1), op_int(c, "h", 1), op_int(c, "w", 1), out};
    bool geglu = op_int(c, "geglu", 0);
    struct tensor *y = product(c, dims, geglu ? 2 * out : out);
    if (geglu)
        y = op_geglu(t, y);
    if (op_int(c, "broadcast", 0))
        y = op_add(t, y, op_input(c, "e", 1, 0, 2, (int64_t[]){dims[0], out}));
    if (op_int(c, "residual", 0))
        y = op_add(t, y, op_input(c, "r", 1, 0, 4, y->dims));
    if (op_is(c, "act", "silu"))
        y = op_silu(t, y);
    else if (op_is(c, "act", "gelu"))
        y = op_gelu(t, y);
    else if (op_is(c, "act", "quick_gelu"))
        y = op_quick_gelu(t, y);
    else if (op_is(c, "act", "relu"))
        y = op_relu(t, y);
    /* A product that is an output is stored in 32 bits. */
    return op_int(c, "f32", 0) ? y : op_scale(t, y, 0.5f);
}

int main(int argc, char **argv)
{
    static const char *const lines[] = {
        "variants op=attention l=5 m=7 c=1 d=70",
        "variants op=attention b=2 l=3 m=9 c=2 d=130",
        "variants op=attention l=70 m=37 c=2 d=124",
        "variants op=attention l=35 m=71 c=2 d=252",
        "variants op=attention l=3 m=65 c=1 d=163",
        "variants op=conv2d b=1 h=1 w=1 i=7 o=13 bias=1 upsample=1 broadcast=1 residual=1 act=gelu",
        "variants op=conv2d b=1 h=1 w=2 i=64 o=12 broadcast=1 residual=1 act=relu",
        "variants op=conv2d b=1 h=1 w=2 i=63 o=13 bias=1 upsample=1 act=quick_gelu",
        "variants op=conv2d b=1 h=1 w=1 i=8 o=12 upsample=1 broadcast=1 f32=1 act=silu",
        "variants op=linear b=1 h=1 w=2 i=512 o=12 geglu=1",
        "variants op=linear b=1 h=1 w=2 i=24 o=12 residual=1 act=quick_gelu",
        "variants op=linear b=1 h=2 w=3 i=512 o=12 f32=1 act=gelu",
        "variants op=linear b=1 h=1 w=2 i=511 o=13 bias=1 residual=1 act=silu",
        "variants op=conv2d b=1 h=1 w=1 i=7 o=13 bias=1 upsample=1 f32=1 act=relu",
        "variants op=conv2d b=1 h=1 w=1 i=63 o=13 bias=1 upsample=1 broadcast=1 f32=1",
        "variants op=linear b=1 h=1 w=2 i=23 o=13 bias=1 geglu=1",
        "variants op=conv2d b=1 h=1 w=2 i=7 o=13 bias=1 broadcast=1 f32=1 act=quick_gelu",
        "variants op=linear b=1 h=2 w=3 i=24 o=12 residual=1 act=relu",
        "variants op=linear b=1 h=1 w=2 i=24 o=12 f32=1 act=gelu",
        "variants op=linear b=1 h=1 w=2 i=23 o=13 bias=1 residual=1 act=silu",
        "variants op=conv2d b=2 h=3 w=2 i=63 o=13 bias=1 upsample=1 broadcast=1 residual=1 "
        "act=gelu",
        "variants op=conv2d b=1 h=2 w=3 i=64 o=12 bias=1 broadcast=1 f32=1 act=silu",
        "variants op=conv2d b=1 h=1 w=1 i=63 o=13 bias=1 upsample=1 f32=1 act=relu",
        "variants op=conv2d b=1 h=1 w=2 i=7 o=13 bias=1 upsample=1 broadcast=1 residual=1",
        "variants op=conv2d b=1 h=1 w=1 i=64 o=12 upsample=1 broadcast=1 residual=1 act=quick_gelu",
        "variants op=linear b=1 h=2 w=3 i=511 o=13 geglu=1",
        "variants op=linear b=1 h=1 w=2 i=24 o=12 geglu=1",
        "variants op=conv2d b=2 h=3 w=2 i=64 o=12 upsample=1 broadcast=1 f32=1 act=silu",
        "variants op=conv2d b=2 h=3 w=2 i=7 o=13 bias=1 upsample=1 broadcast=1 f32=1 act=relu",
        "variants op=conv2d b=2 h=3 w=2 i=8 o=12 upsample=1 broadcast=1 f32=1 act=quick_gelu",
        "variants op=linear b=1 h=3 w=5 i=512 o=12 bias=1 geglu=1",
        "variants op=conv2d b=1 h=1 w=2 i=63 o=13 bias=1 residual=1",
        "variants op=conv2d b=1 h=1 w=2 i=63 o=13 f32=1 act=quick_gelu",
    };
    /* Every pair of choices of conv2d_matrix2: boxes of 8 and 16 pixels and lines of 64 and 128,
     * 32 and 64 channels at a time. */
    static const char *const boxes[] = {
        "variants op=conv2d b=2 h=5 w=19 i=96 o=32 k=1 bias=1 broadcast=1 residual=1 act=relu",
        "variants op=conv2d b=2 h=9 w=7 i=64 o=64 k=1 f32=1 act=quick_gelu",
        "variants op=linear b=1 h=96 w=96 i=96 o=160 geglu=1",
        "variants op=linear b=1 h=9 w=11 i=64 o=32 bias=1 residual=1 act=gelu",
        "variants op=conv2d b=1 h=100 w=90 i=64 o=160 k=1 bias=1 broadcast=1 f32=1 act=silu",
        "variants op=conv2d b=2 h=9 w=7 i=32 o=32 broadcast=1 residual=1 act=silu",
        "variants op=linear b=1 h=9 w=11 i=32 o=96 f32=1 act=relu",
        "variants op=conv2d b=1 h=9 w=7 i=64 o=32 k=1 bias=1 broadcast=1 residual=1",
        "variants op=conv2d b=2 h=5 w=19 i=32 o=32 f32=1 act=gelu",
        "variants op=linear b=1 h=96 w=96 i=192 o=160 bias=1 residual=1 act=quick_gelu",
        "variants op=linear b=2 h=9 w=11 i=192 o=96 bias=1 geglu=1",
        "variants op=conv2d b=1 h=5 w=19 i=96 o=32 k=1 bias=1 broadcast=1 residual=1 "
        "act=quick_gelu",
        "variants op=conv2d b=1 h=9 w=7 i=32 o=32 broadcast=1 f32=1 act=gelu",
        "variants op=linear b=1 h=9 w=11 i=32 o=32 residual=1 act=silu",
        "variants op=conv2d b=2 h=5 w=19 i=192 o=32 k=1 f32=1",
        "variants op=conv2d b=1 h=9 w=7 i=64 o=64 k=1 f32=1 act=relu",
        "variants op=linear b=2 h=9 w=11 i=96 o=64 act=quick_gelu",
        "variants op=linear b=1 h=96 w=96 i=64 o=160 bias=1 f32=1 act=gelu",
        "variants op=conv2d b=1 h=2048 w=7 i=64 o=160 k=1 bias=1 broadcast=1 f32=1 act=relu",
        "variants op=linear b=1 h=96 w=96 i=64 o=160 bias=1 f32=1 act=relu",
        "variants op=linear b=1 h=96 w=96 i=192 o=160 bias=1 f32=1 act=silu",
    };
    /* attention_matrix2 in every size of a head; which rows it takes is the device's */
    static const char *const heads[] = {
        "variants op=attention l=70 m=65 c=2 d=20",
        "variants op=attention b=2 l=5 m=77 c=1 d=72",
        "variants op=attention b=2 l=65 m=9 c=3 d=104",
        "variants op=attention l=33 m=70 c=2 d=136",
        "variants op=attention l=9 m=64 c=1 d=192",
        "variants op=attention l=40 m=50 c=2 d=200",
        "variants op=attention l=66 m=66 c=1 d=240",
        "variants op=attention l=70 m=130 c=2 d=300",
        "variants op=attention l=64 m=128 c=2 d=64",
    };
    const char *backend = argc > 1 ? argv[1] : "cpu:f32";
    if (argc > 2 && strcmp(argv[2], "boxes") == 0)
        return op_test_lines(backend, boxes, G_N_ELEMENTS(boxes));
    if (argc > 2 && strcmp(argv[2], "heads") == 0)
        return op_test_lines(backend, heads, G_N_ELEMENTS(heads));
    return op_test_lines(backend, lines, G_N_ELEMENTS(lines));
}
