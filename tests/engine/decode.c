/*
 * The decoder of the bundled model on a latent of a drawn picture: strips against the whole
 * picture, what happens when memory is short or a device fails (nothing is lost), a separate
 * autoencoder, TAESD.
 */
#include "tests/check.h"

#include <gio/gio.h>

#include "compute/cpu/cpu.h"
#include "engine/decode.h"
#include "engine/device.h"
#include "engine/parts.h"
#include "tests/engine/run.h"
#include "tests/weights/files.h"
#include "weights/model.h"

#define CELLS 32 /* a picture of 256 x 256 */
#define SIDE (CELLS * 8)
#define PIXELS (SIDE * SIDE * 3)

static struct model *model;
static struct vae vae;
static float latent[CELLS * CELLS * 4], whole[PIXELS];

/* A sky, a hill, a sun, a house with windows: flat parts, slopes, edges, small things. */
static void draw(float *picture)
{
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            float *p = picture + (y * SIDE + x) * 3;
            float far = hypotf((float)(x - 200), (float)(y - 50));
            bool hill = y > 170 - 40 * sinf((float)x / 60);
            bool house = x > 40 && x < 120 && y > 90 && y < 190;

            p[0] = -0.4f + 0.5f * (float)y / SIDE;
            p[1] = 0.1f + 0.3f * (float)y / SIDE;
            p[2] = 0.8f;
            if (far < 28)
                p[0] = 0.95f, p[1] = 0.8f, p[2] = 0.1f;
            if (hill)
                p[0] = -0.5f, p[1] = 0.2f + 0.1f * sinf((float)(x * y) / 300), p[2] = -0.6f;
            if (house)
                p[0] = 0.7f, p[1] = -0.3f, p[2] = -0.4f;
            if (house && x % 40 < 18 && y % 50 < 24)
                p[0] = p[1] = p[2] = 0.9f;
        }
}

/* Of pictures from -1 to 1. */
static double psnr(const float *a, const float *b)
{
    double sum = 0;

    for (int i = 0; i < PIXELS; i++) {
        double d = CLAMP(a[i], -1, 1) - CLAMP(b[i], -1, 1);

        sum += d * d;
    }
    return 10 * log10(4 / MAX(sum / PIXELS, 1e-12));
}

static void open_model(void)
{
    g_autofree float *picture = g_new(float, PIXELS);
    struct backend *backend = cpu_backend_create(DTYPE_F32, 0, NULL);
    struct decoder *d;
    GError *error = NULL;

    model = model_open("assets/models/starter", &error);
    CHECK(model && vae_init(&vae, model->weights[MODEL_VAE], model->config[MODEL_VAE], &error),
          "%s", error ? error->message : "");
    d = decoder_create(backend, &vae, NULL, NULL);
    draw(picture);
    CHECK(decoder_encode(d, picture, CELLS, CELLS, latent, NULL, &error));
    CHECK(decoder_decode(d, latent, CELLS, CELLS, whole, NULL, &error) && decoder_strips(d) == 0);
    decoder_destroy(d);
    backend_destroy(backend);
}

/*
 * Strips come out as in the whole picture: F32's rounding alone. In bf16, values pass through the
 * format once more between the two parts, and sums are added up in another order: 45 dB, a mean
 * difference of one and a half of 256 steps, which nobody sees. (Tiles that are normalized each by
 * itself reach 20 to 29 dB here.)
 */
static void test_strips(enum dtype precision, int rows, double least)
{
    struct backend *backend = cpu_backend_create(precision, 0, NULL);
    struct decoder *d = decoder_create(backend, &vae, NULL, NULL);
    g_autofree float *picture = g_new(float, PIXELS);
    g_autofree float *expected = g_new(float, PIXELS);
    double quality;

    CHECK(decoder_decode(d, latent, CELLS, CELLS, expected, NULL, NULL));
    decoder_begin(d, rows);
    CHECK(decoder_decode(d, latent, CELLS, CELLS, picture, NULL, NULL));
    CHECK(decoder_strips(d) == rows);
    quality = psnr(picture, expected);
    CHECK(quality >= least, "strips of %d in %s: %.1f dB", rows, dtype_name(precision), quality);
    printf("strips of %d, %s: %.1f dB\n", rows, dtype_name(precision), quality);
    decoder_destroy(d);
    backend_destroy(backend);
}

/* The same on the Vulkan back end, on a part of the picture: two strips. F16 rounds as BF16 does,
 * but keeps 3 bits more. */
