/*
 * The planner against brute force over random tapes: no two tensors that are alive together overlap
 * (except the in-place pairs that plan.h allows), dead ones share memory, nothing live is fused
 * away, and the plan computes what the tape says (by symbolic hashing of every node).
 */
#include "compute/plan.h"
#include "compute/tape.h"
#include "tests/check.h"

/* A back end that only keeps the plan. */
static const struct plan *last_plan;

static struct program *compile(struct backend *backend, const struct plan *plan, const int *cancel,
                               GError **error)
{
    (void)cancel;
    (void)error;
    last_plan = plan;
    struct program *p = g_new0(struct program, 1);
    p->backend = backend;
    p->arena_bytes = plan->arena_bytes;
    return p;
}

static void destroy_program(struct program *program)
{
    g_free(program);
}

static struct weight make_weight(const char *name, int rank, int64_t a, int64_t b, int64_t k)
{
    return (struct weight){.name = name, .rank = rank, .dims = {a, b, k, k}};
}

#define CHANNELS 8

static struct weight w1, w3, bias, wide;

static struct tensor *random_node(struct tape *t, GRand *r, GPtrArray *values, struct tensor *emb)
{
    int back = 1 + g_rand_int_range(r, 0, 4);
    struct tensor *a = values->pdata[MAX(0, (int)values->len - back)];
    struct tensor *b = values->pdata[g_rand_int_range(r, 0, (gint32)values->len)];
    if (b->dims[1] != a->dims[1])
        b = a;
    switch (g_rand_int_range(r, 0, 13)) {
    case 0:
        return op_conv2d(t, a, &w3, &bias, (struct conv2d_params){.padding = -1});
    case 1:
        return op_linear(t, a, &w1, &bias);
    case 2:
        return op_silu(t, a);
    case 3:
    case 4:
        return op_add(t, a, b);
    case 5:
        return op_add(t, a, emb);
    case 6:
        return op_group_norm(t, a, &bias, &bias, 4, 1e-5f);
    case 7:
        return op_geglu(t, op_linear(t, a, &wide, NULL));
    case 8:
        return op_add(t, op_conv2d(t, a, &w3, &bias, (struct conv2d_params){.padding = -1}), b);
    case 9:
        return op_silu(t, op_group_norm(t, a, &bias, &bias, 2, 1e-6f));
    case 10:
        return op_reshape(t, a, 4, (int64_t[]){a->dims[0], a->dims[1], a->dims[2], a->dims[3]});
    case 11:
        return a->dims[1] > 8 ? op_scale(t, a, 2)
                              : op_upsample_nearest(t, a, 2 * (int)a->dims[1], 2 * (int)a->dims[2]);
    default:
        return op_scale(t, a, 0.5f);
    }
}

static guint mix(guint a, guint b)
{
    return (a ^ (b * 2654435761u)) * 16777619u + 1;
}

static guint unary(enum op op, guint x)
{
    return mix(0x100u + op, x);
}

static guint sum(guint a, guint b)
{
    return a + b; /* neither order nor grouping matters */
}

/* The value of a node as a hash of what it computes; `value` holds the hashes by base tensor id. */
static guint hash_node(const struct node *n, const guint *value)
{
    guint x = n->in[0] ? value[tensor_base(n->in[0])->id] : 0;
    if (n->op == OP_add)
        return sum(x, value[tensor_base(n->in[1])->id]);
    if (n->norm.groups) {
        x = mix(unary(OP_group_norm, x), (guint)n->norm.groups);
        x = n->norm.silu ? unary(OP_silu, x) : x;
    }
    if (n->upsample)
        x = unary(OP_upsample_nearest, x);
    guint h = unary(n->op, x);
    if (n->op == OP_group_norm)
        h = mix(h, (guint)n->params.group_norm.groups);
    if (n->op == OP_conv2d || n->op == OP_linear)
        h = mix(h, GPOINTER_TO_UINT(n->weight));
    if (n->geglu)
        h = unary(OP_geglu, h);
    if (n->broadcast)
        h = sum(h, value[tensor_base(n->broadcast)->id]);
    if (n->residual)
        h = sum(h, value[tensor_base(n->residual)->id]);
    if (n->activation != OP_COUNT)
        h = unary(n->activation, h);
    return h;
}

