/*
 * The text encoders against transformers (tests/golden/make_clip.py), block by block, on the back
 * end that the arguments name (tests/block/block.h); and what the configuration may say.
 */
#include "clip/clip.h"
#include "tests/block/block.h"
#include "weights/config.h"
#include "weights/random.h"

#include <fcntl.h>

#define EOS 999

struct golden_case {
    const char *name;
    struct weights *golden;
    struct clip clip;
    int batch, length;
    int32_t *ids, *ends; /* ends: rows of the first end token */
};

static void read_ids(struct golden_case *g, int32_t eos)
{
    int rank;
    int64_t dims[TENSOR_MAX_RANK];
    g_autofree float *ids = golden_read(g->golden, "ids", &rank, dims);
    g->batch = (int)dims[0];
    g->length = (int)dims[1];
    g->ids = g_new(int32_t, g->batch * g->length);
    g->ends = g_new(int32_t, g->batch);
    for (int i = 0; i < g->batch * g->length; i++)
        g->ids[i] = (int32_t)ids[i];
    for (int b = 0; b < g->batch; b++) {
        g->ends[b] = b * g->length;
        while (g->ids[g->ends[b]] != eos)
            g->ends[b]++;
    }
}

/* Runs the encoder; the values of the marks are kept on the tape, which the caller destroys. */
static struct tape *encode(struct block_test *test, const struct golden_case *g,
                           struct clip_choice choice, bool pooled)
{
    struct tape *t = tape_create(g->name);
    int64_t dims[] = {g->batch, g->length, g->clip.config.width};
    struct tensor *x = tape_input(t, "embedded", DTYPE_F32, 3, dims);
    struct tensor *ends = pooled ? tape_input(t, "ends", DTYPE_I32, 1, dims) : NULL;
    struct clip_output out = clip_forward(t, &g->clip, x, ends, choice);
    tape_output(t, "hidden", out.hidden);
    if (pooled)
        tape_output(t, "pooled", out.pooled);
    tape_keep_marks(t);
    GError *error = NULL;
    g_autofree float *embedded = g_new(float, tensor_count(x));
    CHECK(clip_embed(&g->clip, g->ids, g->batch, g->length, NULL, 0, embedded, &error));
    CHECK(tape_finish(t, test->backend, NULL, &error), "%s", error ? error->message : "");
    tape_write(t, "embedded", embedded);
    if (pooled)
        tape_write(t, "ends", g->ends);
    CHECK(tape_run(t, NULL, &error), "%s", error ? error->message : "");
    g_clear_error(&error);
    return t;
}

static void compare_marks(struct block_test *test, const struct golden_case *g, struct tape *t)
{
    for (int i = 0; i < g->clip.config.layers; i++) {
        g_autofree char *mark = g_strdup_printf("layer.%d", i);
        g_autofree char *name = g_strdup_printf("state.%d", i + 1);
        int rank;
        int64_t dims[TENSOR_MAX_RANK];
        g_autofree float *got = tape_read_mark(t, mark, &rank, dims);
        CHECK(got, "%s: %s was not kept", g->name, mark);
        size_t n = (size_t)(g->batch * g->length * g->clip.config.width);
        if (got)
            golden_compare(test, g->golden, g->name, name, got, n);
    }
}

static void test_outputs(struct block_test *test, const struct golden_case *g)
{
    int layers = g->clip.config.layers;
    struct tape *t = encode(test, g, (struct clip_choice){.norm = true}, true);
    golden_compare_output(test, t, g->golden, g->name, "hidden", "hidden");
    golden_compare_output(test, t, g->golden, g->name, "pooled", "pooled");
    compare_marks(test, g, t);
    tape_destroy(t);

    /* Clip skip with the norm (SD 1.x), without (SDXL); pooled is the last layer's all the same. */
    if (layers >= 2) {
        t = encode(test, g, (struct clip_choice){.skip = 2, .norm = true}, true);
        golden_compare_output(test, t, g->golden, g->name, "hidden", "skip2");
        golden_compare_output(test, t, g->golden, g->name, "pooled", "pooled");
        tape_destroy(t);
    }
    for (int skip = 1; skip <= layers + 1; skip++) {
        g_autofree char *state = g_strdup_printf("state.%d", layers + 1 - skip);
        t = encode(test, g, (struct clip_choice){.skip = skip}, false);
        golden_compare_output(test, t, g->golden, g->name, "hidden", state);
        tape_destroy(t);
    }
    t = encode(test, g, (struct clip_choice){.skip = 99}, false); /* more than there are: none */
    golden_compare_output(test, t, g->golden, g->name, "hidden", "state.0");
    tape_destroy(t);
}

static void case_finish(struct golden_case *g)
{
    clip_finish(&g->clip);
    weights_destroy(g->golden);
    g_free(g->ids);
    g_free(g->ends);
}

static void test_drawn(struct block_test *test, const char *name)
{
    struct golden_case g = {.name = name, .golden = golden_open(name)};
    GError *error = NULL;
    uint64_t seed;
    json_t *config = golden_config(name, &seed);
    struct weights *w = weights_random(name, DTYPE_F32, seed);
    bool ok = clip_init(&g.clip, "text_encoder", w, config, &error);
    CHECK(ok, "%s", error ? error->message : "");
    read_ids(&g, EOS);
    if (ok)
        test_outputs(test, &g);
    case_finish(&g);
    weights_destroy(w);
    json_decref(config);
    g_clear_error(&error);
}

