/* Autoencoders against diffusers (tests/golden/make_models.py): the big one and TAESD. */
#include "tests/block/block.h"
#include "vae/tiny.h"
#include "vae/vae.h"
#include "weights/model.h"
#include "weights/random.h"

#include <glib/gstdio.h>
#include <unistd.h>

static bool run(struct block_test *test, struct tape *t, struct weights *golden, const char *input)
{
    GError *error = NULL;
    bool ok = tape_finish(t, test->backend, NULL, &error);
    if (ok) {
        golden_write(t, golden, input);
        ok = tape_run(t, NULL, &error);
    }
    CHECK(ok, "%s", error ? error->message : "");
    g_clear_error(&error);
    return ok;
}

/* The decoder from "z" to "decoded" and the encoder from "picture" to "moments". */
static void test_halves(struct block_test *test, const char *name, const struct vae *v,
                        struct weights *golden)
{
    const struct {
        struct tensor *(*forward)(struct tape *t, const struct vae *v, struct tensor *x);
        const char *input, *output;
    } halves[] = {{vae_decode, "z", "decoded"}, {vae_encode, "picture", "moments"}};

    for (size_t i = 0; i < G_N_ELEMENTS(halves); i++) {
        struct tape *t = tape_create(name);
        struct tensor *x = golden_input(t, golden, halves[i].input);

        tape_output(t, "result", halves[i].forward(t, v, x));
        tape_keep_marks(t);
        if (run(test, t, golden, halves[i].input)) {
            golden_compare_marks(test, t, golden, name, 2);
            golden_compare_output(test, t, golden, name, "result", halves[i].output);
        }
        tape_destroy(t);
    }
}

static void test_vae(struct block_test *test, const char *name)
{
    GError *error = NULL;
    uint64_t seed;
    json_t *config = golden_config(name, &seed);
    struct weights *golden = golden_open(name), *weights = weights_random(name, DTYPE_F32, seed);
    struct vae v;
    weights_random_add(
        weights, "encoder.conv_in.weight", 4,
        (int)json_integer_value(json_array_get(json_object_get(config, "block_out_channels"), 0)),
        3, 3, 3);
    bool ok = vae_init(&v, weights, config, &error);
    CHECK(ok, "%s: %s", name, error ? error->message : "");
    if (ok)
        test_halves(test, name, &v, golden);
    vae_finish(&v);
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
    struct vae v;
    bool ok = vae_init(&v, m->weights[MODEL_VAE], m->config[MODEL_VAE], &error);
    CHECK(ok, "%s", error ? error->message : "");
    if (ok)
        test_halves(test, "tiny-sd", &v, golden);
    g_autoptr(GPtrArray) unused = weights_unused(m->weights[MODEL_VAE]);
    CHECK(unused->len == 0, "%u tensors are not used", unused->len);
    vae_finish(&v);
    backend_forget_weights(
        test->backend); /* they are freed, another model may get their addresses */
    weights_destroy(golden);
    model_close(m);
}

/*
 * A copy of TAESD's weights under other names: "decoder.layers.3.x" becomes FORMAT with 3 + offset.
 * Without a format for one half, that half is left out by a name of another network.
 */