static void test_vulkan_strips(const char *precision)
{
    bool f32 = strcmp(precision, "f32") == 0;
    const int height = 16, width = 4;
    size_t n = (size_t)height * width * 64 * 3;
    g_autofree float *whole_part = g_new(float, n), *picture = g_new(float, n);
    GError *error = NULL;
    struct backend *backend = device_open("vulkan", precision, 0, NULL, &error);
    struct decoder *d;
    double sum = 0, quality;

    CHECK(backend, "%s", error ? error->message : "");
    if (!backend)
        return;
    d = decoder_create(backend, &vae, NULL, NULL);
    CHECK(decoder_decode(d, latent, height, width, whole_part, NULL, &error), "%s",
          error ? error->message : "");
    CHECK(decoder_strips(d) == 0);
    decoder_begin(d, 8);
    CHECK(decoder_decode(d, latent, height, width, picture, NULL, &error), "%s",
          error ? error->message : "");
    CHECK(decoder_strips(d) == 8);
    for (size_t i = 0; i < n; i++)
        sum += pow((double)CLAMP(picture[i], -1, 1) - CLAMP(whole_part[i], -1, 1), 2);
    quality = 10 * log10(4 / MAX(sum / (double)n, 1e-12));
    CHECK(quality >= (f32 ? 100 : 55), "strips in %s: %.1f dB", precision, quality);
    printf("strips, vulkan %s: %.1f dB\n", precision, quality);
    decoder_destroy(d);
    backend_destroy(backend);
}

static void test_bytes(void)
{
    struct backend *backend = cpu_backend_create(DTYPE_F32, 0, NULL);
    struct decoder *d = decoder_create(backend, &vae, NULL, NULL);
    size_t all = decoder_bytes(d, 128, 128, 0), small = decoder_bytes(d, 128, 128, 8);

    CHECK(small < all * 2 / 3, "%zu and %zu bytes", small, all);
    CHECK(decoder_choose(d, 128, 128, all) == 0);
    CHECK(decoder_choose(d, 128, 128, all - 1) > 0);
    CHECK(decoder_choose(d, 128, 128, 1) == 8, "the smallest when nothing fits");
    decoder_destroy(d);
    backend_destroy(backend);
}

/* The back end itself refuses: whole, then in strips that fit. The same numbers as a picture that
 * is long and narrow. */
static void test_short_of_memory(void)
{
    const int height = 128, width = CELLS * CELLS / 128;
    g_autofree float *picture = g_new(float, PIXELS);
    g_autofree float *expected = g_new(float, PIXELS);
    struct backend *backend = cpu_backend_create(DTYPE_F32, 0, NULL);
    struct decoder *d = decoder_create(backend, &vae, NULL, NULL);
    size_t most =
        decoder_bytes(d, height, width, 0) * 2 / 3 + decoder_memory(d, height, width, NULL).weights;
    g_autofree char *limit = g_strdup_printf("%zu", most);

    CHECK(decoder_decode(d, latent, height, width, expected, NULL, NULL));
    CHECK(decoder_strips(d) == 0 && backend->bytes_peak > most);
    decoder_destroy(d);
    backend_destroy(backend);
    g_setenv("FIGMENT_CPU_MEMORY", limit, TRUE);
    backend = cpu_backend_create(DTYPE_F32, 0, NULL);
    d = decoder_create(backend, &vae, NULL, NULL);
    CHECK(decoder_decode(d, latent, height, width, picture, NULL, NULL));
    CHECK(decoder_strips(d) > 0, "in strips");
    CHECK(psnr(picture, expected) >= 100);
    CHECK(backend->bytes_peak <= most, "%zu bytes", backend->bytes_peak);
    decoder_destroy(d);
    backend_destroy(backend);
    g_unsetenv("FIGMENT_CPU_MEMORY");
}

/* ---- a device that fails ---- */

static int compiles;
static int fail_code;

static struct program *fail_to_compile(struct backend *backend, const struct plan *plan,
                                       const int *cancel, GError **error)
{
    (void)backend, (void)plan, (void)cancel;
    compiles++;
    g_set_error(error, G_IO_ERROR, fail_code, "the device is out of order");
    return NULL;
}

static const struct backend_class broken = {
    .name = "broken", .alignment = 64, .compile = fail_to_compile};

static void test_broken_device(void)
{
    g_autofree float *picture = g_new(float, PIXELS);
    g_autoptr(GPtrArray) notices = g_ptr_array_new_with_free_func(g_free);
    struct backend backend = {.class = &broken, .precision = DTYPE_F16};
    GError *error = NULL;

    for (int k = 0; k < 2; k++) {
        struct decoder *d = decoder_create(&backend, &vae, NULL, notices);

        fail_code = k ? G_IO_ERROR_FAILED : G_IO_ERROR_NO_SPACE;
        compiles = 0;
        memset(picture, 0, PIXELS * sizeof *picture);
        CHECK(decoder_decode(d, latent, CELLS, CELLS, picture, NULL, NULL));
        CHECK(memcmp(picture, whole, sizeof whole) == 0, "the CPU's picture");
        /* Whole, then strips of 16 and 8 rows; another failure than memory is not tried again.
         */
        CHECK(compiles == (k ? 1 : 3), "%d times", compiles);
        CHECK(notices->len == (guint)k + 1 && strstr(notices->pdata[k], "CPU"));
        decoder_destroy(d);
    }
    {
        struct decoder *d = decoder_create(&backend, &vae, NULL, NULL);

        fail_code = G_IO_ERROR_CANCELLED;
        CHECK(!decoder_decode(d, latent, CELLS, CELLS, picture, NULL, &error) &&
                  g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED),
              "who stops it gets no picture");
        g_clear_error(&error);
        decoder_destroy(d);
    }
}

