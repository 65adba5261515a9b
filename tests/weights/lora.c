/*
 * Add-ons: every spelling and kind against diffusers and PEFT (tests/golden/weights_lora.py),
 * several at once, taking them away bit for bit, the rules L1 to L8 with their sentences; textual
 * inversion.
 */
#include "tests/check.h"
#include "tests/weights/files.h"
#include "weights/convert.h"
#include "weights/embedding.h"
#include "weights/lora_private.h"

#define GOLDEN "tests/golden/lora/"
/* The goldens are F32 sums in another order, of numbers near 1. */
#define CLOSE 2e-6

/* A model of the parts in a file whose names start "unet/", "text_encoder/" ... */
static struct model *open_base(const char *name)
{
    g_autofree char *path = g_strdup_printf(GOLDEN "%s.safetensors", name);
    struct safetensors *st = safetensors_open(path, NULL);
    struct model *m = g_new0(struct model, 1);
    m->label = g_strdup(name);
    for (int part = 0; st && part < MODEL_PARTS; part++) {
        g_autofree char *prefix = g_strconcat(model_part_name(part), "/", NULL);
        struct weights *w = weights_new(name);
        weights_take_file(w, safetensors_ref(st));
        for (size_t i = 0; i < safetensors_count(st); i++) {
            const struct st_tensor *t = safetensors_tensor(st, i);
            if (g_str_has_prefix(t->name, prefix))
                weights_add(w, t->name + strlen(prefix), st, t, 0, 0, false);
        }
        weights_seal(w);
        if (weights_count(w))
            m->weights[part] = w;
        else
            weights_destroy(w);
    }
    CHECK(st && m->weights[MODEL_UNET] && m->weights[MODEL_TEXT], "%s", path);
    safetensors_close(st);
    return m;
}

static float *read_entry(const struct entry *e)
{
    size_t n = weight_count(&e->weight);
    float *v = g_new(float, n);
    g_autoptr(GError) error = NULL;
    CHECK(e->weight.read(&e->weight, DTYPE_F32, 0, n, v, &error), "%s",
          error ? error->message : "");
    return v;
}

static float *read_golden(const struct safetensors *st, const char *name, size_t n)
{
    const struct st_tensor *t = safetensors_find(st, name);
    if (!t || t->count != n)
        return NULL;
    float *v = g_new(float, n);
    CHECK(safetensors_read(st, t->offset, v, n * sizeof *v, NULL));
    return v;
}

typedef void (*entry_func)(const struct model *m, struct entry *e, const char *full, void *data);

static void for_each(const struct model *m, entry_func f, void *data)
{
    for (int part = 0; part < MODEL_PARTS; part++)
        for (guint i = 0; m->weights[part] && i < m->weights[part]->entries->len; i++) {
            struct entry *e = g_ptr_array_index(m->weights[part]->entries, i);
            g_autofree char *full = g_strdup_printf("%s/%s", model_part_name(part), e->weight.name);
            f(m, e, full, data);
        }
}

struct expected {
    const struct safetensors *base, *after;
    unsigned changed;
    uint64_t revisions; /* the sum of what changed */
};

static void check_entry(const struct model *m, struct entry *e, const char *full, void *data)
{
    struct expected *x = data;
    size_t n = weight_count(&e->weight);
    g_autofree float *got = read_entry(e), *before = read_golden(x->base, full, n);
    g_autofree float *after = x->after ? read_golden(x->after, full, n) : NULL;
    if (!after) {
        CHECK(!memcmp(got, before, n * sizeof *got), "%s: %s changed", m->label, full);
        CHECK(!e->patch, "%s", full);
        return;
    }
    x->changed++;
    double error = check_relative_error(got, after, n);
    CHECK(error < CLOSE, "%s: error %g", full, error);
    CHECK(check_relative_error(before, after, n) > 100 * CLOSE, "%s: the golden says nothing",
          full);
    x->revisions += e->weight.revision;
    /* In pieces that end anywhere, and rounded to another format. */
    g_autofree float *pieces = g_new(float, n);
    g_autofree uint16_t *half = g_new(uint16_t, n);
    for (size_t at = 0, step = 1; at < n; at += step, step = step * 2 + 1)
        CHECK(e->weight.read(&e->weight, DTYPE_F32, at, MIN(step, n - at), pieces + at, NULL));
    error = check_relative_error(pieces, got, n);
    CHECK(error < 1e-6, "%s in pieces: error %g", full, error);
    CHECK(e->weight.read(&e->weight, DTYPE_BF16, 0, n, half, NULL));
    size_t same = 0;
    for (size_t i = 0; i < n; i++)
        same += half[i] == convert_f32_to_bf16(got[i]);
    CHECK(same == n, "%s as bf16", full);
}

