/*
 * Whole pictures on the Vulkan back end, through the engine, on a model of 110 KB: the same bytes
 * whatever is around them, and every allocation, submission and wait of a picture failing once
 * (tests/vulkan/layer.c).
 *
 *     test_vulkan_picture same [f16]
 *     test_vulkan_picture memory | submit | wait | heap | limits
 */
#include "tests/check.h"
#include "tests/engine/run.h"
#include "tests/vulkan/layer.h"
#include "tests/vulkan/record.h"

#include <dlfcn.h>
#include <glib/gstdio.h>

static struct engine *engine;
static struct run run;
static struct fault *fault;
static const char *precision = "f32";

static struct request request_of(int batch, int preview_every)
{
    struct request r = {TINY_REQUEST, .batch = batch, .preview_every = preview_every};
    r.device = (char *)"vulkan";
    r.precision = (char *)precision;
    return r;
}

/* The bytes of the files of a request's pictures, in order. */
static GPtrArray *files_of(struct request r, const char *folder)
{
    GPtrArray *files = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    r.no_save = false;
    r.folder = (char *)folder;
    enum event_type end = run_request(engine, &run, &r);
    CHECK(end == EVENT_DONE, "%s", run.message ? run.message : run.order->str);
    for (guint i = 0; i < run.paths->len; i++) {
        char *data;
        gsize bytes;
        const char *path = run.paths->pdata[i];
        bool read = g_file_get_contents(path, &data, &bytes, NULL);
        CHECK(read, "%s", path);
        if (read)
            g_ptr_array_add(files, g_bytes_new_take(data, bytes));
        g_unlink(path);
    }
    return files;
}

/* Ten times the picture of one seed: alone, with fewer previews and none, in batches at the front,
 * in the middle and at the end, after another size, after the model was loaded anew. */
static void test_same(void)
{
    static const struct {
        int batch, place, preview_every;
        bool other_before, unload_before;
    } ways[] = {{1, 0, 0, false, false}, {1, 0, 0, false, false}, {1, 0, -1, false, false},
                {1, 0, 2, false, false}, {2, 0, 0, false, false}, {3, 1, -1, false, false},
                {2, 1, 3, false, false}, {1, 0, 0, true, false},  {1, 0, -1, false, true},
                {3, 2, 0, false, false}};
    g_autofree char *folder = g_dir_make_tmp("figment-vulkan-XXXXXX", NULL);
    g_autoptr(GBytes) expected = NULL;
    for (gsize i = 0; i < G_N_ELEMENTS(ways); i++) {
        struct request r = request_of(ways[i].batch, ways[i].preview_every);
        struct request other = request_of(1, 0);
        other.width = 72;
        other.steps = 1;
        r.seed = 3 - (unsigned)ways[i].place;
        if (ways[i].other_before)
            run_request(engine, &run, &other);
        if (ways[i].unload_before)
            engine_unload(engine);
        g_autoptr(GPtrArray) files = files_of(r, folder);
        CHECK((int)files->len == ways[i].batch, "%u files", files->len);
        if ((int)files->len != ways[i].batch)
            continue;
        GBytes *got = files->pdata[ways[i].place];
        if (!expected)
            expected = g_bytes_ref(got);
        CHECK(g_bytes_equal(got, expected), "the file of way %zu differs", i);
    }
    g_rmdir(folder);
}

/* The engine as it is after a picture and with nothing loaded. */
static size_t idle_bytes(GBytes **picture)
{
    struct request r = request_of(1, 0);
    enum event_type end = run_request(engine, &run, &r);
    CHECK(end == EVENT_DONE && run.pictures->len == 1, "%s", run.message ? run.message : "");
    if (run.pictures->len && picture)
        *picture = g_bytes_ref(run.pictures->pdata[0]);
    engine_unload(engine);
    struct request bad = request_of(1, 0);
    bad.model = (char *)"tests/golden/none";
    run_request(engine, &run, &bad); /* its end is the unloading's */
    return fault->allocation_size;
}

static void arm(enum fault_kind kind, int at, int times)
{
    memset(fault->calls, 0, sizeof fault->calls);
    fault->kind = kind;
    fault->struck = 0;
    fault->times = times;
    fault->at = at;
}

/* What of a picture may fail: allocations of a model that is loaded anew, work of a warm device. */
static int calls_of(enum fault_kind kind)
{
    struct request r = request_of(1, 0);
    arm(kind, 0, 0);
    run_request(engine, &run, &r);
    return fault->calls[kind];
}

/* The picture is whole again: to the bit, or, when the engine says that the CPU or a decoder of
 * strips made the last of it, up to the rounding of a level of a colour. */
static void check_picture(GBytes *expected, const char *when, int n)
{
    CHECK(run.end == EVENT_DONE && run.pictures->len == 1, "%s %d: %s", when, n,
          run.message ? run.message : run.order->str);
    if (run.pictures->len != 1)
        return;
    const uint8_t *a = g_bytes_get_data(expected, NULL);
    const uint8_t *b = g_bytes_get_data(run.pictures->pdata[0], NULL);
    int most = 0, allowed = run.notices->len > 0;
    for (gsize i = 0; i < g_bytes_get_size(expected); i++)
        most = MAX(most, ABS(a[i] - b[i]));
    CHECK(most <= allowed, "%s %d: another picture, by %d levels", when, n, most);
}

