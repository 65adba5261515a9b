/*
 * Twins of the published checkpoints: single files in the original's names, all depths, a fifth of
 * the width (a quarter in the autoencoder), opened as a user's file is and computed, against
 * diffusers (tests/golden/make_twins.py). Their parameters are numbers that every format can hold,
 * so that a file in F32, F16, BF16 and both F8 must give the same. Full-size files: tests/golden/
 * check_checkpoints.py. The text encoders' names are tested in tests/weights/checkpoint.c, what
 * they compute in tests/clip/encoder.c.
 */
#include "tests/block/block.h"
#include "tests/weights/layouts.h"
#include "unet/unet.h"
#include "vae/vae.h"
#include "weights/convert.h"
#include "weights/model.h"

#define SEED 99
#define LENGTH 7

static const char *temp;

/* ---- numbers, as make_twins.py draws them ---- */

static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static int level(uint64_t key, size_t i) /* -7 to 7 */
{
    int64_t j = (int64_t)mix(key + i) >> 40;

    return (int)((j + (1 << 23)) * 15 >> 24) - 7;
}

static uint64_t key_of(const char *name)
{
    return mix((uint64_t)SEED ^ g_str_hash(name));
}

static void write_input(struct tape *t, const char *name, size_t n)
{
    g_autofree float *values = g_new(float, n);

    for (size_t i = 0; i < n; i++)
        values[i] = (float)level(key_of(name), i) / 4;
    tape_write(t, name, values);
}

/* A parameter of these dimensions. g_free(). */
static float *draw(const char *name, const int64_t *dims, int rank, size_t n)
{
    static const float norms[] = {0.875f, 1, 1, 1.25f};
    float *values = g_new(float, n);
    bool norm = rank == 1 && g_str_has_suffix(name, ".weight");
    uint64_t key = key_of(name);
    float unit = 1.0f / 64;
    uint64_t inputs = rank > 1 ? n / (uint64_t)dims[0] : 0, power = 1;

    for (unit = rank > 1 ? 1 : unit; power < 19 * inputs; power *= 4)
        unit /= 2;
    for (size_t i = 0; i < n; i++) {
        int k = level(key, i);

        values[i] = norm ? norms[(k + 7) & 3] : (float)k * unit;
    }
    return values;
}

/* ---- files ---- */

struct format {
    const char *name;
    enum dtype dtype;
};

static const struct format formats[] = {{"F32", DTYPE_F32},
                                        {"F16", DTYPE_F16},
                                        {"BF16", DTYPE_BF16},
                                        {"F8_E4M3", DTYPE_F8_E4M3},
                                        {"F8_E5M2", DTYPE_F8_E5M2}};

/* The bits of a number that the format can hold. */
static uint32_t encode(enum dtype dtype, float value)
{
    static uint8_t table[2]
                        [65536]; /* by the upper half of an F32: all of these numbers have 2 bits */
    static bool ready;
    uint32_t bits;

    for (int f = 0; f < 2 && !ready; f++)
        for (int i = 0; i < 256; i++) {
            float decoded = convert_f8_to_f32(f ? DTYPE_F8_E5M2 : DTYPE_F8_E4M3, (uint8_t)i);

            memcpy(&bits, &decoded, 4);
            table[f][bits >> 16] = (uint8_t)i;
        }
    ready = true;
    memcpy(&bits, &value, 4);
    switch (dtype) {
    case DTYPE_F16:
        return convert_f32_to_f16(value);
    case DTYPE_BF16:
        return bits >> 16;
    case DTYPE_F8_E4M3:
    case DTYPE_F8_E5M2:
        return table[dtype == DTYPE_F8_E5M2][bits >> 16];
    default:
        return bits;
    }
}

/* "320x320x3x3" with what is a multiple of `unit` made `to` a unit. */
static int parse_dims(const char *text, int unit, int to, int64_t *dims)
{
    g_auto(GStrv) words = g_strsplit(text, "x", -1);
    int rank = 0;

    for (char **w = words; *w; w++) {
        dims[rank] = (int64_t)g_ascii_strtoull(*w, NULL, 10);
        if (dims[rank] % unit == 0)
            dims[rank] = dims[rank] / unit * to;
        rank++;
    }
    return rank;
}

static char *dims_text(const int64_t *dims, int rank)
{
    GString *s = g_string_new(NULL);

    for (int i = 0; i < rank; i++)
        g_string_append_printf(s, "%s%d", i ? "x" : "", (int)dims[i]);
    return g_string_free(s, FALSE);
}

struct part {
    const GPtrArray *block;
    const char *prefix;
    int unit, to;
};

