/* The engine as a whole, on a model of 110 KB: what must not change the picture does not, the order
 * of events, the queue, cancelling, failing. */
#include "tests/check.h"

#include <unistd.h>

#include "engine/npy.h"
#include "tests/engine/run.h"

static struct engine *engine;
static struct run run;

static GBytes *picture_of(const struct request *r)
{
    enum event_type end = run_request(engine, &run, r);

    CHECK(end == EVENT_DONE && run.pictures->len == 1, "%s",
          run.message ? run.message : run.order->str);
    return run.pictures->len ? g_bytes_ref(run.pictures->pdata[0]) : g_bytes_new_static("", 0);
}

/* The same request, changed in one way, gives the same picture (or, with `differs`, another). */
static void same_picture(GBytes *expected, const struct request *r, bool differs, const char *what)
{
    GBytes *got = picture_of(r);

    CHECK(g_bytes_equal(got, expected) != differs, "%s", what);
    g_bytes_unref(got);
}

static void test_same(void)
{
    struct request r = {TINY_REQUEST};
    GBytes *first = picture_of(&r);

    CHECK(g_bytes_get_size(first) == 64 * 64 * 3, "%zu bytes", g_bytes_get_size(first));
    same_picture(first, &r, false, "again");
    r.preview_every = -1;
    same_picture(first, &r, false, "without previews");
    r.preview_every = 0;
    r.sampler = (char *)"Euler a";
    g_bytes_unref(first);
    first = picture_of(&r);
    same_picture(first, &r, false, "an ancestral sampler, again");
    r.seed = 4;
    same_picture(first, &r, true, "another seed");
    r.seed = 3;
    r.prompt = (char *)"a blue table";
    same_picture(first, &r, true, "another prompt");
    r.prompt = (char *)"a red apple";
    r.cfg = 5.5;
    same_picture(first, &r, true, "more guidance");
    r.cfg = 5;
    r.rng = RNG_GPU;
    same_picture(first, &r, true, "the other generator");
    r.rng = RNG_CPU;
    same_picture(first, &r, false, "back again");
    engine_unload(engine);
    same_picture(first, &r, false, "after the model was loaded anew");
    g_bytes_unref(first);
}

/* A batch is the pictures of its seeds, byte for byte; other steps and sizes between change
 * nothing. */
static void test_batch(void)
{
    static const char *const samplers[] = {"DPM++ 2M", "Euler a", "DPM++ SDE"};
    struct request r = {TINY_REQUEST, .batch = 3};

    for (gsize i = 0; i < G_N_ELEMENTS(samplers); i++) {
        GBytes *batch[3];
        struct request other = {TINY_REQUEST};

        r.batch = 3;
        r.seed = 3;
        r.sampler = (char *)samplers[i];
        CHECK(run_request(engine, &run, &r) == EVENT_DONE && run.pictures->len == 3, "%s",
              run.order->str);
        for (int k = 0; k < 3; k++)
            batch[k] = g_bytes_ref(run.pictures->pdata[k]);
        CHECK(!g_bytes_equal(batch[0], batch[1]), "two seeds, one picture");
        other.seed = 99;
        other.steps = 40; /* more rows than the tapes have room for */
        other.width = 72;
        g_bytes_unref(picture_of(&other));
        r.batch = 1;
        for (int k = 0; k < 3; k++, r.seed++) {
            same_picture(batch[k], &r, false, samplers[i]);
            g_bytes_unref(batch[k]);
        }
    }
}

/* Guidance 1 asks the U-Net once: the negative prompt then means nothing. */
static void test_guidance(void)
{
    struct request r = {TINY_REQUEST};
    GBytes *alone, *first;

    r.cfg = 1;
    alone = picture_of(&r);
    r.negative = (char *)"worm";
    same_picture(alone, &r, false, "a negative prompt without guidance");
    r.cfg = 5;
    same_picture(alone, &r, true, "guidance");
    r.negative = (char *)"";
    g_bytes_unref(alone);

    /* A1111's grammar reaches the picture. */
    first = picture_of(&r);
    r.prompt = (char *)"(a red apple:1.0)";
    same_picture(first, &r, false, "a weight of 1");
    r.prompt = (char *)"(a red apple:1.4)";
    same_picture(first, &r, true, "a weight of 1.4");
    r.prompt = (char *)"[a red apple:a blue table:1.0]";
    same_picture(first, &r, false, "a switch after the last step");
    r.prompt = (char *)"[a red apple:a blue table:2]";
    same_picture(first, &r, true, "a switch in the middle");
    r.prompt = (char *)"[a red apple|a red apple]";
    same_picture(first, &r, false, "two equal alternatives");
    r.prompt = (char *)"a red apple AND a blue table :0";
    r.cfg = 5;
    same_picture(first, &r, false, "AND with a weight of 0");
    r.prompt = (char *)"a red apple AND a blue table";
    same_picture(first, &r, true, "AND");
    r.prompt = (char *)"a red apple BREAK a blue table";
    same_picture(first, &r, true, "two chunks against one");
    g_bytes_unref(first);
}