/* Names without "text_model.", F16, and everything in the file is used. */
static void test_folder(struct block_test *test)
{
    struct golden_case g = {.name = "clip-folder", .golden = golden_open("clip-folder")};
    GError *error = NULL;
    const char *path = "tests/golden/models/clip-folder/config.json";
    json_t *config = config_load(AT_FDCWD, path, path, &error);
    struct weights *w = weights_open("tests/golden/models/clip-folder/model.safetensors", &error);
    CHECK(config && w && clip_init(&g.clip, "text_encoder", w, config, &error), "%s",
          error ? error->message : "");
    read_ids(&g, 63);
    g_autoptr(GPtrArray) unused = weights_unused(w);
    CHECK(unused->len == 0);
    struct tape *t = encode(test, &g, (struct clip_choice){.norm = true}, false);
    golden_compare_output(test, t, g.golden, g.name, "hidden", "hidden");
    tape_destroy(t);
    case_finish(&g);
    weights_destroy(w);
    json_decref(config);
}

/* Vectors of an embedding stand where token embeddings were, with the position added. */
static void test_embed(void)
{
    GError *error = NULL;
    uint64_t seed;
    json_t *config = golden_config("clip-short", &seed);
    struct weights *w = weights_random("clip-short", DTYPE_F32, seed);
    struct clip c;
    CHECK(clip_init(&c, "text_encoder_2", w, config, &error));
    int width = c.config.width;
    const int32_t ids[] = {998, 3, 3, 3, 999, 999};
    float plain[6 * 12], changed[6 * 12], vector[2 * 12], places[3 * 12];
    for (int i = 0; i < 2 * width; i++)
        vector[i] = (float)i;
    struct clip_vectors vectors = {.row = 2, .count = 2, .values = vector};
    CHECK(width == 12 && clip_embed(&c, ids, 2, 3, NULL, 0, plain, &error));
    CHECK(clip_embed(&c, ids, 2, 3, &vectors, 1, changed, &error));
    const struct weight *p = weights_find(w, "text_model.embeddings.position_embedding.weight");
    CHECK(p->read(p, DTYPE_F32, 0, 36, places, &error));
    for (int i = 0; i < 6 * width; i++) {
        int row = i / width;
        float expected = row == 2 || row == 3
                             ? vector[i - 2 * width] + places[row % 3 * width + i % width]
                             : plain[i];
        CHECK(changed[i] == expected, "%d: %g", i, changed[i]);
    }
    /* The same token twice differs by the positions only; row 1 and 2 are both token 3. */
    for (int j = 0; j < width; j++)
        CHECK(fabsf((plain[width + j] - places[width + j]) -
                    (plain[2 * width + j] - places[2 * width + j])) < 1e-6f); /* roundings */

    const int32_t beyond[] = {1000};
    CHECK(!clip_embed(&c, beyond, 1, 1, NULL, 0, plain, &error));
    CHECK_STR(error->message, "text_encoder_2: token 1000 is beyond the 1000 embeddings of this "
                              "text encoder (a tokenizer of another model?)");
    g_clear_error(&error);
    int32_t many[78] = {0};
    CHECK(!clip_embed(&c, many, 1, 78, NULL, 0, plain, &error));
    CHECK_STR(error->message,
              "text_encoder_2: this text encoder takes 77 tokens at a time, not 78");
    g_clear_error(&error);
    clip_finish(&c);
    weights_destroy(w);
    json_decref(config);
}

static void refused(const char *text, const char *sentence)
{
    json_t *config = json_loads(text, 0, NULL);
    struct clip_config got;
    g_autoptr(GError) error = NULL;
    CHECK(config && !clip_config_read(&got, config, &error) && strstr(error->message, sentence),
          "%s: \"%s\"", text, error ? error->message : "no error");
    json_decref(config);
}

static void test_config(void)
{
    struct clip_config got;
    json_t *config = json_loads("{\"hidden_size\": 768, \"num_attention_heads\": 12, "
                                "\"eos_token_id\": 2, \"projection_dim\": 768}",
                                0, NULL);
    CHECK(clip_config_read(&got, config, NULL));
    CHECK(got.vocabulary == 49408 && got.positions == 77 && got.layers == 12 && got.inner == 2048);
    CHECK(got.activation == CLIP_QUICK_GELU && got.projection == 0 && got.eps == 1e-5f);
    json_decref(config);
    refused("{\"hidden_act\": \"gelu_new\"}", "hidden_act");
    refused("{\"hidden_size\": 100, \"num_attention_heads\": 12}",
            "hidden_size 100 is no multiple of num_attention_heads 12");
    refused("{\"num_hidden_layers\": 100000}", "num_hidden_layers");
    refused("{\"hidden_size\": \"wide\"}", "hidden_size");
}

static void test_missing(void)
{
    g_autoptr(GError) error = NULL;
    struct weights *w = weights_open("tests/golden/models/clip-folder/model.safetensors", NULL);
    json_t *config =
        json_loads("{\"architectures\": [\"CLIPTextModelWithProjection\"], "
                   "\"hidden_size\": 16, \"intermediate_size\": 24, \"vocab_size\": 65, "
                   "\"num_hidden_layers\": 2, \"num_attention_heads\": 2}",
                   0, NULL);
    struct clip c;
    CHECK(!clip_init(&c, "text_encoder", w, config, &error));
    CHECK(strstr(error->message, "encoder.layers.1.layer_norm1.weight") &&
              strstr(error->message, "[64,16], expected [65,16]"),
          "\"%s\"", error->message);
    clip_finish(&c);
    json_decref(config);
    weights_destroy(w);
}

int main(int argc, char **argv)
{
    struct block_test test;
    if (!block_test_init(&test, argc, argv))
        return 77;
    static const char *const names[] = {"clip-l", "clip-h", "clip-g", "clip-short"};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        test_drawn(&test, names[i]);
    test_folder(&test);
    test_embed();
    test_config();
    test_missing();
    CHECK(block_test_finish(&test)); /* it counts its own comparisons */
    return check_result();
}