static void check_failure(enum fault_kind kind, int n)
{
    bool memory = kind == FAULT_ALLOCATE;
    CHECK(run.end == EVENT_FAILED && run.message && run.pictures->len == 0, "%d at %d: %s", kind, n,
          run.order->str);
    if (!run.message)
        return;
    CHECK(run.code == (memory ? ENGINE_ERROR_MEMORY : ENGINE_ERROR_DEVICE), "%d: %s", n,
          run.message);
    CHECK(strstr(run.message, memory ? "Not enough graphics memory" : "on the CPU"), "%s",
          run.message);
}

static void test_allocations(void)
{
    GBytes *expected = NULL;
    struct request r = request_of(1, 0);
    size_t idle = idle_bytes(&expected);
    int count = calls_of(FAULT_ALLOCATE);
    CHECK(count >= 6, "a picture allocates only %d times", count);
    for (int n = 1; n <= count; n++) {
        CHECK(idle_bytes(NULL) == idle, "before %d: %zu bytes, not %zu", n, fault->allocation_size,
              idle);
        arm(FAULT_ALLOCATE, n, 1);
        run_request(engine, &run, &r);
        CHECK(fault->struck == 1, "there was no allocation %d", n);
        if (run.end == EVENT_DONE)
            check_picture(expected, "in spite of the failure of allocation", n);
        else
            check_failure(FAULT_ALLOCATE, n);
        run_request(engine, &run, &r);
        check_picture(expected, "after the failure of allocation", n);
    }
    CHECK(idle_bytes(NULL) == idle, "%zu bytes, not %zu", fault->allocation_size, idle);
    g_bytes_unref(expected);
}

static void test_lost(enum fault_kind kind)
{
    GBytes *expected = NULL;
    struct request r = request_of(1, 0);
    idle_bytes(&expected);
    run_request(engine, &run, &r);
    int count = calls_of(kind);
    CHECK(count >= 5, "a picture has only %d calls", count);
    for (int n = 1; n <= count; n++) {
        arm(kind, n, 1);
        run_request(engine, &run, &r);
        check_picture(expected, "lost at", n);
        if (n > 4 && !fault->struck) /* submissions grow as the device is known better */
            break;
        CHECK(fault->struck == 1, "there was no call %d", n);
        CHECK(fault->devices == 1, "%d devices", fault->devices);
    }
    arm(kind, 0, 0);
    run_request(engine, &run, &r); /* a lost device is still to be closed, with waits of its own */
    arm(kind, 1, 2);               /* lost again while it is redone */
    run_request(engine, &run, &r);
    CHECK(fault->struck == 2, "lost %d times", fault->struck);
    check_failure(kind, 1);
    arm(kind, 0, 0);
    run_request(engine, &run, &r);
    check_picture(expected, "after losses", 2);
    g_bytes_unref(expected);
}

/* A device of 12 MB: a picture too large for it fails before its first step and says what it needs,
 * a smaller one is made. */
static void test_heap(void)
{
    struct request large = request_of(1, -1), small = request_of(1, -1);
    large.width = large.height = 1024;
    run_request(engine, &run, &large);
    CHECK(run.end == EVENT_FAILED && run.code == ENGINE_ERROR_MEMORY && run.steps == 0, "%s",
          run.order->str);
    CHECK(run.message && strstr(run.message, "unet needs ") &&
              strstr(run.message, "Try a smaller picture"),
          "%s", run.message ? run.message : "");
    run_request(engine, &run, &small);
    CHECK(run.end == EVENT_DONE && run.steps == 4, "%s", run.message ? run.message : "");
}

/* Ranges of 16 MiB, a heap of 256 MiB, workgroups of 128: the same picture, to the bit. */
static void test_limits(void)
{
    struct request r = request_of(1, 0);
    run_request(engine, &run, &r);
    CHECK(run.end == EVENT_DONE && run.pictures->len == 1, "%s", run.message ? run.message : "");
    if (run.pictures->len != 1)
        return;
    g_autoptr(GBytes) expected = g_bytes_ref(run.pictures->pdata[0]);
    engine_destroy(engine);
    g_setenv("FIGMENT_VULKAN_LIMITS", "range=16777216,heap=268435456,invocations=128", TRUE);
    engine = engine_create(NULL, run_event, &run);
    run_request(engine, &run, &r);
    check_picture(expected, "with small limits", 1);
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "same";
    bool same = g_str_equal(mode, "same");
    void *library = argc > 2 && !same ? dlopen(argv[2], RTLD_NOW) : NULL;
    fault = library ? (struct fault *)dlsym(library, "fault") : NULL;
    if (argc > 2 && same)
        precision = argv[2];
    run_init(&run);
    engine = engine_create(NULL, run_event, &run);
    if (same)
        test_same();
    else if (g_str_equal(mode, "heap"))
        test_heap();
    else if (g_str_equal(mode, "limits"))
        test_limits();
    else if (!fault)
        CHECK(fault, "no layer: %s", dlerror());
    else if (g_str_equal(mode, "memory"))
        test_allocations();
    else
        test_lost(g_str_equal(mode, "submit") ? FAULT_SUBMIT : FAULT_WAIT);
    engine_destroy(engine);
    run_finish(&run);
    CHECK(!fault || (fault->allocations == 0 && fault->devices == 0), "%d allocations leak",
          fault ? fault->allocations : 0);
    check_validation();
    return check_result();
}
