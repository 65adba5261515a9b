/*
 * Pictures to start from: PNG and JPEG, masks with an ordinary model, U-Nets of 9 channels
 * (inpainting) and of 8 (edits by instruction), and what they say when something is missing. The
 * models are the small one with another first convolution.
 */
#include "tests/check.h"

#include <jansson.h>

#include "engine/init.h"
#include "engine/npy.h"
#include "engine/picture.h"
#include "tests/engine/run.h"
#include "tests/weights/files.h"
#include "weights/safetensors.h"

#define SIDE 64

static char *folder;
static struct engine *engine;
static struct run run;

static char *path_in(const char *name)
{
    return g_build_filename(folder, name, NULL);
}

/* ---- models ---- */

static void link_part(const char *model, const char *part)
{
    g_autofree char *from = g_build_filename("tests/golden/tiny", part, NULL);
    g_autofree char *whole = g_canonicalize_filename(from, NULL);
    g_autofree char *to = g_build_filename(folder, model, part, NULL);

    CHECK(symlink(whole, to) == 0, "%s", to);
}

/* The file's own first convolution becomes a part that is not used; the new one stands at the end.
 */
static void write_unet(const char *model, int channels)
{
    static const char file[] = "tests/golden/tiny/unet/diffusion_pytorch_model.safetensors";
    g_autofree char *bytes = NULL, *text = NULL, *name = NULL, *config = NULL;
    g_autoptr(GByteArray) out = NULL;
    json_t *header, *settings;
    json_int_t end, outputs;
    guint64 n;
    gsize size;

    CHECK(g_file_get_contents(file, &bytes, &size, NULL));
    memcpy(&n, bytes, 8);
    n = GUINT64_FROM_LE(n);
    header = json_loadb(bytes + 8, n, 0, NULL);
    end = (json_int_t)(size - 8 - n);
    outputs = json_integer_value(
        json_array_get(json_object_get(json_object_get(header, "conv_in.weight"), "shape"), 0));
    json_object_set(header, "before", json_object_get(header, "conv_in.weight"));
    json_object_set_new(header, "conv_in.weight",
                        json_pack("{s:s, s:[I, i, i, i], s:[I, I]}", "dtype", "F32", "shape",
                                  outputs, channels, 3, 3, "data_offsets", end,
                                  end + outputs * channels * 9 * 4));
    text = json_dumps(header, JSON_COMPACT);
    out = file_bytes(text, -1, 0);
    g_byte_array_append(out, (const guint8 *)bytes + 8 + n, (guint)end);
    for (json_int_t i = 0; i < outputs * channels * 9; i++) {
        float value = (float)(i * 7919 % 1009) / 5000 - 0.1f;

        g_byte_array_append(out, (const guint8 *)&value, 4);
    }
    name = g_build_filename(model, "unet/diffusion_pytorch_model.safetensors", NULL);
    write_file(folder, name, out->data, (gssize)out->len);
    json_decref(header);
    settings = json_load_file("tests/golden/tiny/unet/config.json", 0, NULL);
    json_object_set_new(settings, "in_channels", json_integer(channels));
    g_free(text);
    text = json_dumps(settings, 0);
    config = g_build_filename(model, "unet/config.json", NULL);
    write_file(folder, config, text, -1);
    json_decref(settings);
    link_part(model, "model_index.json");
    link_part(model, "scheduler");
    link_part(model, "text_encoder");
    link_part(model, "tokenizer");
    link_part(model, "vae");
}

/* ---- pictures ---- */