static void test_events(void)
{
    struct request r = {TINY_REQUEST};

    engine_unload(engine);
    run_request(engine, &run, &r);
    CHECK_STR(run.order->str, "LESPSPSPSPDI.");
    CHECK(run.preview_width == 8 && run.preview_height == 8, "%dx%d", run.preview_width,
          run.preview_height);
    CHECK(g_str_has_prefix(run.parameters->pdata[0],
                           "a red apple\nSteps: 4, Sampler: DPM++ 2M, Schedule type: Automatic, "
                           "CFG scale: 5, Seed: 3, Size: 64x64, Model hash: "),
          "%s", (char *)run.parameters->pdata[0]);
    r.preview_every = 2;
    run_request(engine, &run, &r);
    CHECK_STR(run.order->str, "ESSPSSPDI.");
    r.sampler = (char *)"Heun"; /* asks twice a step, tells once */
    r.preview_every = -1;
    run_request(engine, &run, &r);
    CHECK_STR(run.order->str, "ESSSSDI.");
}

/* ---- cancelling ---- */

struct at {
    enum event_type type;
    int step;
};

static void cancel_at(struct run *r, const struct event *e)
{
    const struct at *at = r->user;

    if (e->type == at->type && (e->type != EVENT_STEP || e->step == at->step))
        engine_cancel(engine, e->job);
}

static void test_cancel(void)
{
    struct request r = {TINY_REQUEST};
    GBytes *whole = picture_of(&r);
    static const struct at points[] = {{EVENT_LOADING, 0}, {EVENT_ENCODING, 0},
                                       {EVENT_STEP, 1},    {EVENT_STEP, 3},
                                       {EVENT_STEP, 4},    {EVENT_DECODING, 0}};

    for (gsize i = 0; i < G_N_ELEMENTS(points); i++) {
        if (points[i].type == EVENT_LOADING)
            engine_unload(engine);
        run.user = (void *)&points[i];
        run.on_event = cancel_at;
        CHECK(run_request(engine, &run, &r) == EVENT_CANCELLED, "cancelled at %d", points[i].type);
        CHECK(run.pictures->len == 0, "a picture of a cancelled job");
        run.on_event = NULL;
        same_picture(whole, &r, false, "after a cancelled job");
    }
    g_bytes_unref(whole);
}

static void test_queue(void)
{
    struct request r = {TINY_REQUEST};
    unsigned jobs[4], *queued;
    struct run *all = &run;

    engine_pause(engine, true);
    CHECK(engine_paused(engine), "paused");
    for (int i = 0; i < 4; i++)
        jobs[i] = engine_submit(engine, &r);
    queued = engine_queued(engine);
    CHECK(queued[0] == jobs[0] && queued[3] == jobs[3] && queued[4] == 0, "in order");
    g_free(queued);
    CHECK(engine_move(engine, jobs[3], jobs[0]), "moved to the front");
    CHECK(engine_move(engine, jobs[0], 0), "moved to the end");
    CHECK(!engine_move(engine, 12345, 0), "an unknown job was moved");
    queued = engine_queued(engine);
    CHECK(queued[0] == jobs[3] && queued[1] == jobs[1] && queued[2] == jobs[2] &&
              queued[3] == jobs[0],
          "%u %u %u %u", queued[0], queued[1], queued[2], queued[3]);
    g_free(queued);
    CHECK(engine_running(engine) == 0, "a paused engine runs");
    /* A removed job is told of, though the engine is paused. */
    run_reset(all);
    all->job = jobs[1];
    engine_cancel(engine, jobs[1]);
    run_wait(all);
    CHECK(all->end == EVENT_CANCELLED, "removed");
    run_reset(all);
    all->job = jobs[0]; /* the last one now */
    engine_pause(engine, false);
    run_wait(all);
    CHECK(all->end == EVENT_DONE, "the last one");
    queued = engine_queued(engine);
    CHECK(queued[0] == 0, "something is left");
    g_free(queued);
    /* All at once. */
    engine_pause(engine, true);
    for (int i = 0; i < 4; i++)
        jobs[i] = engine_submit(engine, &r);
    run_reset(all);
    all->job = jobs[3];
    engine_cancel_all(engine);
    run_wait(all);
    CHECK(all->end == EVENT_CANCELLED, "all cancelled");
    engine_pause(engine, false);
}

/* ---- failing ---- */

static void fails(const struct request *r, int code, const char *message)
{
    CHECK(run_request(engine, &run, r) == EVENT_FAILED, "%s", message);
    CHECK(run.code == code, "code %d", run.code);
    CHECK_STR(run.message, message);
}

