/*
 * Not a test: a picture of one model, one of another, and so on; what stays in memory after each.
 *     switches MODEL OTHER [PICTURES [PRECISION]]
 * Full-size files of random numbers: tests/golden/random_checkpoint.py.
 */
#include "tests/check.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/engine/run.h"

static unsigned long resident_mb(const char *field)
{
    g_autofree char *text = NULL;
    const char *line;

    if (!g_file_get_contents("/proc/self/status", &text, NULL, NULL) ||
        !(line = strstr(text, field)))
        return 0;
    return strtoul(line + strlen(field), NULL, 10) / 1024;
}

int main(int argc, char **argv)
{
    int pictures = argc > 3 ? atoi(argv[3]) : 20;
    struct run run;
    struct engine *engine;

    if (argc < 3) {
        fprintf(stderr, "switches MODEL OTHER [PICTURES [PRECISION]]\n");
        return 2;
    }
    run_init(&run);
    engine = engine_create(NULL, run_event, &run);
    for (int i = 0; i < pictures; i++) {
        struct request r = {TINY_REQUEST, .preview_every = -1};
        gint64 begun = g_get_monotonic_time();

        r.model = argv[1 + i % 2];
        r.steps = 1;
        r.cfg = 1;
        r.sampler = (char *)"DDIM";
        if (argc > 4)
            r.precision = argv[4];
        CHECK(run_request(engine, &run, &r) == EVENT_DONE, "%s", run.message);
        g_usleep(300000); /* what is freed when nothing waits */
        printf("%2d  %-40s resident %5lu MB, anonymous %5lu MB, peak so far %5lu MB, %.1f s\n",
               i + 1, r.model, resident_mb("VmRSS:"), resident_mb("RssAnon:"),
               resident_mb("VmHWM:"), (double)(g_get_monotonic_time() - begun) / 1e6);
        fflush(stdout);
    }
    engine_destroy(engine);
    run_finish(&run);
    return check_result();
}
