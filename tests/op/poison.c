/*
 * FIGMENT_POISON must catch what the op tests rely on it to catch: the plan is made to lie about
 * the size of a tensor, so that an op reads or writes one row that it does not own.
 *
 *     test_op_poison [cpu|vulkan]
 */
#include "compute/op.h"
#include "compute/plan.h"
#include "compute/tape.h"
#include "tests/backends.h"

enum lie { HONEST, READS_MORE, WRITES_MORE };

static const struct backend_class *honest;
static enum lie lie;
static int64_t *believed; /* the number that is wrong while the op is compiled and run */

static struct program *compile(struct backend *backend, const struct plan *plan, const int *cancel,
                               GError **error)
{
    struct node *n = &plan->nodes[0];
    believed = lie == READS_MORE ? &n->in[1]->dims[1] : &n->out->dims[1];
    *believed += lie != HONEST;
    return honest->compile(backend, plan, cancel, error);
}

static struct backend *create(const char *device)
{
    GError *error = NULL;
    bool cpu = strcmp(device, "cpu") == 0;
    struct backend *b =
        test_backend_create(cpu ? "cpu:f32" : "vulkan:f32", cpu ? "2" : NULL, &error);
    if (!b)
        g_error("no %s: %s", device, error ? error->message : "not in this build");
    return b;
}

/* Runs a tape of one op with inputs x and `second`; how many NaNs came out, -1 = the run failed as
 * it should. */
static int run(struct backend *b, struct tape *t, struct tensor *out, const char *second)
{
    g_autofree float *x = g_new0(float, 1000), *y = g_new0(float, tensor_count(out));
    tape_output(t, "y", out);
    GError *error = NULL;
    bool ok = tape_finish(t, b, NULL, &error);
    *believed -= lie != HONEST;
    if (ok) {
        tape_write(t, "x", x);
        if (second)
            tape_write(t, second, x);
        *believed += lie != HONEST;
        ok = tape_run(t, NULL, &error);
        *believed -= lie != HONEST;
    }
    if (ok)
        tape_read(t, "y", y);
    int nans = 0;
    for (size_t i = 0; ok && i < tensor_count(out); i++)
        nans += isnan(y[i]) != 0;
    CHECK(ok || strstr(error->message, "FIGMENT_POISON"), "%s", error->message);
    g_clear_error(&error);
    tape_destroy(t);
    return ok ? nans : -1;
}

/* 20 queries over 20 keys, or over one more. */
static int attend(struct backend *b)
{
    struct tape *t = tape_create("attention");
    struct tensor *x = tape_input(t, "x", DTYPE_F32, 3, (int64_t[]){1, 20, 6});
    struct tensor *k = tape_input(t, "k", DTYPE_F32, 3, (int64_t[]){1, 20, 6});
    return run(b, t, op_attention(t, x, k, k, (struct attention_params){.heads = 1}), "k");
}

/* Twice as many lines, or one more: all read from lines that there are. */
static int enlarge(struct backend *b)
{
    struct tape *t = tape_create("upsampling");
    struct tensor *x = tape_input(t, "x", DTYPE_F32, 4, (int64_t[]){1, 8, 8, 4});
    return run(b, t, op_upsample_nearest(t, x, 16, 16), NULL);
}

int main(int argc, char **argv)
{
    g_setenv("FIGMENT_POISON", "1", TRUE);
    struct backend *b = create(argc > 1 ? argv[1] : "cpu");
    CHECK(b->gap > 0, "FIGMENT_POISON is not heard");
    honest = b->class;
    struct backend_class class = *honest;
    class.compile = compile;
    b->class = &class;
    CHECK(enlarge(b) == 0, "NaNs, or a write, where all is right");
    CHECK(attend(b) == 0, "NaNs, or a write, where all is right");
    lie = WRITES_MORE;
    CHECK(enlarge(b) == -1, "a write behind a tensor was not seen");
    lie = READS_MORE;
    CHECK(attend(b) == 20 * 6, "a read behind a tensor was not seen");
    b->class = honest;
    test_backend_destroy(b);
    return check_result();
}