static void check_golden(const char *name, const char *base, double strength)
{
    g_autofree char *path = g_strdup_printf(GOLDEN "%s.safetensors", name);
    g_autofree char *after_path = g_strdup_printf(GOLDEN "%s.after.safetensors", name);
    g_autofree char *base_path = g_strdup_printf(GOLDEN "%s.safetensors", base);
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    struct lora *l = lora_open(path, &error);
    CHECK(l, "%s: %s", name, error ? error->message : "");
    if (!l)
        return;
    struct model *m = open_base(base);
    struct expected x = {safetensors_open(base_path, NULL), safetensors_open(after_path, NULL), 0,
                         0};
    CHECK(lora_apply(m, &(struct lora_use){l, strength, strength}, 1, notes, &error), "%s: %s",
          name, error ? error->message : "");
    CHECK(notes->len == 0, "%s: %s", name, notes->len ? (char *)notes->pdata[0] : "");
    for_each(m, check_entry, &x);
    CHECK(x.changed == safetensors_count(x.after) && x.changed, "%s: %u changed", name, x.changed);
    /* The same again leaves revisions alone; the model keeps the add-on alive. */
    CHECK(lora_apply(m, &(struct lora_use){l, strength, strength}, 1, NULL, NULL));
    lora_close(l);
    uint64_t revisions = x.revisions;
    for_each(m, check_entry, &x);
    CHECK(x.revisions == 2 * revisions, "%s: revisions changed", name);
    CHECK(lora_apply(m, NULL, 0, NULL, NULL)); /* L8 */
    struct expected none = {x.base, NULL, 0, 0};
    for_each(m, check_entry, &none);
    safetensors_close((struct safetensors *)x.base);
    safetensors_close((struct safetensors *)x.after);
    model_close(m);
}

static void test_goldens(void)
{
    static const char *const sd1[] = {"kohya-sd1",    "kohya-conv",     "kohya-mid",
                                      "kohya-alphas", "peft",           "peft-alpha",
                                      "diffusers",    "diffusers-text", "diffusers-processor",
                                      "loha",         "loha-cp",        "lokr-0",
                                      "lokr-1",       "lokr-2",         "lokr-3",
                                      "diff",         "diff-bias",      "dora-input",
                                      "dora-output"};
    for (size_t i = 0; i < G_N_ELEMENTS(sd1); i++)
        check_golden(sd1[i], "sd1", 0.75);
    check_golden("peft-dora", "sd1", 1);
    check_golden("kohya-sdxl", "sdxl", 0.75);
    check_golden("kohya-sdxl-diffusers-names", "sdxl", 0.75);
}

struct sum {
    const struct safetensors *base, *after[2];
    double factor[2]; /* of the changes that the goldens have */
};

static void check_sum(const struct model *m, struct entry *e, const char *full, void *data)
{
    const struct sum *s = data;
    size_t n = weight_count(&e->weight);
    g_autofree float *got = read_entry(e), *expected = read_golden(s->base, full, n);
    g_autofree float *before = read_golden(s->base, full, n);
    (void)m;
    bool changed = false;
    for (int k = 0; k < 2; k++) {
        g_autofree float *after = read_golden(s->after[k], full, n);
        for (size_t i = 0; after && i < n; i++)
            expected[i] += (float)(s->factor[k] * ((double)after[i] - before[i]));
        changed |= after && s->factor[k] != 0;
    }
    if (!changed)
        CHECK(!memcmp(got, before, n * sizeof *got) && !e->patch, "%s", full);
    else
        CHECK(check_relative_error(got, expected, n) < 2 * CLOSE, "%s", full);
}