/* Offsets into the data. */
static void add_names(struct file *f, const struct part *part, const struct format *format,
                      guint64 *offsets)
{
    for (guint i = 0; i < part->block->len; i++) {
        const struct row *r = g_ptr_array_index(part->block, i);
        int64_t dims[4];
        g_autofree char *name = g_strconcat(part->prefix, r->ldm, NULL);
        g_autofree char *text =
            dims_text(dims, parse_dims(r->ldm_dims, part->unit, part->to, dims));

        offsets[i] = file_add(f, name, text, format->name, (int)dtype_size(format->dtype));
    }
}

static void add_values(FILE *out, guint64 data, const struct part *part,
                       const struct format *format, const guint64 *offsets)
{
    size_t size = dtype_size(format->dtype);

    for (guint i = 0; i < part->block->len; i++) {
        const struct row *r = g_ptr_array_index(part->block, i);
        int64_t dims[4];
        int rank = parse_dims(r->dims, part->unit, part->to, dims);
        size_t n = 1;

        CHECK(*r->how == '=', "%s is kept as it is", r->name);
        for (int k = 0; k < rank; k++)
            n *= (size_t)dims[k];
        g_autofree float *values = draw(r->name, dims, rank, n);
        g_autofree uint8_t *bytes = g_malloc(n * size);
        for (size_t k = 0; k < n; k++) {
            uint32_t bits = GUINT32_TO_LE(encode(format->dtype, values[k]));

            memcpy(bytes + k * size, &bits, size);
        }
        CHECK(fseek(out, (long)(data + offsets[i]), SEEK_SET) == 0 &&
              fwrite(bytes, size, n, out) == n);
    }
}

static void write_twin(const char *path, const struct part *parts, int n,
                       const struct format *format)
{
    struct file f = file_begin("{}");
    guint64 offsets[2][2000];

    for (int i = 0; i < n; i++)
        add_names(&f, &parts[i], format, offsets[i]);
    guint64 data = file_write(&f, path);
    FILE *out = fopen(path, "r+e");
    for (int i = 0; i < n; i++)
        add_values(out, data, &parts[i], format, offsets[i]);
    fclose(out);
}

/* ---- networks ---- */

static bool run_tape(struct block_test *test, struct tape *t, const char *name)
{
    g_autoptr(GError) error = NULL;
    bool ok = tape_finish(t, test->backend, NULL, &error);

    CHECK(ok, "%s: %s", name, error ? error->message : "");
    return ok;
}

static struct tensor *floats(struct tape *t, const char *name, int64_t a, int64_t b)
{
    return tape_input(t, name, DTYPE_F32, b ? 2 : 1, (int64_t[]){a, b});
}

static void check_unet(struct block_test *test, struct model *m, struct weights *golden,
                       const char *name)
{
    g_autoptr(GError) error = NULL;
    struct unet u;
    bool ok = unet_init(&u, m->weights[MODEL_UNET], m->config[MODEL_UNET], &error);
    struct unet_memo memo;
    const struct unet_config *c = &u.config;
    struct tape *t;

    CHECK(ok, "%s: %s", name, error ? error->message : "");
    if (!ok)
        return;
    int n_sizes = c->text_channels == 1280 ? 5 : 6, /* the refiner's */
        pooled = c->added_channels - 256 * n_sizes;
    t = tape_create(name);
    struct unet_prompt prompt = {
        .steps = floats(t, "steps", 1, 0),
        .text = tape_input(t, "text", DTYPE_F32, 3, (int64_t[]){1, LENGTH, c->text_channels}),
        .pooled = c->added_channels ? floats(t, "pooled", 1, pooled) : NULL,
        .sizes = c->added_channels ? floats(t, "sizes", n_sizes, 0) : NULL,
        .guidance = c->guidance_channels ? floats(t, "guidance", 1, 0) : NULL,
    };
    struct tensor *x = tape_input(t, "x", DTYPE_F32, 4, (int64_t[]){1, 8, 8, c->in_channels});
    struct tensor *rows = tape_input(t, "rows", DTYPE_I32, 1, (int64_t[]){1});
    unet_prepare(t, &u, &prompt, &memo);
    tape_output(t, "result", unet_forward(t, &u, x, rows, &memo));
    if (run_tape(test, t, name)) {
        tape_write(t, "steps", &(float){501});
        tape_write(t, "rows", &(int32_t){0});
        write_input(t, "x", (size_t)64 * (size_t)c->in_channels);
        write_input(t, "text", (size_t)LENGTH * (size_t)c->text_channels);
        if (c->added_channels) {
            write_input(t, "pooled", (size_t)pooled);
            tape_write(t, "sizes", (float[]){1024, 768, 0, 16, 512, 640});
        }
        if (c->guidance_channels)
            tape_write(t, "guidance", &(float){1000});
        CHECK(tape_run(t, NULL, NULL));
        golden_compare_output(test, t, golden, name, "result", name);
    }
    unet_memo_finish(&memo);
    tape_destroy(t);
    unet_finish(&u);
}