/*
 * Runs the plan on a simulated memory: every byte range holds the hash of what was written there. A
 * node that reads a place whose bytes were overwritten sees another hash.
 */
static bool simulate(const struct plan *plan, const guint *expected, const bool *wanted)
{
    struct cell {
        guint hash;
        int id;
    };
    g_autofree struct cell *arena = g_new0(struct cell, plan->arena_bytes / 4 + 1);
    g_autofree guint *value = g_new0(guint, plan->tensor_count + 1);
    g_autofree bool *done = g_new0(bool, plan->tensor_count + 1);
    for (int id = 0; id < plan->tensor_count; id++)
        value[id] = expected[id]; /* inputs; others are checked before use */
    for (int i = 0; i < plan->node_count; i++) {
        const struct node *n = &plan->nodes[i];
        const struct tensor *in[] = {n->in[0], n->in[1], n->in[2], n->residual, n->broadcast};
        for (size_t k = 0; k < G_N_ELEMENTS(in); k++) {
            const struct place *p = in[k] ? plan_place(plan, in[k]) : NULL;
            if (!p || p->kind != PLACE_ARENA)
                continue;
            for (size_t c = p->offset / 4; c < (p->offset + p->bytes) / 4; c++)
                if (arena[c].id != tensor_base(in[k])->id)
                    return false;
        }
        int id = tensor_base(n->out)->id;
        value[id] = hash_node(n, value);
        done[id] = true;
        if (value[id] != expected[id])
            return false;
        const struct place *p = plan_place(plan, n->out);
        if (p->kind == PLACE_NONE)
            return false;
        for (size_t c = p->offset / 4; p->kind == PLACE_ARENA && c < (p->offset + p->bytes) / 4;
             c++)
            arena[c].id = id;
    }
    for (int id = 0; id < plan->tensor_count; id++)
        if (wanted[id] && (!done[id] || plan->places[id].kind != PLACE_KEPT))
            return false;
    return true;
}

/* No partial overlap between what a node reads and what it writes; whole overlap only as plan.h
 * says. */
static bool in_place_is_legal(const struct plan *plan, unsigned fuse)
{
    for (int i = 0; i < plan->node_count; i++) {
        const struct node *n = &plan->nodes[i];
        const struct tensor *in[] = {n->in[0], n->in[1], n->in[2], n->residual, n->broadcast};
        const struct place *out = plan_place(plan, n->out);
        for (size_t k = 0; k < G_N_ELEMENTS(in); k++) {
            const struct place *p = in[k] ? plan_place(plan, in[k]) : NULL;
            if (!p || p->kind != out->kind || out->kind != PLACE_ARENA ||
                p->offset + p->bytes <= out->offset || out->offset + out->bytes <= p->offset)
                continue;
            bool product = n->op == OP_conv2d || n->op == OP_linear;
            bool elementwise = n->op == OP_silu || n->op == OP_scale || n->op == OP_add;
            if (!(fuse & FUSE_IN_PLACE) || p->offset != out->offset || p->bytes != out->bytes ||
                !(product ? k == 3 : elementwise))
                return false;
        }
    }
    return true;
}

static size_t sum_of_places(const struct plan *plan)
{
    size_t bytes = 0;
    for (int id = 0; id < plan->tensor_count; id++)
        if (plan->places[id].kind == PLACE_ARENA)
            bytes += plan->places[id].bytes;
    return bytes;
}

/* The most bytes alive at once: no packing is smaller. */
static size_t live_bytes(const struct plan *plan)
{
    size_t most = 0;
    for (int i = 0; i < plan->node_count; i++) {
        size_t now = 0;
        for (int id = 0; id < plan->tensor_count; id++) {
            if (plan->places[id].kind != PLACE_ARENA)
                continue;
            bool before = false, after = false;
            for (int k = 0; k < plan->node_count; k++) {
                const struct node *n = &plan->nodes[k];
                const struct tensor *in[] = {n->in[0], n->in[1], n->in[2], n->residual,
                                             n->broadcast};
                before |= tensor_base(n->out)->id == id && k <= i;
                for (size_t j = 0; j < G_N_ELEMENTS(in); j++)
                    after |= in[j] && tensor_base(in[j])->id == id && k > i;
            }
            now += before && after ? plan->places[id].bytes : 0;
        }
        most = MAX(most, now);
    }
    return most;
}

