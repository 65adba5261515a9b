/* U-Nets of every supported shape against diffusers (tests/golden/make_models.py). */
#include "tests/block/block.h"
#include "unet/unet.h"
#include "weights/model.h"
#include "weights/random.h"

#define STEPS 3 /* of the goldens; the middle one has all blocks */

static const char *const inputs[] = {"text", "pooled", "sizes", "guidance"};

/* The prompt's inputs as the golden has them; steps are repeated for each picture of the batch. */
static struct unet_prompt prompt_inputs(struct tape *t, struct weights *golden, int64_t batch)
{
    return (struct unet_prompt){
        .steps = tape_input(t, "steps", DTYPE_F32, 1, (int64_t[]){batch * STEPS}),
        .text = golden_input(t, golden, "text"),
        .pooled = golden_input(t, golden, "pooled"),
        .sizes = weights_has(golden, "sizes")
                     ? tape_input(t, "sizes", DTYPE_F32, 1,
                                  (int64_t[]){(int64_t)weight_count(weights_find(golden, "sizes"))})
                     : NULL,
        .guidance = golden_input(t, golden, "guidance"),
    };
}

static void write_prompt(struct tape *t, struct weights *golden, int64_t batch)
{
    int rank;
    int64_t dims[TENSOR_MAX_RANK];
    g_autofree float *steps = golden_read(golden, "steps", &rank, dims);
    g_autofree float *all = g_new(float, batch *STEPS);
    for (int64_t i = 0; i < batch * STEPS; i++)
        all[i] = steps[i % STEPS];
    tape_write(t, "steps", all);
    for (size_t i = 0; i < G_N_ELEMENTS(inputs); i++)
        if (weights_has(golden, inputs[i]))
            golden_write(t, golden, inputs[i]);
}

static void write_rows(struct tape *t, int64_t batch, int step)
{
    int32_t rows[8];
    for (int64_t b = 0; b < batch; b++)
        rows[b] = (int32_t)(b * STEPS + step);
    tape_write(t, "rows", rows);
}

static struct tensor *record(struct tape *t, const struct unet *u, struct weights *golden,
                             const struct unet_memo *memo)
{
    struct tensor *x = golden_input(t, golden, "x");
    struct tensor *rows = tape_input(t, "rows", DTYPE_I32, 1, (int64_t[]){x->dims[0]});
    struct tensor *out = unet_forward(t, u, x, rows, memo);
    tape_output(t, "result", out);
    return out;
}

static bool finish(struct block_test *test, struct tape *t)
{
    GError *error = NULL;
    bool ok = tape_finish(t, test->backend, NULL, &error);
    CHECK(ok, "%s", error ? error->message : "");
    g_clear_error(&error);
    return ok;
}

static void run(struct tape *t)
{
    GError *error = NULL;
    CHECK(tape_run(t, NULL, &error), "%s", error ? error->message : "");
    g_clear_error(&error);
}

/* Everything on one tape, with the value of every block. */
static void test_blocks(struct block_test *test, const char *name, const struct unet *u,
                        struct weights *golden, int64_t batch)
{
    struct tape *t = tape_create(name);
    struct unet_memo memo;
    struct unet_prompt prompt = prompt_inputs(t, golden, batch);
    unet_prepare(t, u, &prompt, &memo);
    record(t, u, golden, &memo);
    tape_keep_marks(t);
    if (finish(test, t)) {
        write_prompt(t, golden, batch);
        golden_write(t, golden, "x");
        write_rows(t, batch, 1);
        run(t);
        golden_compare_marks(test, t, golden, name, 2 + 2 * u->config.levels);
    }
    unet_memo_finish(&memo);
    tape_destroy(t);
}

/* As the engine does it: a tape for the prompt, another that runs at each step. */
static void test_steps(struct block_test *test, const char *name, const struct unet *u,
                       struct weights *golden, int64_t batch)
{
    struct tape *once = tape_create("prompt"), *t = tape_create(name);
    struct unet_memo memo, imported = {0};
    struct unet_prompt prompt = prompt_inputs(once, golden, batch);
    unet_prepare(once, u, &prompt, &memo);
    unet_memo_keep(&memo, once);
    if (finish(test, once)) {
        write_prompt(once, golden, batch);
        run(once);
        unet_memo_import(&imported, u, t, once);
        record(t, u, golden, &imported);
        if (finish(test, t)) {
            golden_write(t, golden, "x");
            for (int step = 0; step < STEPS; step++) {
                g_autofree char *out = g_strdup_printf("out.%d", step);
                write_rows(t, batch, step);
                run(t);
                golden_compare_output(test, t, golden, name, "result", step == 1 ? "out" : out);
            }
        }
    }
    unet_memo_finish(&imported);
    unet_memo_finish(&memo);
    tape_destroy(t);
    tape_destroy(once);
}

static void test_unused(struct weights *weights)
{
    g_autoptr(GPtrArray) unused = weights_unused(weights);
    CHECK(unused->len == 0, "%u tensors are not used, first %s", unused->len,
          unused->len ? (char *)unused->pdata[0] : "");
}

static void test_unet(struct block_test *test, const char *name)
{
    GError *error = NULL;
    uint64_t seed;
    json_t *config = golden_config(name, &seed);
    struct weights *golden = golden_open(name), *weights = weights_random(name, DTYPE_F32, seed);
    int64_t batch = weights_find(golden, "x")->dims[0];
    struct unet u;
    bool ok = unet_init(&u, weights, config, &error);
    CHECK(ok, "%s: %s", name, error ? error->message : "");
    if (ok) {
        test_blocks(test, name, &u, golden, batch);
        test_steps(test, name, &u, golden, batch);
    }
    unet_finish(&u);
    backend_forget_weights(
        test->backend); /* they are freed, another model may get their addresses */
    weights_destroy(weights);
    weights_destroy(golden);
    json_decref(config);
}

/* A real folder with f16 files, through the loader. */
static void test_folder(struct block_test *test)
{
    GError *error = NULL;
    struct model *m = model_open("tests/golden/models/tiny-sd", &error);
    CHECK(m, "%s", error ? error->message : "");
    if (!m)
        return;
    struct weights *golden = golden_open("tiny-sd");
    struct unet u;
    bool ok = unet_init(&u, m->weights[MODEL_UNET], m->config[MODEL_UNET], &error);
    CHECK(ok, "%s", error ? error->message : "");
    if (ok)
        test_blocks(test, "tiny-sd", &u, golden, 2);
    test_unused(m->weights[MODEL_UNET]);
    unet_finish(&u);
    backend_forget_weights(
        test->backend); /* they are freed, another model may get their addresses */
    weights_destroy(golden);
    model_close(m);
}

/* All networks, or those that are named behind the precision (slow devices). */
static bool wanted(const char *name, int argc, char **argv)
{
    return argc <= 3 || g_strv_contains((const char *const *)argv + 3, name);
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"sd1", "sd2", "sdxl", "refiner", "ssd-lcm", "inpaint"};
    struct block_test test;
    if (!block_test_init(&test, argc, argv))
        return 77;
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        if (wanted(names[i], argc, argv))
            test_unet(&test, names[i]);
    if (wanted("tiny-sd", argc, argv))
        test_folder(&test);
    CHECK(block_test_finish(&test));
    return check_result();
}
