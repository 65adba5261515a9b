/* figment bench: networks of the published shapes, then the bundled model from start to file. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app/cli.h"
#include "engine/bench.h"
#include "weights/quote.h"

struct bench_output {
    bool json;
};

static void print_row(const struct bench_row *row, void *user)
{
    const struct bench_output *out = user;
    double rate = row->flops / row->seconds;
    g_autofree char *memory = row->bytes ? weights_size_text(row->bytes) : g_strdup("");
    char share[32] = "";

    if (out->json) {
        json_t *o =
            json_pack("{s:s, s:f, s:f, s:f, s:I}", "name", row->name, "seconds", row->seconds,
                      "flops", row->flops, "peak", row->peak, "bytes", (json_int_t)row->bytes);
        char *line = json_dumps(o, JSON_COMPACT | JSON_PRESERVE_ORDER);

        puts(line);
        free(line);
        json_decref(o);
    } else {
        if (row->peak > 0 && row->flops > 0)
            g_snprintf(share, sizeof share, "%5.1f %% of peak", 100 * rate / row->peak);
        printf("%-44s", row->name);
        if (row->seconds != 1) /* a rate alone */
            printf(" %8.3f s", row->seconds);
        if (row->flops > 0)
            printf(" %8.1f GFLOP/s %s", rate / 1e9, share);
        printf("  %s\n", memory);
    }
    fflush(stdout);
}

/* A process of its own, so that starting, loading and saving count. */
static bool run_whole(const struct bench_options *options, const char *size, double *seconds)
{
    g_autofree char *folder = g_dir_make_tmp("figment-bench-XXXXXX", NULL);
    g_autofree char *file = folder ? g_build_filename(folder, "picture.png", NULL) : NULL;
    g_autofree char *program = g_file_read_link("/proc/self/exe", NULL);
    const char *argv[] = {program,
                          "generate",
                          "--prompt",
                          "a red apple, 3d style",
                          "--seed",
                          "1",
                          "--steps",
                          "20",
                          "--size",
                          size,
                          "--output",
                          file,
                          "--quiet",
                          "--device",
                          options->device ? options->device : "auto",
                          "--precision",
                          options->precision ? options->precision : "auto",
                          NULL};
    gint64 begun = g_get_monotonic_time();
    int status = -1;
    bool ok = folder && program &&
              g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL,
                           NULL, &status, NULL) &&
              WIFEXITED(status) && WEXITSTATUS(status) == 0;

    *seconds = (double)(g_get_monotonic_time() - begun) / G_USEC_PER_SEC;
    if (file)
        unlink(file);
    if (folder)
        rmdir(folder);
    return ok;
}

static void bench_whole(const struct bench_options *options, const char *size,
                        struct bench_output *out)
{
    g_autofree char *name = g_strdup_printf("bundled model, whole program, %s, 20 steps", size);
    double times[3];

    if (options->only && !strstr(name, options->only))
        return;
    for (int i = 0; i < 3; i++)
        if (!run_whole(options, size, &times[i]))
            return; /* there is no bundled model */
    print_row(&(struct bench_row){.name = name,
                                  .seconds = MAX(MIN(times[0], times[1]),
                                                 MIN(MAX(times[0], times[1]), times[2]))},
              out);
}

/* ---- how soon a stopped job is over ---- */

#define CANCELS 40

struct cancelling {
    GMutex mutex;
    GCond changed;
    bool over;
    enum event_type end;
};

static void on_cancel_event(const struct event *e, void *user)
{
    struct cancelling *c = user;

    if (e->type < EVENT_DONE)
        return;
    g_mutex_lock(&c->mutex);
    c->over = true;
    c->end = e->type;
    g_cond_signal(&c->changed);
    g_mutex_unlock(&c->mutex);
}

/* Until the job is over or the time (microseconds) is. */
static void wait_over(struct cancelling *c, gint64 time)
{
    gint64 until = g_get_monotonic_time() + time;

    g_mutex_lock(&c->mutex);
    while (!c->over && g_cond_wait_until(&c->changed, &c->mutex, until))
        ;
    g_mutex_unlock(&c->mutex);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Stops jobs at random times, model loading and decoding among them; the median and p95. */
static void bench_cancel(const struct bench_options *options, struct bench_output *out)
{
    struct engine_options engine_options = {.threads = options->threads};
    struct request r = {.prompt = "a red apple",
                        .width = 256,
                        .height = 256,
                        .no_save = true,
                        .device = (char *)options->device,
                        .precision = (char *)options->precision};
    struct cancelling c = {.over = false};
    struct engine *engine = engine_create(&engine_options, on_cancel_event, &c);
    double times[CANCELS];
    gint64 whole;
    int n = 0;

    engine_submit(engine, &r);
    whole = g_get_monotonic_time();
    wait_over(&c, G_MAXINT64 / 2);
    whole = g_get_monotonic_time() - whole;
    for (int i = 0; i < CANCELS && c.end != EVENT_FAILED; i++) {
        gint64 begun;

        if (i % 4 == 0)
            engine_unload(engine);
        c.over = false;
        engine_submit(engine, &r);
        wait_over(&c, (gint64)(g_random_double() * (double)whole));
        if (c.over)
            continue;
        begun = g_get_monotonic_time();
        engine_cancel_all(engine);
        wait_over(&c, G_MAXINT64 / 2);
        times[n++] = (double)(g_get_monotonic_time() - begun) / G_USEC_PER_SEC;
    }
    engine_destroy(engine);
    if (n < 2)
        return;
    qsort(times, (size_t)n, sizeof times[0], by_value);
    print_row(
        &(struct bench_row){.name = "bundled model, Stop to idle, median", .seconds = times[n / 2]},
        out);
    print_row(&(struct bench_row){.name = "bundled model, Stop to idle, 95th percentile",
                                  .seconds = times[(n * 95 - 1) / 100]},
              out);
}

int cli_bench(int argc, char **argv)
{
    char *device = NULL, *precision = NULL, *only = NULL;
    struct bench_options bench = {0};
    struct bench_output out = {0};
    const struct cli_option options[] = {
        CLI_OPTION_STRING("--device", "NAME", "auto, cpu, vulkan, vulkan:N", &device),
        CLI_OPTION_STRING("--precision", "NAME", "auto, f32, f16, bf16", &precision),
        CLI_OPTION_INT("--threads", "N", "of the CPU; default: all", &bench.threads, 1, 1024),
        CLI_OPTION_STRING("--only", "TEXT", "rows whose name holds this", &only),
        CLI_OPTION_INT("--repeats", "N", "runs of each; the median counts", &bench.repeats, 1, 64),
        CLI_OPTION_FLAG("--large", "also what takes a GPU: SDXL, 1024 x 1024, single layers",
                        &bench.large),
        CLI_OPTION_FLAG("--json", "one row a line as JSON", &out.json),
    };
    const struct cli_command command = {
        "bench", "[OPTIONS]", "Measures this machine.", options, G_N_ELEMENTS(options), 0, 0, NULL,
    };
    GError *error = NULL;
    int status = CLI_DONE;

    if (cli_parse(&command, argc, argv, &status)) {
        bench.device = device;
        bench.precision = precision;
        bench.only = only;
        bench_whole(&bench, "128x128", &out);
        bench_whole(&bench, "256x256", &out);
        if (!only || strstr("bundled model, Stop to idle", only))
            bench_cancel(&bench, &out);
        if (!bench_run(&bench, print_row, &out, &error))
            status = cli_fail_error(error);
    }
    g_free(device);
    g_free(precision);
    g_free(only);
    return status;
}