/* Slopes, so that JPEG keeps them well. */
static void write_pictures(void)
{
    guint8 *rgb = g_malloc(SIDE * SIDE * 3), *mask = g_malloc(SIDE * SIDE * 3);
    struct picture picture, area;
    g_autoptr(GBytes) png = NULL, jpeg = NULL, masked = NULL;

    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            guint8 *p = rgb + (y * SIDE + x) * 3;

            p[0] = (guint8)(x * 4);
            p[1] = (guint8)(y * 4);
            p[2] = 128;
            memset(mask + (y * SIDE + x) * 3, x >= SIDE / 2 ? 255 : 0, 3);
        }
    picture = (struct picture){SIDE, SIDE, g_bytes_new_take(rgb, SIDE * SIDE * 3)};
    area = (struct picture){SIDE, SIDE, g_bytes_new_take(mask, SIDE * SIDE * 3)};
    png = picture_encode_png(&picture, NULL, NULL);
    jpeg = picture_encode_jpeg(&picture, 95, NULL, NULL);
    masked = picture_encode_png(&area, NULL, NULL);
    write_file(folder, "in.png", g_bytes_get_data(png, NULL), (gssize)g_bytes_get_size(png));
    write_file(folder, "in.jpg", g_bytes_get_data(jpeg, NULL), (gssize)g_bytes_get_size(jpeg));
    write_file(folder, "mask.png", g_bytes_get_data(masked, NULL),
               (gssize)g_bytes_get_size(masked));
    write_file(folder, "broken.jpg", g_bytes_get_data(jpeg, NULL), 200);
    picture_clear(&picture);
    picture_clear(&area);
}

static enum event_type request(const char *model, const char *init, const char *mask)
{
    g_autofree char *path = model ? path_in(model) : g_strdup("tests/golden/tiny");
    g_autofree char *first = init ? path_in(init) : NULL, *area = mask ? path_in(mask) : NULL;
    struct request r = {TINY_REQUEST};

    r.model = path;
    r.init_path = first;
    r.mask_path = area;
    r.strength = 0.9;
    return run_request(engine, &run, &r);
}

static const guint8 *pixels(void)
{
    return run.pictures->len ? g_bytes_get_data(run.pictures->pdata[0], NULL) : NULL;
}

static void test_files(void)
{
    g_autofree char *png = path_in("in.png"), *jpeg = path_in("in.jpg"),
                    *broken = path_in("broken.jpg");
    g_autofree float *a = init_load(png, SIDE, SIDE, NULL);
    g_autofree float *b = init_load(jpeg, SIDE, SIDE, NULL), *c = NULL;
    g_autoptr(GError) error = NULL;
    double worst = 0;

    CHECK(a != NULL);
    if (!b) { /* a build without gdk-pixbuf says so */
        c = init_load(jpeg, SIDE, SIDE, &error);
        CHECK(error && strstr(error->message, "use a PNG"), "%s", error ? error->message : "");
        return;
    }
    for (int i = 0; a && i < SIDE * SIDE * 3; i++)
        worst = MAX(worst, fabs(a[i] - b[i]));
    CHECK(worst < 0.1, "JPEG of quality 95: %g of 2", worst); /* 12 of 256 steps */
    c = init_load(broken, SIDE, SIDE, &error);
    CHECK(!c && error && strstr(error->message, "“broken.jpg” is damaged"), "%s",
          error ? error->message : "");
}

/* The left half is the given picture's, but for the soft border; the right one is new. */
static void check_halves(const char *what)
{
    const guint8 *p = pixels();
    int kept = 0, changed = 0;

    CHECK(p != NULL, "%s: %s", what, run.message ? run.message : run.order->str);
    for (int y = 0; p && y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            const guint8 *at = p + (y * SIDE + x) * 3;
            int off = abs(at[0] - x * 4) + abs(at[1] - y * 4) + abs(at[2] - 128);

            kept += x < SIDE / 2 - 8 && off <= 3; /* rounding of each of three */
            changed += x >= SIDE / 2 + 8 && off > 30;
        }
    CHECK(kept == SIDE * (SIDE / 2 - 8), "%s: %d pixels kept", what, kept);
    CHECK(changed > SIDE * SIDE / 8, "%s: %d pixels changed", what, changed);
}

static void test_masks(void)
{
    CHECK(request(NULL, "in.png", "mask.png") == EVENT_DONE);
    check_halves("an ordinary model");
    CHECK(request("nine", "in.png", "mask.png") == EVENT_DONE);
    CHECK(run.notices->len == 1 && strstr(run.notices->pdata[0], "“before”"));
    check_halves("an inpainting model");
    CHECK(request("nine", NULL, NULL) == EVENT_DONE, "it draws without a picture, too: %s",
          run.message);
    CHECK(request("nine", "in.png", NULL) == EVENT_DONE, "%s", run.message);
    CHECK(request(NULL, NULL, "mask.png") == EVENT_FAILED && run.code == ENGINE_ERROR_INPUT);
    CHECK_STR(run.message, "A mask needs a picture that it belongs to (--init).");
}