/* Two at once, with other weights than the goldens', then one of them dropped, then text encoders
 * left out. */
static void test_several(void)
{
    struct model *m = open_base("sd1");
    struct lora *a = lora_open(GOLDEN "kohya-sd1.safetensors", NULL);
    struct lora *b = lora_open(GOLDEN "loha.safetensors", NULL);
    struct sum s = {safetensors_open(GOLDEN "sd1.safetensors", NULL),
                    {safetensors_open(GOLDEN "kohya-sd1.after.safetensors", NULL),
                     safetensors_open(GOLDEN "loha.after.safetensors", NULL)},
                    {0.5 / 0.75, -0.3 / 0.75}};
    struct lora_use uses[] = {{a, 0.5, 0.5}, {b, -0.3, -0.3}};
    CHECK(lora_apply(m, uses, 2, NULL, NULL));
    for_each(m, check_sum, &s);
    s.factor[0] = 0;
    CHECK(lora_apply(m, uses + 1, 1, NULL, NULL));
    for_each(m, check_sum, &s);
    s.factor[0] = 1 / 0.75;
    s.factor[1] = 0;
    uses[0] = (struct lora_use){a, 1, 1};
    CHECK(lora_apply(m, uses, 1, NULL, NULL));
    for_each(m, check_sum, &s);
    /* Weight 0 is as if it were not there. */
    s.factor[0] = 0;
    uses[0] = (struct lora_use){a, 0, 0};
    CHECK(lora_apply(m, uses, 1, NULL, NULL));
    for_each(m, check_sum, &s);
    uses[0] = (struct lora_use){a, 1, 0};
    CHECK(lora_apply(m, uses, 1, NULL, NULL));
    const struct entry *text =
        weights_entry(m->weights[MODEL_TEXT], "text_model.encoder.layers.0.mlp.fc1.weight");
    const struct entry *unet =
        weights_entry(m->weights[MODEL_UNET],
                      "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight");
    CHECK(text && !text->patch && unet && unet->patch);
    for (int i = 0; i < 2; i++)
        safetensors_close((struct safetensors *)s.after[i]);
    safetensors_close((struct safetensors *)s.base);
    lora_close(a);
    lora_close(b);
    model_close(m);
}

/* ---- rules ---- */

struct tensor_spec {
    const char *name, *dtype, *shape; /* "[2,3]" */
    size_t count;
    float value; /* of every element (F32) */
};

static void write_specs(const char *dir, const char *file, const struct tensor_spec *specs,
                        size_t n)
{
    g_autoptr(GString) header = g_string_new("{");
    g_autoptr(GByteArray) data = g_byte_array_new();
    for (size_t i = 0; i < n; i++) {
        size_t size = !strcmp(specs[i].dtype, "F32") ? 4 : !strcmp(specs[i].dtype, "F64") ? 8 : 2;
        guint begin = data->len;
        for (size_t k = 0; k < specs[i].count; k++) {
            uint16_t half = convert_f32_to_f16(specs[i].value);
            double wide = (double)specs[i].value;
            g_byte_array_append(data,
                                size == 4   ? (const guint8 *)&specs[i].value
                                : size == 8 ? (const guint8 *)&wide
                                            : (const guint8 *)&half,
                                (guint)size);
        }
        g_string_append_printf(
            header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%u,%u]}",
            i ? "," : "", specs[i].name, specs[i].dtype, specs[i].shape, begin, data->len);
    }
    g_string_append_c(header, '}');
    GByteArray *b = file_bytes(header->str, -1, 0);
    g_byte_array_append(b, data->data, data->len);
    write_bytes(dir, file, b);
}

static const char *temp;

#define SPECS(...)                                                                                 \
    (const struct tensor_spec[])                                                                   \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }
#define OPEN_FAILS(sentence, ...)                                                                  \
    check_open(SPECS(__VA_ARGS__), sizeof(SPECS(__VA_ARGS__)) / sizeof(struct tensor_spec),        \
               sentence)

static void check_open(const struct tensor_spec *specs, size_t n, const char *sentence)
{
    g_autofree char *path = g_build_filename(temp, "l.safetensors", NULL);
    g_autoptr(GError) error = NULL;
    write_specs(temp, "l.safetensors", specs, n);
    struct lora *l = lora_open(path, &error);
    if (sentence)
        CHECK_STR(error ? error->message : NULL, sentence);
    CHECK(!l == !!sentence, "%s", error ? error->message : "");
    lora_close(l);
}

#define K "lora_unet_mid_block_attentions_0_proj_in"
#define PART "Can't open “l.safetensors”: its part “" K "” "
#define SHAPES PART "is incomplete, or its shapes do not belong together."

static void test_file_rules(void)
{
    /* L1 */
    OPEN_FAILS("“l.safetensors” uses OFT, not supported yet.",
               {K ".oft_blocks", "F32", "[1]", 1, 1});
    OPEN_FAILS("“l.safetensors” uses GLoRA, not supported yet.",
               {K ".a1.weight", "F32", "[1]", 1, 1});
    OPEN_FAILS("“l.safetensors” uses IA3, not supported yet.", {K ".on_input", "F32", "[1]", 1, 1});
    OPEN_FAILS("Can't open “l.safetensors”: it is no LoRA (none of its tensors is named like a "
               "part of one).",
               {"conv_in.weight", "F32", "[1]", 1, 1});
    OPEN_FAILS(PART "is there twice.", {K ".lora_up.weight", "F32", "[2,1]", 2, 1},
               {K ".lora_B.weight", "F32", "[2,1]", 2, 1});
    /* L2 */
#define UP(shape, count) {K ".lora_up.weight", "F32", shape, count, 1}
#define DOWN(shape, count)                                                                         \
    {                                                                                              \
        K ".lora_down.weight", "F32", shape, count, 1                                              \
    }
    OPEN_FAILS(NULL, UP("[4,2]", 8), DOWN("[2,4]", 8));
    OPEN_FAILS(NULL, UP("[4,2,1,1]", 8), DOWN("[2,4,1,1]", 8)); /* both ways of writing exist */
    OPEN_FAILS(NULL, UP("[4,2]", 8), DOWN("[2,4,1,1]", 8));
    OPEN_FAILS(SHAPES, UP("[4,2]", 8));
    OPEN_FAILS(SHAPES, DOWN("[2,4]", 8));
    OPEN_FAILS(SHAPES, UP("[4,2]", 8), DOWN("[3,4]", 12));
    OPEN_FAILS(SHAPES, UP("[4,5]", 20), DOWN("[5,4]", 20)); /* a rank above the layer's width */
    OPEN_FAILS(SHAPES, UP("[4,0]", 0), DOWN("[0,4]", 0));
    OPEN_FAILS(SHAPES, UP("[]", 1), DOWN("[2,4]", 8));
    OPEN_FAILS(SHAPES, {K ".alpha", "F32", "[]", 1, 1});
    OPEN_FAILS(SHAPES, {K ".hada_w1_a", "F32", "[4,2]", 8, 1},
               {K ".hada_w1_b", "F32", "[2,4]", 8, 1}, {K ".hada_w2_a", "F32", "[4,2]", 8, 1});
    OPEN_FAILS(SHAPES, {K ".lokr_w1", "F32", "[2,2]", 4, 1},
               {K ".lokr_w2_a", "F32", "[2,1]", 2, 1});
    OPEN_FAILS(SHAPES, {K ".diff", "F32", "[]", 1, 1});
    /* L3 */
#define ALPHA(dtype, shape, count, value) {K ".alpha", dtype, shape, count, value}
    OPEN_FAILS(NULL, UP("[4,2]", 8), DOWN("[2,4]", 8), ALPHA("F16", "[1]", 1, 1));
    OPEN_FAILS(NULL, UP("[4,2]", 8), DOWN("[2,4]", 8), ALPHA("F64", "[]", 1, 1));
    OPEN_FAILS(PART "has an impossible alpha.", UP("[4,2]", 8), DOWN("[2,4]", 8),
               ALPHA("F32", "[]", 1, 0));
    OPEN_FAILS(PART "has an impossible alpha.", UP("[4,2]", 8), DOWN("[2,4]", 8),
               ALPHA("F32", "[]", 1, -1));
    OPEN_FAILS(PART "has an impossible alpha.", UP("[4,2]", 8), DOWN("[2,4]", 8),
               ALPHA("F32", "[2]", 2, 1));
    OPEN_FAILS(PART "has an impossible alpha.", UP("[4,2]", 8), DOWN("[2,4]", 8),
               ALPHA("F32", "[]", 1, INFINITY));
    /* L6 */
    OPEN_FAILS("“l.safetensors” contains invalid numbers in 1 part; images would be black.",
               UP("[4,2]", 8), {K ".lora_down.weight", "F32", "[2,4]", 8, NAN});
    OPEN_FAILS("“l.safetensors” contains invalid numbers in 2 parts; images would be black.",
               {K ".lora_up.weight", "F16", "[4,2]", 8, INFINITY},
               {K ".lora_down.weight", "F32", "[2,4]", 8, NAN});
    OPEN_FAILS("“" K ".lora_up.weight” uses the number format F64, which this version can't read.",
               {K ".lora_up.weight", "F64", "[4,2]", 8, 1}, DOWN("[2,4]", 8));
    /* What is no part of an add-on may be there too. */
    OPEN_FAILS(NULL, UP("[4,2]", 8), DOWN("[2,4]", 8),
               {"bundle_emb.name.string_to_param.*", "F16", "[2,4]", 8, 1});
}

