/*
 * Attention that is cut into windows of queries gives the same bits as in one dispatch: rows share
 * a workgroup with other rows then. On the path that FIGMENT_VULKAN_PATH names
 * (tests/vulkan/matrix_shapes.sh: cooperative matrices).
 */
#include "compute/op.h"
#include "compute/tape_private.h"
#include "compute/vulkan/internal.h"
#include "tests/check.h"

struct layer {
    int batch, queries, keys, heads, head_size;
};

static float *run(struct backend *b, const struct layer *l, int *dispatches)
{
    int64_t width = l->heads * l->head_size;
    int64_t dims[3][3] = {
        {l->batch, l->queries, width}, {l->batch, l->keys, width}, {l->batch, l->keys, width}};
    static const char *const names[] = {"q", "k", "v"};
    GError *error = NULL;
    struct tape *t = tape_create("windows");
    struct tensor *in[3];
    for (int i = 0; i < 3; i++)
        in[i] = tape_input(t, names[i], DTYPE_F32, 3, dims[i]);
    struct tensor *y = op_attention(t, in[0], in[1], in[2],
                                    (struct attention_params){.heads = l->heads, .scale = 0.5f});
    tape_output(t, "y", y);
    bool good = tape_finish(t, b, NULL, &error);
    for (int i = 0; good && i < 3; i++) {
        g_autofree float *data = g_new(float, tensor_count(in[i]));
        g_autoptr(GRand) random = g_rand_new_with_seed((guint32)i + 1);
        for (size_t k = 0; k < tensor_count(in[i]); k++)
            data[k] = (float)g_rand_double_range(random, -2, 2);
        tape_write(t, names[i], data);
    }
    good = good && tape_run(t, NULL, &error);
    CHECK(good, "%s", error ? error->message : "");
    g_clear_error(&error);
    float *out = g_new0(float, tensor_count(y));
    if (good) {
        tape_read(t, "y", out);
        *dispatches = commands_stats(((struct vulkan_program *)t->program)->commands).dispatches;
    }
    tape_destroy(t);
    return out;
}

int main(void)
{
    static const struct layer layers[] = {
        {1, 200, 80, 4, 40}, {2, 96, 80, 2, 64}, {1, 104, 72, 1, 512}};
    GError *error = NULL;
    struct backend *b = vulkan_backend_create(NULL, DTYPE_F16, &error);
    if (!b)
        g_error("%s", error->message);
    for (size_t i = 0; i < G_N_ELEMENTS(layers); i++) {
        const struct layer *l = &layers[i];
        size_t count = (size_t)(l->batch * l->queries * l->heads * l->head_size), different = 0;
        int whole = 0, cut = 0;
        ((struct vulkan_backend *)b)->scale = 1;
        g_autofree float *expected = run(b, l, &whole);
        ((struct vulkan_backend *)b)->scale = 1e9; /* as measured on a slow device */
        g_autofree float *got = run(b, l, &cut);
        CHECK(whole == 1 && cut >= l->queries / 64, "%d and %d dispatches", whole, cut);
        for (size_t k = 0; k < count; k++)
            different += memcmp(&expected[k], &got[k], sizeof(float)) != 0;
        CHECK(different == 0, "heads of %d: %zu of %zu values differ", l->head_size, different,
              count);
    }
    backend_destroy(b);
    return check_result();
}