/* What overflows is an error with a name, never a black picture. */
static void test_numbers(void)
{
    struct request r = {TINY_REQUEST};
    char *path = g_strdup_printf("%s/figment-noise-%d.npy", g_get_tmp_dir(), (int)getpid());
    float values[8 * 8 * 4];

    for (gsize i = 0; i < G_N_ELEMENTS(values); i++)
        values[i] = i % 2 ? 3e38f : -3e38f;
    CHECK(npy_write(path, values, 4, (int64_t[]){1, 4, 8, 8}, NULL), "%s", path);
    r.noise_path = path;
    fails(&r, ENGINE_ERROR_NUMBERS,
          "The U-Net's numbers went out of range at step 1 (NaN or infinity). Try --precision f32, "
          "or less guidance.");
    CHECK(run.pictures->len == 0, "a picture of NaN");
    r.width = 72;
    CHECK(run_request(engine, &run, &r) == EVENT_FAILED && run.code == ENGINE_ERROR_INPUT &&
              strstr(run.message, "must be [1, 4, 8, 9] for this size"),
          "%s", run.message);
    remove(path);
    g_free(path);
}

static void test_failures(void)
{
    struct request r = {TINY_REQUEST};

    r.model = (char *)"tests/golden/tinny";
    fails(&r, ENGINE_ERROR_MODEL, "There is no model at “tests/golden/tinny”.");
    r.model = (char *)"tests/golden/tiny";
    r.width = 100;
    fails(&r, ENGINE_ERROR_INPUT,
          "The size 100x64 can't be made: both sides must be multiples of 8 from 64 to 4096.");
    r.width = 64;
    r.sampler = (char *)"Eulr";
    fails(&r, ENGINE_ERROR_INPUT, "There is no sampler 'Eulr'; did you mean 'Euler'?");
    r.sampler = NULL;
    r.precision = (char *)"f16";
    fails(&r, ENGINE_ERROR_DEVICE, "The CPU computes in bf16 or f32, not in f16.");
    r.precision = (char *)"f32";
    r.init_path = (char *)"README.md";
    fails(&r, ENGINE_ERROR_INPUT, "“README.md” is neither a PNG nor a JPEG picture.");
    r.init_path = NULL;
    r.noise_path = (char *)"README.md";
    fails(&r, ENGINE_ERROR_INPUT, "“README.md” is not a .npy file of 32-bit floats in C order.");
    r.noise_path = NULL;
    test_numbers();
    r.no_save = false;
    r.folder = (char *)"README.md";
    CHECK(run_request(engine, &run, &r) == EVENT_FAILED, "saved into a file");
    CHECK(run.code == ENGINE_ERROR_DISK, "code %d", run.code);
    CHECK(run.pictures->len == 1 && *(char *)run.paths->pdata[0] == '\0',
          "the picture that could not be saved is in memory");
    r.no_save = true;
    g_bytes_unref(picture_of(&r));
}

/* img2img does the last part of the steps only, from the picture's latent. */
static void test_init(void)
{
    struct request r = {TINY_REQUEST};
    char *path = g_strdup_printf("%s/figment-init-%d.png", g_get_tmp_dir(), (int)getpid());
    GBytes *first, *changed, *png;
    struct picture picture;

    r.steps = 20;
    first = picture_of(&r);
    picture = (struct picture){64, 64, first};
    png = picture_encode_png(&picture, NULL, NULL);
    g_file_set_contents(path, g_bytes_get_data(png, NULL), (gssize)g_bytes_get_size(png), NULL);
    r.init_path = path;
    r.strength = 0.1;
    changed = picture_of(&r);
    CHECK(run.steps == 2, "%d steps of 20 at strength 0.1", run.steps);
    CHECK(strstr(run.parameters->pdata[0], "Denoising strength: 0.1"), "%s",
          (char *)run.parameters->pdata[0]);
    same_picture(changed, &r, false, "the same change again");
    r.strength = 0.5;
    same_picture(changed, &r, true, "a larger change");
    CHECK(run.steps == 10, "%d steps of 20 at strength 0.5", run.steps);
    remove(path);
    g_free(path);
    g_bytes_unref(png);
    g_bytes_unref(first);
    g_bytes_unref(changed);
}

int main(void)
{
    run_init(&run);
    /* One thread: the model is tiny, and tests run side by side. */
    engine = engine_create(&(struct engine_options){.threads = 1}, run_event, &run);
    test_events();
    test_same();
    test_batch();
    test_guidance();
    test_cancel();
    test_queue();
    test_failures();
    test_init();
    engine_destroy(engine);
    run_finish(&run);
    engine_destroy(NULL);
    return check_result();
}