static void check_vae(struct block_test *test, struct model *m, struct weights *golden,
                      const char *name)
{
    g_autoptr(GError) error = NULL;
    struct vae v;
    bool ok = vae_init(&v, m->weights[MODEL_VAE], m->config[MODEL_VAE], &error);

    CHECK(ok, "%s: %s", name, error ? error->message : "");
    if (!ok)
        return;
    struct tape *t = tape_create(name);
    struct tensor *latent = tape_input(t, "latent", DTYPE_F32, 4, (int64_t[]){1, 2, 2, 4});
    tape_output(t, "result", vae_decode(t, &v, latent));
    if (run_tape(test, t, name)) {
        write_input(t, "latent", 16);
        CHECK(tape_run(t, NULL, NULL));
        golden_compare_output(test, t, golden, name, "result", "vae");
    }
    tape_destroy(t);
    vae_finish(&v);
}

static void check_twin(struct block_test *test, const char *name, const struct part *parts,
                       struct weights *golden, const struct format *format)
{
    g_autofree char *path = g_strdup_printf("%s/%s.safetensors", temp, name);
    g_autoptr(GError) error = NULL;

    write_twin(path, parts, 2, format);
    struct model *m = model_open(path, &error);
    CHECK(m, "%s: %s", name, error ? error->message : "");
    if (m) {
        CHECK(weights_main_dtype(m->weights[MODEL_UNET]) == format->dtype, "%s", name);
        check_unet(test, m, golden, name);
        check_vae(test, m, golden, name);
        for (int part = MODEL_UNET; part <= MODEL_VAE; part++) {
            g_autoptr(GPtrArray) unused = weights_unused(m->weights[part]);

            /* The encoder is bound, not run. */
            CHECK(unused->len == 0, "%s: %u unused", name, unused->len);
        }
    }
    backend_forget_weights(test->backend);
    model_close(m);
    unlink(path);
}

/* The U-Net's and the autoencoder's parts of a line "# NAME FAMILY u:BLOCK:... v:BLOCK:..." */
static void find_parts(char **words, const GPtrArray *blocks, struct part *parts)
{
    for (char **w = words + 3; *w; w++) {
        g_auto(GStrv) fields = g_strsplit(*w, ":", 5);
        int which = *fields[0] == 'u' ? 0 : *fields[0] == 'v' ? 1 : -1;

        if (which < 0)
            continue;
        parts[which].block = g_ptr_array_index(blocks, (guint)atoi(fields[1]));
        parts[which].prefix = which ? "first_stage_model." : "model.diffusion_model.";
        parts[which].unit = which ? 128 : strcmp(words[1], "refiner") ? 320 : 384;
        parts[which].to = which ? 32 : 64;
    }
}

/* Those named behind the precision. */
static void test_twins(struct block_test *test, int argc, char **argv)
{
    char **lines = golden_lines();
    g_autoptr(GPtrArray) blocks = g_ptr_array_new_with_free_func((GDestroyNotify)g_ptr_array_unref);
    struct weights *golden = golden_open("twins");
    int done = 0;

    for (char **l = lines; l && *l && **l; l++) {
        if (g_str_has_prefix(*l, "b ")) {
            new_block(*l, blocks);
        } else if (g_str_has_prefix(*l, "# ")) {
            g_auto(GStrv) words = g_strsplit(*l, " ", -1);
            struct part parts[2] = {0};

            if (!g_strv_contains((const char *const *)argv + 3, words[1]))
                continue;
            find_parts(words, blocks, parts);
            check_twin(test, words[1], parts, golden,
                       &formats[(unsigned)done++ % G_N_ELEMENTS(formats)]);
        } else if (!g_str_has_prefix(*l, "f ")) {
            put_row(g_ptr_array_index(blocks, blocks->len - 1), parse_row(*l));
        }
    }
    CHECK(done == argc - 3, "%d of %d", done, argc - 3);
    weights_destroy(golden);
    g_strfreev(lines);
}

int main(int argc, char **argv)
{
    struct block_test test;
    char *dir = temp_folder();

    temp = dir;
    if (!block_test_init(&test, argc, argv))
        return 77;
    test_twins(&test, argc, argv);
    CHECK(block_test_finish(&test));
    remove_folder(dir);
    return check_result();
}
