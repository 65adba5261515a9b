/*
 * What loading a model says and takes: everything that is missing in any part at once, what in the
 * files was not used, memory planned before the first step and checked after it, text encoders that
 * go when memory is short, models that are switched without a trace.
 */
#include "tests/check.h"

#include <jansson.h>

#include "engine/estimate.h"
#include "tests/engine/run.h"
#include "tests/weights/files.h"

static char *folder;
static struct engine *engine;
static struct run run;

/* ---- a copy of the small model whose headers can be changed ---- */

static void copy_file(const char *from, const char *name)
{
    g_autofree char *bytes = NULL, *source = g_build_filename("tests/golden/tiny", from, NULL);
    gsize size;

    CHECK(g_file_get_contents(source, &bytes, &size, NULL), "%s", source);
    write_file(folder, name, bytes, (gssize)size);
}

static void copy_model(const char *name)
{
    static const char *const files[] = {
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/merges.txt",
        "tokenizer/special_tokens_map.json",
        "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    };

    for (gsize i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *to = g_build_filename(name, files[i], NULL);

        copy_file(files[i], to);
    }
}

/* Renames a tensor (NULL: adds one of four bytes). */
static void edit_header(const char *name, const char *from, const char *to)
{
    g_autofree char *path = g_build_filename(folder, name, NULL), *bytes = NULL, *text = NULL;
    gsize size;
    guint64 n;
    json_t *header;
    g_autoptr(GByteArray) out = NULL;

    CHECK(g_file_get_contents(path, &bytes, &size, NULL), "%s", path);
    memcpy(&n, bytes, 8);
    n = GUINT64_FROM_LE(n);
    header = json_loadb(bytes + 8, n, 0, NULL);
    if (from) {
        json_object_set(header, to, json_object_get(header, from));
        CHECK(json_object_del(header, from) == 0, "%s", from);
    } else {
        json_int_t end = (json_int_t)(size - 8 - n);

        json_object_set_new(header, to,
                            json_pack("{s:s, s:[i], s:[I, I]}", "dtype", "F32", "shape", 1,
                                      "data_offsets", end, end + 4));
    }
    text = json_dumps(header, JSON_COMPACT);
    out = file_bytes(text, -1, 0);
    g_byte_array_append(out, (const guint8 *)bytes + 8 + n, (guint)(size - 8 - n));
    if (!from)
        g_byte_array_append(out, (const guint8 *)"\0\0\0\0", 4);
    write_file(folder, name, out->data, (gssize)out->len);
    json_decref(header);
}

static enum event_type request_model(const char *model, const char *prompt)
{
    g_autofree char *path = g_build_filename(folder, model, NULL);
    struct request r = {TINY_REQUEST};

    r.model = path;
    r.prompt = (char *)prompt;
    return run_request(engine, &run, &r);
}

/* ---- ST13: all parts at once ---- */

static void test_missing(void)
{
    copy_model("broken");
    edit_header("broken/unet/diffusion_pytorch_model.safetensors", "conv_in.weight", "other");
    edit_header("broken/unet/diffusion_pytorch_model.safetensors", "conv_out.bias", "another");
    edit_header("broken/vae/diffusion_pytorch_model.safetensors", "decoder.conv_in.bias", "x");
    edit_header("broken/text_encoder/model.safetensors", "final_layer_norm.bias",
                "final_layer_norm.bjas");
    CHECK(request_model("broken", "x") == EVENT_FAILED && run.code == ENGINE_ERROR_MODEL);
    CHECK(run.message && g_str_has_prefix(run.message, "Can't open “broken”: unet: 2 of ") &&
              strstr(run.message, " parts are missing (first: “conv_in.weight”). vae: 1 of ") &&
              strstr(run.message, "(first: “decoder.conv_in.bias”). text_encoder: 1 of ") &&
              g_str_has_suffix(run.message, "(first: “final_layer_norm.bias”)."),
          "%s", run.message);
}

static void test_unused(void)
{
    copy_model("more");
    edit_header("more/unet/diffusion_pytorch_model.safetensors", NULL, "decoration");
    CHECK(request_model("more", "x") == EVENT_DONE, "%s", run.message);
    CHECK(run.notices->len == 1, "%u notices", run.notices->len);
    CHECK_STR(run.notices->len ? run.notices->pdata[0] : NULL,
              "1 part of “more” is not used (“decoration”).");
    CHECK(request_model("more", "y") == EVENT_DONE && run.notices->len == 0, "said once");
}

/* ---- memory ---- */

static void test_plan(void)
{
    struct request r = {TINY_REQUEST};
    const struct estimate *e = &run.planned, *m = &run.measured;
    struct estimate alone;
    uint64_t program;

    CHECK(run_request(engine, &run, &r) == EVENT_DONE, "%s", run.message);
    CHECK(e->unet_weights > 0 && e->text_weights > 0 && e->vae_weights > 0 && e->unet_work > 0 &&
          e->vae_work > 0 && e->step_flops > 0 && e->calls == 4 && e->fits && !e->drop_text);
    CHECK(e->measured == 0 && m->measured > 0 && m->took > 0);
    /* Without the program itself. On a model of 100 KB the back end's scratch, which is not
     * planned, is three quarters of everything; the published sizes are within a tenth
     * (docs/SPEED.md). */
    program = (uint64_t)110 << 20;
    CHECK(m->measured - program > (e->peak - program) / 3 &&
              m->measured - program < 6 * (e->peak - program),
          "%g and %g MB", (double)(m->measured - program) / 1e6, (double)(e->peak - program) / 1e6);
    CHECK(estimate_request(NULL, &r, &alone, NULL));
    CHECK(alone.peak == e->peak && alone.step_flops == e->step_flops, "the window's is the same");
    CHECK(alone.seconds > 0, "measured by the run before");
    r.width = 128;
    CHECK(estimate_request(NULL, &r, &alone, NULL) && alone.step_flops > 1.9 * e->step_flops);
    r.model = (char *)"no such model";
    CHECK(!estimate_request(NULL, &r, &alone, NULL));
}

/* ST14 before anything is allocated; and what is done to make it fit. */
static void test_short_of_memory(void)
{
    struct request r = {TINY_REQUEST};
    g_autoptr(GBytes) plain = NULL;
    g_autofree char *limit = NULL;
    uint64_t need;

    CHECK(run_request(engine, &run, &r) == EVENT_DONE);
    plain = g_bytes_ref(run.pictures->pdata[0]);
    need = run.planned.peak;
    g_setenv("FIGMENT_CPU_MEMORY", "1000000", TRUE);
    CHECK(run_request(engine, &run, &r) == EVENT_FAILED && run.code == ENGINE_ERROR_MEMORY);
    CHECK(run.message &&
              g_str_has_prefix(run.message, "Not enough memory for “tiny” at 64x64 (needs ") &&
              strstr(run.message, ", 1.0 MB free). Options: a smaller picture"),
          "%s", run.message);
    CHECK_STR(run.order->str, "!");
    limit = g_strdup_printf("%" G_GUINT64_FORMAT, need + need / 100);
    g_setenv("FIGMENT_CPU_MEMORY", limit, TRUE);
    CHECK(run_request(engine, &run, &r) == EVENT_DONE, "%s", run.message);
    CHECK(run.planned.drop_text && !run.planned.drop_unet);
    CHECK(run.pictures->len && g_bytes_equal(plain, run.pictures->pdata[0]));
    g_unsetenv("FIGMENT_CPU_MEMORY");
    r.low_memory = true;
    r.batch = 2;
    CHECK(run_request(engine, &run, &r) == EVENT_DONE && run.planned.drop_text &&
          run.planned.drop_unet);
    CHECK(run.pictures->len == 2 && g_bytes_equal(plain, run.pictures->pdata[0]));
}

#ifndef __SANITIZE_ADDRESS__
static size_t resident(void)
{
    g_autofree char *text = NULL;
    unsigned long pages = 0;

    if (g_file_get_contents("/proc/self/statm", &text, NULL, NULL))
        sscanf(text, "%*u %lu", &pages);
    return pages * 4096;
}
#endif

/* Twenty switches between two models: nothing of the other one stays. */
static void test_switches(void)
{
#ifndef __SANITIZE_ADDRESS__ /* which keeps what was freed */
    size_t before = 0, after;

    for (int i = 0; i < 24; i++) {
        if (i == 4)
            before = resident();
        CHECK(request_model(i % 2 ? "one" : "two", "x") == EVENT_DONE, "%s", run.message);
    }
    after = resident();
    /* A model is 2 MB with its tapes: 20 of them would be 40. */
    CHECK(after < before + ((size_t)6 << 20), "%zu KB more", (after - before) >> 10);
#endif
}

int main(void)
{
    char *cache;

    folder = temp_folder();
    cache = g_build_filename(folder, "cache", NULL);
    g_setenv("XDG_DATA_HOME", folder, TRUE);
    g_setenv("XDG_CACHE_HOME", cache, TRUE);
    run_init(&run);
    engine = engine_create(NULL, run_event, &run);
    test_missing();
    test_unused();
    test_plan();
    test_short_of_memory();
    copy_model("one");
    copy_model("two");
    test_switches();
    engine_destroy(engine);
    run_finish(&run);
    g_free(cache);
    remove_folder(folder);
    return check_result();
}