static struct weights *renamed(const char *encoder, const char *decoder)
{
    g_autofree char *file = NULL, *path = g_build_filename(g_get_tmp_dir(), "taesd-XXXXXX", NULL);
    gsize size;
    if (!g_file_get_contents("tests/golden/models/taesd-weights.safetensors", &file, &size, NULL))
        g_error("no golden");
    uint64_t length;
    memcpy(&length, file, 8);
    json_t *old = json_loadb(file + 8, length, 0, NULL), *new = json_object(), *value;
    const char *key;
    json_object_foreach(old, key, value)
    {
        bool up = g_str_has_prefix(key, "decoder.");
        const char *prefix = up ? decoder : encoder, *rest = key + strlen("decoder.layers.");
        int index = atoi(rest) + (up && prefix ? 1 : 0); /* the original's begins with a clamp */
        g_autofree char *name = prefix ? g_strdup_printf("%s%d%s", prefix, index, strchr(rest, '.'))
                                       : g_strdup_printf("other.%s", key);
        json_object_set(new, name, value);
    }
    g_autofree char *header = json_dumps(new, JSON_COMPACT);
    GByteArray *out = g_byte_array_new();
    uint64_t new_length = strlen(header);
    g_byte_array_append(out, (guint8 *)&new_length, 8);
    g_byte_array_append(out, (guint8 *)header, (guint)new_length);
    g_byte_array_append(out, (guint8 *)file + 8 + length, (guint)(size - 8 - length));
    int fd = g_mkstemp(path);
    GError *error = NULL;
    CHECK(fd >= 0 && g_file_set_contents(path, (char *)out->data, out->len, NULL));
    struct weights *weights = weights_open(path, &error);
    CHECK(weights, "%s", error ? error->message : "");
    g_byte_array_unref(out);
    json_decref(old);
    json_decref(new);
    close(fd);
    unlink(path);
    return weights;
}

/* Decodes and encodes with what the weights hold, and takes them. */
static void test_tiny(struct block_test *test, struct weights *weights, bool decoder, bool encoder)
{
    GError *error = NULL;
    struct weights *golden = golden_open("taesd");
    struct tiny v;
    bool ok = tiny_init(&v, weights, &error);
    CHECK(ok, "%s", error ? error->message : "");
    CHECK(ok && v.latent_channels == 4);
    CHECK(ok && (v.decoder.layers > 0) == decoder && (v.encoder.layers > 0) == encoder);
    if (ok && decoder) {
        struct tape *t = tape_create("taesd");
        tape_output(t, "result", tiny_decode(t, &v, golden_input(t, golden, "z")));
        if (run(test, t, golden, "z"))
            golden_compare_output(test, t, golden, "taesd", "result", "decoded");
        tape_destroy(t);
    }
    if (ok && encoder) {
        struct tape *t = tape_create("taesd");
        tape_output(t, "result", tiny_encode(t, &v, golden_input(t, golden, "picture")));
        if (run(test, t, golden, "picture"))
            golden_compare_output(test, t, golden, "taesd", "result", "encoded");
        tape_destroy(t);
    }
    g_autoptr(GPtrArray) unused = weights_unused(weights);
    CHECK(!(decoder && encoder) || unused->len == 0, "%u tensors are not used", unused->len);
    tiny_finish(&v);
    backend_forget_weights(
        test->backend); /* they are freed, another model may get their addresses */
    weights_destroy(weights);
    weights_destroy(golden);
}

/* The U-Net's latents to the autoencoder's and back, with a shift. */
static void test_scaling(void)
{
    struct vae v = {
        .config = {.latent_channels = 2, .scaling = 0.5f, .mean = {0.25f, -1}, .std = {1, 2}}};
    float latent[] = {1, 2, 3, 4};
    vae_from_model(&v, latent, 4);
    CHECK(latent[0] == 2.25f && latent[1] == 7 && latent[2] == 6.25f && latent[3] == 15);
    vae_to_model(&v, latent, 4);
    CHECK(latent[0] == 1 && latent[1] == 2 && latent[2] == 3 && latent[3] == 4);
}

int main(int argc, char **argv)
{
    struct block_test test;
    if (!block_test_init(&test, argc, argv))
        return 77;
    test_vae(&test, "vae");
    test_vae(&test, "vae-bare");
    test_folder(&test);
    test_tiny(&test, golden_open("taesd-weights"), true, true);
    test_tiny(&test, renamed("taesd_encoder.", "taesd_decoder."), true, true);
    test_tiny(&test, renamed(NULL, ""), true, false);
    test_tiny(&test, renamed("", NULL), false, true);
    test_scaling();
    CHECK(block_test_finish(&test));
    return check_result();
}
