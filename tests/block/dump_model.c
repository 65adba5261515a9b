/*
 * Runs the networks of a diffusers folder on given inputs and writes what every block gives:
 *
 *     dump_model FOLDER INPUTS.safetensors OUTPUTS.safetensors [DEVICE [PRECISION]]
 *
 * Inputs, channels last: x, steps, text (and pooled, sizes, guidance) for the U-Net, z and picture
 * for the autoencoder; what is absent is left out. Outputs have the names of the marks, and
 * "decoded", "moments". For tests/golden/check_random_models.py.
 */
#include "tests/block/block.h"
#include "unet/unet.h"
#include "vae/vae.h"
#include "weights/model.h"

#include <stdlib.h>

struct output {
    json_t *header;
    GByteArray *data;
};

static void put(struct output *out, const char *name, int rank, const int64_t *dims,
                const float *values)
{
    size_t bytes = sizeof *values;
    json_t *shape = json_array();
    for (int i = 0; i < rank; i++) {
        json_array_append_new(shape, json_integer(dims[i]));
        bytes *= (size_t)dims[i];
    }
    json_object_set_new(out->header, name,
                        json_pack("{s:s, s:o, s:[I,I]}", "dtype", "F32", "shape", shape,
                                  "data_offsets", (json_int_t)out->data->len,
                                  (json_int_t)(out->data->len + bytes)));
    g_byte_array_append(out->data, (const guint8 *)values, (guint)bytes);
}

static void save(struct output *out, const char *path)
{
    g_autofree char *header = json_dumps(out->header, JSON_COMPACT);
    uint64_t length = strlen(header);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(&length, 8, 1, file) != 1 || fwrite(header, length, 1, file) != 1 ||
        fwrite(out->data->data, out->data->len, 1, file) != 1 || fclose(file) != 0)
        g_error("can't write %s", path);
}

static void finish(struct block_test *test, struct tape *t)
{
    GError *error = NULL;
    tape_keep_marks(t);
    if (!tape_finish(t, test->backend, NULL, &error))
        g_error("%s", error->message);
}

static void run(struct tape *t)
{
    GError *error = NULL;
    gint64 start = g_get_monotonic_time();
    if (!tape_run(t, NULL, &error))
        g_error("%s", error->message);
    struct tape_memory memory = tape_memory(t);
    printf("%.2f s, arena %.0f MB, weights %.0f MB\n",
           (double)(g_get_monotonic_time() - start) / 1e6, (double)memory.arena / 1e6,
           (double)memory.weights / 1e6);
}

static void put_mark(struct output *out, struct tape *t, const char *mark, const char *name)
{
    int rank;
    int64_t dims[TENSOR_MAX_RANK];
    g_autofree float *values = tape_read_mark(t, mark, &rank, dims);
    if (values)
        put(out, name, rank, dims, values);
}

static void put_series(struct output *out, struct tape *t, const char *prefix)
{
    for (int i = 0; i < 6; i++) {
        g_autofree char *mark = g_strdup_printf("%s%d", prefix, i);
        put_mark(out, t, mark, mark);
    }
}

static void dump_unet(struct block_test *test, struct model *m, struct weights *in,
                      struct output *out)
{
    static const char *const inputs[] = {"text", "pooled", "sizes", "guidance", "steps", "x"};
    GError *error = NULL;
    struct unet u;
    if (!unet_init(&u, m->weights[MODEL_UNET], m->config[MODEL_UNET], &error))
        g_error("%s", error->message);

    struct tape *t = tape_create("unet");
    struct unet_prompt prompt = {golden_input(t, in, "steps"), golden_input(t, in, "text"),
                                 golden_input(t, in, "pooled"), golden_input(t, in, "sizes"),
                                 golden_input(t, in, "guidance")};
    struct unet_memo memo;
    unet_prepare(t, &u, &prompt, &memo);
    struct tensor *x = golden_input(t, in, "x");
    struct tensor *rows = tape_input(t, "rows", DTYPE_I32, 1, (int64_t[]){x->dims[0]});
    tape_output(t, "result", unet_forward(t, &u, x, rows, &memo));
    finish(test, t);
    for (size_t i = 0; i < G_N_ELEMENTS(inputs); i++)
        if (weights_has(in, inputs[i]))
            golden_write(t, in, inputs[i]);
    int32_t row[16];
    for (int32_t b = 0; b < 16; b++)
        row[b] = b; /* steps has one value for each picture */
    tape_write(t, "rows", row);
    run(t);
    put_mark(out, t, "conv_in", "conv_in");
    put_series(out, t, "down.");
    put_mark(out, t, "mid", "mid");
    put_series(out, t, "up.");
    put_mark(out, t, "out", "out");
    unet_memo_finish(&memo);
    tape_destroy(t);
    unet_finish(&u);
}

static void dump_vae(struct block_test *test, struct model *m, struct weights *in,
                     struct output *out, bool decode)
{
    GError *error = NULL;
    struct vae v;
    if (!vae_init(&v, m->weights[MODEL_VAE], m->config[MODEL_VAE], &error))
        g_error("%s", error->message);
    struct tape *t = tape_create("vae");
    const char *name = decode ? "z" : "picture";
    struct tensor *input = golden_input(t, in, name);
    tape_output(t, "result", decode ? vae_decode(t, &v, input) : vae_encode(t, &v, input));
    finish(test, t);
    golden_write(t, in, name);
    run(t);
    if (decode) {
        put_mark(out, t, "vae.mid", "vae.mid");
        put_series(out, t, "vae.up.");
        put_mark(out, t, "vae.out", "decoded");
    } else {
        put_series(out, t, "encode.down.");
        put_mark(out, t, "encode.mid", "encode.mid");
        put_mark(out, t, "encode.out", "moments");
    }
    tape_destroy(t);
    vae_finish(&v);
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: dump_model FOLDER INPUTS OUTPUTS [DEVICE [PRECISION]]\n");
        return 2;
    }
    GError *error = NULL;
    struct block_test test;
    if (!block_test_init(&test, argc - 3, argv + 3))
        return 77;
    struct model *m = model_open(argv[1], &error);
    struct weights *in = m ? weights_open(argv[2], &error) : NULL;
    if (!in)
        g_error("%s", error->message);
    struct output out = {json_object(), g_byte_array_new()};
    if (weights_has(in, "x"))
        dump_unet(&test, m, in, &out);
    if (weights_has(in, "z"))
        dump_vae(&test, m, in, &out, true);
    if (weights_has(in, "picture"))
        dump_vae(&test, m, in, &out, false);
    save(&out, argv[3]);
    json_decref(out.header);
    g_byte_array_unref(out.data);
    weights_destroy(in);
    model_close(m);
    backend_destroy(test.backend);
    return 0;
}