static void expect_apply(struct model *m, const struct tensor_spec *specs, size_t n, double weight,
                         const char *sentence, const char *note)
{
    g_autofree char *path = g_build_filename(temp, "l.safetensors", NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    write_specs(temp, "l.safetensors", specs, n);
    struct lora *l = lora_open(path, &error);
    CHECK(l, "%s", error ? error->message : "");
    if (!l)
        return;
    bool ok = lora_apply(m, &(struct lora_use){l, weight, weight}, 1, notes, &error);
    CHECK(ok == !sentence, "%s", error ? error->message : "applied");
    if (sentence)
        CHECK_STR(error ? error->message : NULL, sentence);
    CHECK(notes->len == (note != NULL));
    if (note && notes->len)
        CHECK_STR(notes->pdata[0], note);
    lora_close(l);
}

#define APPLY(weight, sentence, note, ...)                                                         \
    expect_apply(m, SPECS(__VA_ARGS__), sizeof(SPECS(__VA_ARGS__)) / sizeof(struct tensor_spec),   \
                 weight, sentence, note)
#define CROSS() "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"

static void test_model_rules(void)
{
    struct model *m = open_base("sd1");
    const struct entry *proj =
        weights_entry(m->weights[MODEL_UNET], "mid_block.attentions.0.proj_in.weight");
    CHECK(proj && proj->weight.dims[0] == 8);
#define FITTING                                                                                    \
    {K ".lora_up.weight", "F32", "[8,1]", 8, 1}, {K ".lora_down.weight", "F32", "[1,8]", 8, 1}
    APPLY(1, NULL, NULL, FITTING);
    unsigned revision = proj->weight.revision;
    CHECK(proj->patch && revision != 0);
    /* L7; and after a failure the model is as before */
    APPLY(10.01, "The weight of “l.safetensors” must be between -10 and 10.", NULL, FITTING);
    APPLY(-INFINITY, "The weight of “l.safetensors” must be between -10 and 10.", NULL, FITTING);
    APPLY((double)NAN, "The weight of “l.safetensors” must be between -10 and 10.", NULL, FITTING);
    CHECK(proj->patch && proj->weight.revision == revision);
    APPLY(-10, NULL, NULL, FITTING);
    CHECK(proj->weight.revision != revision);
    /* L5 */
    APPLY(1, "None of the 1 parts of “l.safetensors” fits this model.", NULL, UP("[4,2]", 8),
          DOWN("[2,4]", 8));
    APPLY(1, NULL, "2 of 3 parts of “l.safetensors” don't fit this model and were skipped.",
          FITTING, {"lora_unet_unknown.lora_up.weight", "F32", "[8,1]", 8, 1},
          {"lora_unet_unknown.lora_down.weight", "F32", "[1,8]", 8, 1},
          {"lora_unet_conv_in.lora_up.weight", "F32", "[8,1]", 8, 1},
          {"lora_unet_conv_in.lora_down.weight", "F32", "[1,8]", 8, 1});
    /* L4 */
    m->family = MODEL_SD1;
#define FOR_WIDTH(width)                                                                           \
    FITTING, {CROSS() ".lora_up.weight", "F16", "[320,1]", 320, 1},                                \
        {CROSS() ".lora_down.weight", "F16", "[1," #width "]", width, 1}
    APPLY(1, "“l.safetensors” was made for SDXL; the loaded model is SD 1.5.", NULL,
          FOR_WIDTH(2048));
    APPLY(1, "“l.safetensors” was made for SD 2.x; the loaded model is SD 1.5.", NULL,
          FOR_WIDTH(1024));
    m->family = MODEL_SDXL;
    APPLY(1, "“l.safetensors” was made for SD 1.5; the loaded model is SDXL.", NULL,
          FOR_WIDTH(768));
    m->family = MODEL_OTHER;
    APPLY(1, NULL, "1 of 2 parts of “l.safetensors” don't fit this model and were skipped.",
          FOR_WIDTH(768));
    model_close(m);
}

/* A layer of a real size, where the vectors of the product and its edges are at work. */
static void test_large_product(void)
{
    enum { OUT = 643, IN = 1291, RANK = 19 }; /* enough for several threads */
    char *base = g_build_filename(temp, "base", NULL), *path = g_build_filename(temp, "big", NULL);
    g_autoptr(GRand) rand = g_rand_new_with_seed(3);
    g_autoptr(GError) error = NULL;
    g_autofree char *base_header = g_strdup_printf(
        "{\"w.weight\":{\"dtype\":\"F32\",\"shape\":[%d,%d],\"data_offsets\":[0,%d]}}", OUT, IN,
        OUT * IN * 4);
    g_autofree char *header = g_strdup_printf(
        "{\"w.lora_up.weight\":{\"dtype\":\"F32\",\"shape\":[%d,%d],\"data_offsets\":[0,%d]},"
        "\"w.lora_down.weight\":{\"dtype\":\"F32\",\"shape\":[%d,%d],\"data_offsets\":[%d,%d]}}",
        OUT, RANK, OUT * RANK * 4, RANK, IN, OUT * RANK * 4, (OUT + IN) * RANK * 4);
    GByteArray *b = file_bytes(base_header, -1, 0), *a = file_bytes(header, -1, 0);
    g_autofree float *up = g_new(float, OUT *RANK), *down = g_new(float, RANK *IN);
    g_autofree float *got = g_new(float, OUT *IN), *expected = g_new0(float, OUT *IN);
    for (int i = 0; i < OUT * RANK; i++)
        up[i] = (float)g_rand_double_range(rand, -1, 1);
    for (int i = 0; i < RANK * IN; i++)
        down[i] = (float)g_rand_double_range(rand, -1, 1);
    for (int o = 0; o < OUT; o++)
        for (int i = 0; i < IN; i++) {
            double sum = 0;
            for (int k = 0; k < RANK; k++)
                sum += (double)up[o * RANK + k] * down[k * IN + i];
            expected[o * IN + i] = (float)(1.25 * sum);
        }
    g_byte_array_set_size(b, b->len + OUT * IN * 4);
    memset(b->data + b->len - OUT * IN * 4, 0, OUT * IN * 4);
    g_byte_array_append(a, (const guint8 *)up, OUT * RANK * 4);
    g_byte_array_append(a, (const guint8 *)down, RANK * IN * 4);
    write_bytes(temp, "base", b);
    write_bytes(temp, "big", a);
    struct model m = {.label = "m", .weights = {weights_open(base, NULL)}};
    struct lora *l = lora_open(path, &error);
    CHECK(l && lora_apply(&m, &(struct lora_use){l, 1.25, 0}, 1, NULL, &error), "%s",
          error ? error->message : "");
    const struct weight *w = weights_find(m.weights[0], "w.weight");
    static const size_t steps[] = {OUT * IN, 160 * IN, 4 * IN + 5, 1000};
    for (size_t s = 0; s < G_N_ELEMENTS(steps); s++) {
        memset(got, 0xff, OUT * IN * 4);
        for (size_t at = 0; at < OUT * IN; at += steps[s])
            CHECK(w->read(w, DTYPE_F32, at, MIN(steps[s], OUT * IN - at), got + at, NULL));
        double e = check_relative_error(got, expected, OUT * IN);
        CHECK(e < 1e-6, "steps of %zu: error %g", steps[s], e); /* sums of 19 terms in F32 */
    }
    weights_destroy(m.weights[0]);
    lora_close(l);
    g_free(base);
    g_free(path);
}

/* Names, shapes and numbers of the goldens, damaged: refused with one sentence, or applied and
 * read. */
static void test_mutants(void)
{
    enum { MUTANTS = 100 };
    static const char *const seeds[] = {"kohya-conv", "kohya-mid", "loha-cp",    "lokr-1",
                                        "lokr-2",     "diff-bias", "dora-input", "peft-alpha"};
    static const char *const edits[][2] = {{"_down", "_up"},
                                           {"[4,", "[2,"},
                                           {"[2,", "[1,"},
                                           {"\"F32\"", "\"F16\""},
                                           {"w1_a", "w2_a"},
                                           {"t1", "t2"},
                                           {",1,1]", "]"},
                                           {"[3,3,", "[9,1,"},
                                           {".diff\"", ".alpha\""},
                                           {"3,3]", "9]"},
                                           {".alpha", ".dora_scale"},
                                           {"[]", "[1]"}};
    struct model *m = open_base("sd1");
    g_autofree char *path = g_build_filename(temp, "l.safetensors", NULL);
    g_autoptr(GRand) rand = g_rand_new_with_seed(11);
    unsigned opened = 0, applied = 0, total = 0;
    for (size_t s = 0; s < G_N_ELEMENTS(seeds); s++)
        for (int i = 0; i < MUTANTS; i++, total++) {
            g_autofree char *seed = g_strdup_printf(GOLDEN "%s.safetensors", seeds[s]),
                            *bytes = NULL;
            gsize len;
            if (!g_file_get_contents(seed, &bytes, &len, NULL))
                abort();
            guint64 header;
            memcpy(&header, bytes, 8);
            g_autoptr(GString) text = g_string_new_len(bytes + 8, (gssize)header);
            for (int n = g_rand_int_range(rand, 1, 4); n > 0; n--) {
                const char *const *edit = edits[g_rand_int_range(rand, 0, G_N_ELEMENTS(edits))];
                char *at = text->str + g_rand_int_range(rand, 0, (gint32)text->len);
                at = strstr(at, edit[0]);
                if (at) {
                    gssize place = at - text->str;
                    g_string_erase(text, place, (gssize)strlen(edit[0]));
                    g_string_insert(text, place, edit[1]);
                }
            }
            GByteArray *b = file_bytes(text->str, (gssize)text->len, 0);
            g_byte_array_append(b, (guint8 *)bytes + 8 + header, (guint)(len - 8 - header));
            write_bytes(temp, "l.safetensors", b);
            g_autoptr(GError) error = NULL;
            struct lora *l = lora_open(path, &error);
            opened += l != NULL;
            if (l && lora_apply(m, &(struct lora_use){l, 0.1, 0.1}, 1, NULL, &error)) {
                applied++;
                for (guint k = 0; k < m->weights[MODEL_UNET]->entries->len; k++) {
                    const struct entry *e = g_ptr_array_index(m->weights[MODEL_UNET]->entries, k);
                    g_autofree float *v = g_new(float, weight_count(&e->weight));
                    if (e->patch) /* may be refused: numbers read in another format are wild */
                        e->weight.read(&e->weight, DTYPE_F32, 0, weight_count(&e->weight), v, NULL);
                }
            }
            CHECK(l || (error && g_str_has_suffix(error->message, ".")), "%s", seeds[s]);
            lora_close(l);
        }
    CHECK(opened && opened < total && applied && applied <= opened, "%u opened, %u applied", opened,
          applied);
    model_close(m);
}

/* ---- textual inversion ---- */

static struct embedding *open_embedding(const struct tensor_spec *specs, size_t n,
                                        const char *sentence)
{
    g_autofree char *path = g_build_filename(temp, "my word.safetensors", NULL);
    g_autoptr(GError) error = NULL;
    write_specs(temp, "my word.safetensors", specs, n);
    struct embedding *e = embedding_open(path, &error);
    if (sentence)
        CHECK_STR(error ? error->message : NULL, sentence);
    CHECK(!e == !!sentence, "%s", error ? error->message : "");
    return e;
}

#define EMBEDDING(sentence, ...)                                                                   \
    open_embedding(SPECS(__VA_ARGS__), sizeof(SPECS(__VA_ARGS__)) / sizeof(struct tensor_spec),    \
                   sentence)
#define REFUSED(why) "Can't open “my word.safetensors”: " why "."

static void test_embeddings(void)
{
    struct embedding *e = EMBEDDING(NULL, {"emb_params", "F16", "[2,768]", 1536, 0.5f});
    CHECK(e && e->vectors == 2 && e->width[0] == 768 && e->width[1] == 0 &&
          e->values[0][1535] == 0.5f);
    if (e)
        CHECK_STR(e->name, "my word");
    embedding_destroy(e);
    e = EMBEDDING(NULL, {"<cat-toy>", "F32", "[1024]", 1024, 2});
    CHECK(e && e->vectors == 1 && e->width[0] == 1024 && e->values[0][0] == 2);
    embedding_destroy(e);
    e = EMBEDDING(NULL, {"clip_g", "F32", "[3,1280]", 3840, 1},
                  {"clip_l", "F32", "[3,768]", 2304, 2});
    CHECK(e && e->vectors == 3 && e->width[0] == 768 && e->width[1] == 1280 &&
          e->values[1][3839] == 1 && e->values[0][0] == 2);
    embedding_destroy(e);
    e = EMBEDDING(NULL, {"emb_params", "F32", "[1,8]", 8, 1}, {"step", "F32", "[]", 1, 1});
    CHECK(e && e->vectors == 1);
    embedding_destroy(e);
    EMBEDDING(REFUSED("it is no textual-inversion embedding"), {"a", "F32", "[1,8]", 8, 1},
              {"b", "F32", "[]", 1, 1});
    EMBEDDING(REFUSED("its shape is not that of an embedding"),
              {"emb_params", "F32", "[1,1,8]", 8, 1});
    EMBEDDING(REFUSED("its shape is not that of an embedding"),
              {"emb_params", "F32", "[0,8]", 0, 1});
    EMBEDDING(REFUSED("its shape is not that of an embedding"),
              {"emb_params", "F32", "[1025,1]", 1025, 1});
    EMBEDDING(REFUSED("it has more vectors for one text encoder than for the other"),
              {"clip_g", "F32", "[2,8]", 16, 1}, {"clip_l", "F32", "[1,8]", 8, 1});
    EMBEDDING(REFUSED("it contains invalid numbers"), {"emb_params", "F32", "[1,8]", 8, NAN});
    EMBEDDING(REFUSED("its number format can't be read"), {"emb_params", "I16", "[1,8]", 8, 1});
}

int main(void)
{
    char *dir = temp_folder();
    temp = dir;
    test_goldens();
    test_several();
    test_file_rules();
    test_model_rules();
    test_large_product();
    test_mutants();
    test_embeddings();
    remove_folder(dir);
    return check_result();
}