static void test_instruct(void)
{
    g_autoptr(GBytes) one = NULL;

    CHECK(request("eight", NULL, NULL) == EVENT_FAILED && run.code == ENGINE_ERROR_INPUT);
    CHECK_STR(run.message, "“eight” edits pictures by instruction: give it a picture (--init) and "
                           "say in the prompt what to change.");
    CHECK(request("eight", "in.png", NULL) == EVENT_DONE, "%s", run.message);
    one = run.pictures->len ? g_bytes_ref(run.pictures->pdata[0]) : g_bytes_new_static("", 0);
    CHECK(request("eight", "mask.png", NULL) == EVENT_DONE && run.pictures->len == 1 &&
              !g_bytes_equal(one, run.pictures->pdata[0]),
          "it looks at the picture");
}

/* ---- against diffusers' pipelines (tests/golden/make_edits.py) ---- */

/* The latent after a step, as the engine wrote it down, beside the golden's NAME.STEP. */
static void check_step(const struct safetensors *golden, const char *name, int step)
{
    g_autofree char *key = g_strdup_printf("%s.%d", name, step);
    g_autofree char *file = g_strdup_printf("dump/latent_%03d.npy", step);
    g_autofree char *path = path_in(file);
    const struct st_tensor *t = safetensors_find(golden, key);
    float expected[4 * (SIDE / 8) * (SIDE / 8)];
    int64_t dims[NPY_MAX_RANK];
    int rank;
    g_autofree float *got = npy_read(path, &rank, dims, NULL);
    bool ok = got && t && t->size == sizeof expected && rank == 4 && dims[1] == 4 &&
              safetensors_read(golden, t->offset, expected, sizeof expected, NULL);

    CHECK(ok, "%s", key);
    if (ok) {
        double error = check_relative_error(got, expected, G_N_ELEMENTS(expected));

        /* F32 in another order of sums, over at most four calls of the U-Net with guidance 5. */
        CHECK(error < 1e-4, "%s: error %g", key, error);
    }
}

static void check_pipeline(const struct safetensors *golden, const char *name, const char *model,
                           const char *init, const char *mask, double strength, int steps)
{
    g_autofree char *path = path_in(model), *dump = path_in("dump");
    g_autofree char *first = init ? path_in(init) : NULL, *area = mask ? path_in(mask) : NULL;
    struct request r = {TINY_REQUEST};

    r.model = path;
    r.init_path = first;
    r.mask_path = area;
    r.strength = strength;
    r.sampler = (char *)"DDIM";
    r.dump_folder = dump;
    CHECK(run_request(engine, &run, &r) == EVENT_DONE, "%s: %s", name, run.message);
    for (int step = 1; step <= steps; step++)
        check_step(golden, name, step);
}

static void test_pipelines(void)
{
    struct safetensors *golden = safetensors_open("tests/golden/tiny/edits.safetensors", NULL);

    CHECK(golden != NULL);
    /* All of the picture new: the mask says so everywhere. */
    check_pipeline(golden, "whole", "nine", NULL, NULL, 0, 4);
    /* Half of it: the first step. Afterwards the kept half is put back, as A1111 and ComfyUI do. */
    check_pipeline(golden, "half", "nine", "in.png", "mask.png", 0.5, 1);
    check_pipeline(golden, "instruct", "eight", "in.png", NULL, 0, 4);
    safetensors_close(golden);
}

int main(void)
{
    folder = temp_folder();
    g_setenv("XDG_DATA_HOME", folder, TRUE);
    g_setenv("XDG_CACHE_HOME", folder, TRUE);
    write_pictures();
    write_unet("nine", 9);
    write_unet("eight", 8);
    run_init(&run);
    engine = engine_create(NULL, run_event, &run);
    test_files();
    test_masks();
    test_instruct();
    test_pipelines();
    engine_destroy(engine);
    run_finish(&run);
    remove_folder(folder);
    return check_result();
}
