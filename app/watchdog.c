#include "app/watchdog.h"

#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EVERY_MS 4

static struct {
    guint source; /* while pictures are made */
    gint64 last_wall, last_cpu, longest_wall, longest_cpu;
    gint64 rounds;
    gboolean on;
} dog;

static gint64 cpu_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (gint64)t.tv_sec * G_USEC_PER_SEC + t.tv_nsec / 1000;
}

static gboolean came_round(gpointer user)
{
    (void)user;
    gint64 wall = g_get_monotonic_time(), cpu = cpu_now();
    dog.longest_wall = MAX(dog.longest_wall, wall - dog.last_wall);
    dog.longest_cpu = MAX(dog.longest_cpu, cpu - dog.last_cpu);
    dog.last_wall = wall;
    dog.last_cpu = cpu;
    dog.rounds++;
    return G_SOURCE_CONTINUE;
}

static void watch(gboolean on)
{
    if (on == (dog.source != 0))
        return;
    if (!on) {
        came_round(NULL);
        g_clear_handle_id(&dog.source, g_source_remove);
        return;
    }
    dog.last_wall = g_get_monotonic_time();
    dog.last_cpu = cpu_now();
    dog.source = g_timeout_add_full(G_PRIORITY_HIGH, EVERY_MS, came_round, NULL, NULL);
}

static void busy_changed(FigBridge *bridge)
{
    gboolean busy;
    g_object_get(bridge, "busy", &busy, NULL);
    watch(busy);
}

static gboolean asked(gpointer user)
{
    (void)user;
    watchdog_end();
    dog.longest_wall = dog.longest_cpu = dog.rounds = 0;
    return G_SOURCE_CONTINUE;
}

void watchdog_begin(FigBridge *bridge)
{
    const char *how = g_getenv("FIGMENT_WATCHDOG");
    dog.on = how != NULL;
    if (dog.on)
        g_unix_signal_add(SIGUSR1, asked, NULL);
    if (dog.on && strcmp(how, "always") == 0)
        watch(TRUE);
    else if (dog.on)
        g_signal_connect(bridge, "notify::busy", G_CALLBACK(busy_changed), NULL);
}

/* Microseconds since the process began, in hundredths of a second. */
static gint64 age(void)
{
    g_autofree char *stat = NULL;
    if (!g_file_get_contents("/proc/self/stat", &stat, NULL, NULL) || !strrchr(stat, ')'))
        return 0;
    g_auto(GStrv) fields = g_strsplit(strrchr(stat, ')') + 2, " ", 0);
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    if (g_strv_length(fields) < 20)
        return 0;
    gint64 begun = g_ascii_strtoll(fields[19], NULL, 10) * G_USEC_PER_SEC / sysconf(_SC_CLK_TCK);
    return (gint64)now.tv_sec * G_USEC_PER_SEC + now.tv_nsec / 1000 - begun;
}

static void painted(GdkFrameClock *clock, gpointer user)
{
    fprintf(stderr, "watchdog: first frame %.0f ms after the start\n", (double)age() / 1000);
    g_signal_handlers_disconnect_by_func(clock, painted, user);
}

static void realized(GtkWidget *window)
{
    g_signal_connect(gtk_widget_get_frame_clock(window), "after-paint", G_CALLBACK(painted), NULL);
}

void watchdog_window(GtkWidget *window)
{
    if (dog.on)
        g_signal_connect(window, "realize", G_CALLBACK(realized), NULL);
}

void watchdog_end(void)
{
    if (dog.on)
        fprintf(stderr,
                "watchdog: the main loop was away for %.1f ms at most, computing for %.1f ms at "
                "most, in %" G_GINT64_FORMAT " rounds\n",
                (double)dog.longest_wall / 1000, (double)dog.longest_cpu / 1000, dog.rounds);
}