/* The same seed records the same tape. */
static struct tape *record(guint seed, struct tensor **out, struct tensor **second)
{
    g_autoptr(GRand) r = g_rand_new_with_seed(seed);
    struct tape *t = tape_create("random");
    struct tensor *x = tape_input(t, "x", DTYPE_F32, 4, (int64_t[]){2, 4, 4, CHANNELS});
    struct tensor *emb = tape_input(t, "emb", DTYPE_F32, 2, (int64_t[]){2, CHANNELS});
    g_autoptr(GPtrArray) values = g_ptr_array_new();
    g_ptr_array_add(values, x);
    int count = g_rand_int_range(r, 3, 40);
    for (int i = 0; i < count; i++) {
        if (i % 7 == 0)
            tape_mark(t, "part.%d", i / 7);
        g_ptr_array_add(values, random_node(t, r, values, emb));
    }
    *out = op_scale(t, values->pdata[values->len - 1], 1);
    tape_output(t, "out", *out);
    *second = values->pdata[values->len / 2];
    if (tensor_base(*second) != x)
        tape_output(t, "second", *second);
    else
        *second = *out;
    return t;
}

static const struct plan *finish(struct tape *t, unsigned fuse)
{
    static struct backend_class class = {
        .name = "none", .alignment = 64, .compile = compile, .destroy_program = destroy_program};
    static struct backend backend = {.class = &class, .precision = DTYPE_F32};
    class.fuse = fuse;
    GError *error = NULL;
    bool ok = tape_finish(t, &backend, NULL, &error);
    CHECK(ok, "%s", error ? error->message : "");
    return ok ? last_plan : NULL;
}

static void random_tape(guint seed, unsigned fuse, size_t *arena, size_t *places)
{
    struct tensor *out, *second;
    struct tape *reference = record(seed, &out, &second);
    const struct plan *plan = finish(reference, 0);
    g_autofree guint *expected = g_new0(guint, plan->tensor_count + 1);
    g_autofree bool *wanted = g_new0(bool, plan->tensor_count + 1);
    for (int id = 0; id < plan->tensor_count; id++)
        expected[id] = 11 + (guint)id; /* inputs; the rest is computed */
    for (int i = 0; i < plan->node_count; i++)
        expected[tensor_base(plan->nodes[i].out)->id] = hash_node(&plan->nodes[i], expected);
    int unfused = plan->node_count;
    tape_destroy(reference);

    struct tape *t = record(seed, &out, &second);
    wanted[tensor_base(out)->id] = wanted[tensor_base(second)->id] = true;
    plan = finish(t, fuse);
    CHECK(simulate(plan, expected, wanted), "seed %u fuse %x", seed, fuse);
    CHECK(in_place_is_legal(plan, fuse), "seed %u fuse %x", seed, fuse);
    CHECK(plan->arena_bytes >= live_bytes(plan), "seed %u: impossible", seed);
    CHECK(plan->node_count <= unfused, "seed %u", seed);
    *arena += plan->arena_bytes;
    *places += sum_of_places(plan);
    tape_destroy(t);
}

static void test_sharing(void)
{
    /* a -> b -> c -> d of one size: two places are enough. */
    struct tape *t = tape_create("chain");
    struct tensor *x = tape_input(t, "x", DTYPE_F32, 4, (int64_t[]){1, 4, 4, CHANNELS});
    struct tensor *v[5] = {x};
    for (int i = 1; i < 5; i++)
        v[i] = op_layer_norm(t, v[i - 1], &bias, &bias, 1e-5f);
    tape_output(t, "out", op_layer_norm(t, v[4], &bias, &bias, 1e-5f));
    const struct plan *plan = finish(t, ~0u);
    CHECK(plan->arena_bytes == 2 * 4 * 4 * CHANNELS * sizeof(float), "%zu", plan->arena_bytes);
    CHECK(plan_place(plan, v[1])->offset == plan_place(plan, v[3])->offset, "dead ones share");
    CHECK(plan_place(plan, v[1])->offset != plan_place(plan, v[2])->offset, "live ones do not");
    tape_destroy(t);
}