/* ---- files ---- */

static void copy_file(const char *from, const char *folder, const char *name)
{
    g_autofree char *bytes = NULL;
    gsize size;

    CHECK(g_file_get_contents(from, &bytes, &size, NULL));
    write_file(folder, name, bytes, (gssize)size);
}

static GBytes *made(struct engine *engine, struct run *run, const char *vae_name)
{
    struct request r = {TINY_REQUEST};

    r.vae = (char *)vae_name;
    CHECK(run_request(engine, run, &r) == EVENT_DONE, "%s: %s", vae_name ? vae_name : "(none)",
          run->message ? run->message : run->order->str);
    return run->pictures->len ? g_bytes_ref(run->pictures->pdata[0]) : g_bytes_new_static("", 0);
}

static void test_separate_vae(char *folder)
{
    char *folders[] = {folder, NULL};
    struct engine_options options = {.folders = folders};
    struct run run;
    struct engine *engine;
    struct request r = {TINY_REQUEST};

    /* The model's own under another name gives the same picture; another's does not. */
    copy_file("tests/golden/tiny/vae/diffusion_pytorch_model.safetensors", folder,
              "models/VAE/same.safetensors");
    copy_file("assets/models/starter/vae/diffusion_pytorch_model.safetensors", folder,
              "models/VAE/other.safetensors");
    run_init(&run);
    engine = engine_create(&options, run_event, &run);
    {
        g_autoptr(GBytes) own = made(engine, &run, NULL);
        g_autoptr(GBytes) none = made(engine, &run, "None");
        g_autoptr(GBytes) same = made(engine, &run, "same.safetensors");

        CHECK(strstr(run.parameters->pdata[0], ", VAE hash: ") &&
                  strstr(run.parameters->pdata[0], ", VAE: same.safetensors,"),
              "%s", (char *)run.parameters->pdata[0]);
        CHECK(g_bytes_equal(own, same) && g_bytes_equal(own, none));
        g_bytes_unref(g_steal_pointer(&same));
        same = made(engine, &run, "SAME");
        CHECK(g_bytes_equal(own, same), "by stem, in any case");
    }
    {
        g_autofree char *path = g_build_filename(folder, "models/VAE/other.safetensors", NULL);
        g_autoptr(GBytes) other = made(engine, &run, path);
        g_autoptr(GBytes) back = made(engine, &run, NULL);

        CHECK(!g_bytes_equal(other, back));
        CHECK(!strstr(run.parameters->pdata[0], "VAE"));
    }
    r.vae = (char *)"otter";
    CHECK(run_request(engine, &run, &r) == EVENT_FAILED);
    CHECK_STR(run.message, "There is no autoencoder (VAE) “otter” in your folders; did you mean "
                           "“other”?");
    r.vae = (char *)"tests/golden/tiny/text_encoder/model.safetensors";
    CHECK(run_request(engine, &run, &r) == EVENT_FAILED && run.code == ENGINE_ERROR_MODEL, "%s",
          run.message ? run.message : run.order->str);
    engine_destroy(engine);
    run_finish(&run);
}

/* A TAESD of 8 channels in the original's names: convolutions at 1 and 3 (a block) and so on. */
static void write_taesd(const char *folder)
{
    static const struct {
        int index, out, in;
        const char *inner;
        bool bias;
    } layers[] = {{1, 8, 4, "", true},        {3, 8, 8, "conv.0.", true},
                  {3, 8, 8, "conv.2.", true}, {3, 8, 8, "conv.4.", true},
                  {7, 8, 8, "", false},       {12, 8, 8, "", false},
                  {17, 8, 8, "", false},      {19, 3, 8, "", true}};
    g_autoptr(GString) header = g_string_new("{");
    g_autoptr(GByteArray) bytes = NULL;
    size_t at = 0;

    for (gsize i = 0; i < G_N_ELEMENTS(layers); i++)
        for (int bias = 0; bias <= layers[i].bias; bias++) {
            size_t n = bias ? (size_t)layers[i].out : (size_t)layers[i].out * layers[i].in * 9;

            g_string_append_printf(header, "%s\"%d.%s%s\":{\"dtype\":\"F32\",\"shape\":[%d",
                                   at ? "," : "", layers[i].index, layers[i].inner,
                                   bias ? "bias" : "weight", layers[i].out);
            if (!bias)
                g_string_append_printf(header, ",%d,3,3", layers[i].in);
            g_string_append_printf(header, "],\"data_offsets\":[%zu,%zu]}", at, at + 4 * n);
            at += 4 * n;
        }
    g_string_append_c(header, '}');
    bytes = file_bytes(header->str, -1, 0);
    for (size_t i = 0; i < at / 4; i++) {
        float value = (float)((i * 37) % 101) / 400 - 0.12f;

        g_byte_array_append(bytes, (const guint8 *)&value, 4);
    }
    write_file(folder, "models/vae_approx/taesd_decoder.safetensors", bytes->data,
               (gssize)bytes->len);
}