static void test_resnet(void)
{
    /* The block every U-Net is made of, as the CPU and the Vulkan back end see it. */
    struct tape *t = tape_create("resnet");
    struct tensor *x = tape_input(t, "x", DTYPE_F32, 4, (int64_t[]){2, 4, 4, CHANNELS});
    struct tensor *emb = tape_input(t, "emb", DTYPE_F32, 2, (int64_t[]){2, CHANNELS});
    struct conv2d_params same = {.padding = -1};
    struct tensor *h = op_silu(t, op_group_norm(t, x, &bias, &bias, 4, 1e-5f));
    h = op_add(t, op_conv2d(t, h, &w3, &bias, same), op_linear(t, op_silu(t, emb), &w1, &bias));
    h = op_silu(t, op_group_norm(t, h, &bias, &bias, 4, 1e-5f));
    h = op_conv2d(t, h, &w3, &bias, same);
    tape_output(t, "out", op_add(t, op_linear(t, x, &w1, NULL), h));
    const struct plan *plan =
        finish(t, FUSE_RESIDUAL | FUSE_BROADCAST | FUSE_NORM_SILU | FUSE_IN_PLACE);
    static const enum op ops[] = {OP_group_norm, OP_silu,   OP_linear, OP_conv2d,
                                  OP_group_norm, OP_linear, OP_conv2d};
    CHECK(plan->node_count == 7, "%d", plan->node_count);
    bool found[OP_COUNT] = {false};
    for (int i = 0; i < plan->node_count; i++)
        found[plan->nodes[i].op] = true;
    for (size_t i = 0; i < G_N_ELEMENTS(ops); i++)
        CHECK(found[ops[i]], "%s", op_name(ops[i]));
    CHECK(!found[OP_add], "both additions are fused");
    CHECK(plan->nodes[6].residual && plan->nodes[6].op == OP_linear, "the later product adds");
    CHECK(tape_flops(t) ==
              2.0 * 2 * 16 * CHANNELS * CHANNELS * (9 + 9 + 1) + 2.0 * 2 * CHANNELS * CHANNELS,
          "%g", tape_flops(t));
    g_autoptr(GString) text = g_string_new(NULL);
    tape_dump(t, text);
    CHECK(strstr(text->str, "conv2d") && strstr(text->str, "[2,4,4,8]"), "%s", text->str);
    tape_destroy(t);
}

static void test_sentences(void)
{
    struct tape *t = tape_create("unet");
    struct tensor *a = tape_input(t, "a", DTYPE_F32, 4, (int64_t[]){2, 32, 32, 640});
    struct tensor *b = tape_input(t, "b", DTYPE_F32, 4, (int64_t[]){2, 31, 31, 320});
    tape_mark(t, "up.%d", 2);
    struct tensor *h = op_concat(t, a, b);
    for (int i = 0; i < 4; i++)
        CHECK(h->dims[i] > 0, "a placeholder can be used");
    h = op_linear(t, h, &w1, NULL); /* the second mistake is not reported */
    tape_output(t, "out", h);
    struct backend backend = {.class = NULL};
    GError *error = NULL;
    CHECK(!tape_finish(t, &backend, NULL, &error), "must fail");
    CHECK_STR(error->message, "up.2: op_concat: [2,32,32,640] and [2,31,31,320] differ");
    g_clear_error(&error);
    tape_destroy(t);
}

int main(void)
{
    w1 = make_weight("w1", 2, CHANNELS, CHANNELS, 0);
    wide = make_weight("wide", 2, 2 * CHANNELS, CHANNELS, 0);
    w3 = make_weight("w3", 4, CHANNELS, CHANNELS, 3);
    bias = make_weight("bias", 1, CHANNELS, 0, 0);
    unsigned all = FUSE_F32_OUTPUT * 2 - 1;
    size_t arena = 0, places = 0;
    GRand *r = g_rand_new_with_seed(5);
    for (guint seed = 0; seed < 2000; seed++) {
        unsigned fuse = seed % 3 == 0 ? all : (unsigned)g_rand_int(r) & all;
        random_tape(seed, fuse, &arena, &places);
    }
    g_rand_free(r);
    CHECK(arena * 2 < places, "dead tensors share: %zu of %zu bytes", arena, places);
    test_sharing();
    test_resnet();
    test_sentences();
    return check_result();
}