/* Of 256. */
static int largest_step(GBytes *a, GBytes *b)
{
    gsize n, m;
    const guint8 *x = g_bytes_get_data(a, &n), *y = g_bytes_get_data(b, &m);
    int largest = n == m ? 0 : 256;

    for (gsize i = 0; n == m && i < n; i++)
        largest = MAX(largest, abs(x[i] - y[i]));
    return largest;
}

/* Files of both families, by any of their names; neither is taken for the other. */
static void test_taesd_names(char *folder)
{
    static const char *const names[] = {"taesdxl.safetensors", "taesdxl_decoder.safetensors"};
    char *folders[] = {folder, NULL};
    g_autofree char *plain = parts_find_taesd(folders, false);

    CHECK(plain && g_str_has_suffix(plain, "/taesd_decoder.safetensors"), "%s", plain);
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) { /* the decoder alone comes first */
        g_autofree char *file = g_strconcat("models/vae_approx/", names[i], NULL), *found = NULL;

        found = parts_find_taesd(folders, true);
        CHECK(i ? found != NULL : !found);
        g_free(found);
        write_file(folder, file, "x", 1);
        found = parts_find_taesd(folders, true);
        CHECK(found && g_str_has_suffix(found, names[i]), "%s", found);
    }
}

static void test_taesd(char *folder)
{
    char *folders[] = {folder, NULL};
    struct engine_options options = {.folders = folders};
    struct run run;
    struct engine *engine;
    struct request r = {TINY_REQUEST};

    run_init(&run);
    engine = engine_create(&options, run_event, &run);
    r.taesd = true;
    CHECK(run_request(engine, &run, &r) == EVENT_FAILED);
    CHECK_STR(run.message, "There is no TAESD decoder: put taesd_decoder.safetensors (for SDXL "
                           "taesdxl_decoder.safetensors) into a folder vae_approx.");
    engine_destroy(engine);
    r.steps = 2;
    write_taesd(folder);
    engine = engine_create(&options, run_event, &run);
    {
        g_autoptr(GBytes) slow = made(engine, &run, NULL), quick = NULL;

        CHECK(run_request(engine, &run, &r) == EVENT_DONE, "%s", run.message);
        quick = g_bytes_ref(run.pictures->pdata[0]);
        /* Once a step was timed a preview is TAESD's, of the picture's own size, not the map's of a
         * cell each; the last step's estimate is the latent. */
        CHECK(run.previews == 2 && run.preview_width == 64 && run.preview_height == 64,
              "%d previews, %dx%d", run.previews, run.preview_width, run.preview_height);
        CHECK(largest_step(run.last_preview, quick) <= 1, "%d",
              largest_step(run.last_preview, quick));
        CHECK(!g_bytes_equal(slow, quick) && g_bytes_get_size(quick) == 64 * 64 * 3);
        CHECK(strstr(run.parameters->pdata[0], ", VAE Decoder: TAESD"), "%s",
              (char *)run.parameters->pdata[0]);
    }
    engine_destroy(engine);
    run_finish(&run);
}

/* test_engine_decode [strips f32|f16]: strips on the Vulkan back end alone. */
int main(int argc, char **argv)
{
    char *folder = temp_folder();

    g_setenv("XDG_DATA_HOME", folder, TRUE);
    if (argc <= 2) /* else the cache of pipelines is the other tests' */
        g_setenv("XDG_CACHE_HOME", folder, TRUE);
    open_model();
    if (argc > 2) {
        test_vulkan_strips(argv[2]);
    } else {
        test_strips(DTYPE_F32, 8, 100);
        test_strips(DTYPE_BF16, 16, 45);
        test_bytes();
        test_short_of_memory();
        test_broken_device();
        test_separate_vae(folder);
        test_taesd(folder);
        test_taesd_names(folder);
    }
    vae_finish(&vae);
    model_close(model);
    remove_folder(folder);
    return check_result();
}
