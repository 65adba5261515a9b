/* Running what was recorded: submissions that are short enough, and what they took. */
#include "compute/vulkan/queue.h"
#include "compute/vulkan/record_private.h"

#include <gio/gio.h>

#define SUBMISSION_SECONDS 0.08

static double predicted(const struct commands *c, const struct piece *piece)
{
    return piece->measured > 0 ? piece->measured : piece->expected * *c->scale;
}

static bool send(struct commands *c, struct flight *f, guint *next, GError **error)
{
    f->first = *next;
    f->count = 0;
    double seconds = 0;
    VkCommandBuffer list[64];
    while (*next < c->pieces->len && f->count < G_N_ELEMENTS(list)) {
        const struct piece *piece = &g_array_index(c->pieces, struct piece, *next);
        seconds += predicted(c, piece);
        if (f->count > 0 && (c->cut != CUT_BY_TIME || seconds > SUBMISSION_SECONDS))
            break;
        list[f->count++] = piece->commands;
        ++*next;
    }
    f->start = g_get_monotonic_time();
    f->busy = gpu_submit(c->d, list, f->count, f->fence, error);
    c->stats.submissions++;
    return f->busy;
}

/* Seconds that the device worked at a piece that is over; negative = it does not tell. */
static double device_seconds(const struct commands *c, guint piece)
{
    uint64_t ticks[2];
    if (!c->times ||
        c->d->vk.GetQueryPoolResults(c->d->handle, c->times, 2 * piece, 2, sizeof ticks, ticks,
                                     sizeof ticks[0], VK_QUERY_RESULT_64_BIT) != VK_SUCCESS)
        return -1;
    uint64_t mask = UINT64_MAX >> (64 - c->d->timestamp_bits);
    return (double)((ticks[1] - ticks[0]) & mask) * c->d->timestamp_ns * 1e-9;
}

/* What a submission took teaches its pieces and the back end. */
static void learn(struct commands *c, const struct flight *f, double seconds, double *node_seconds)
{
    double expected = 0;
    guint count = 0;
    for (guint i = 0; i < f->count; i++) {
        const struct piece *piece = &g_array_index(c->pieces, struct piece, f->first + i);
        double worked = device_seconds(c, f->first + i);
        expected += piece->expected;
        count += piece->count;
        c->stats.device_seconds += MAX(worked, 0);
        if (node_seconds && piece->count) {
            int node = g_array_index(c->dispatches, struct dispatch, piece->first).node;
            node_seconds[node] += worked >= 0 ? worked : seconds / f->count;
        }
    }
    c->stats.worst_seconds = MAX(c->stats.worst_seconds, seconds);
    if (expected <= 0 || c->cut != CUT_BY_TIME)
        return;
    for (guint i = 0; i < f->count; i++) {
        struct piece *piece = &g_array_index(c->pieces, struct piece, f->first + i);
        double share = seconds * piece->expected / expected;
        piece->measured = piece->measured > 0 ? 0.5 * (piece->measured + share) : share;
    }
    /* Short submissions measure the launch, not the work. */
    if (seconds > 0.002)
        *c->scale += 0.2 * (seconds / expected - *c->scale);
    if (seconds > 0.1 && f->count == 1 && count > 1)
        c->too_long = true;
}

static bool receive(struct commands *c, struct flight *f, gint64 *last_end, double *node_seconds,
                    GError **error)
{
    if (!gpu_wait(c->d, f->fence, error))
        return false; /* still busy: drained before it is destroyed */
    f->busy = false;
    gint64 now = g_get_monotonic_time();
    double seconds = (double)(now - MAX(f->start, *last_end)) * 1e-6;
    *last_end = now;
    learn(c, f, seconds, node_seconds);
    return true;
}

bool commands_run(struct commands *c, const int *cancel, double *node_seconds, GError **error)
{
    enum cut cut = c->one_dispatch ? CUT_BY_DISPATCH : node_seconds ? CUT_BY_NODE : CUT_BY_TIME;
    if ((cut != c->cut || c->too_long) && !commands_record(c, cut, error))
        return false;
    c->stats.submissions = 0;
    c->stats.worst_seconds = 0;
    c->stats.device_seconds = 0;
    gint64 last_end = 0;
    guint next = 0, oldest = 0, newest = 0; /* flights, counted up */
    guint depth = node_seconds ? 1 : IN_FLIGHT;
    bool cancelled = false;
    while (next < c->pieces->len || oldest < newest) {
        cancelled = cancelled || (cancel && g_atomic_int_get(cancel));
        if (next < c->pieces->len && !cancelled && newest - oldest < depth) {
            if (!send(c, &c->flights[newest % IN_FLIGHT], &next, error))
                return false;
            newest++;
            continue;
        }
        if (oldest == newest)
            break;
        if (!receive(c, &c->flights[oldest++ % IN_FLIGHT], &last_end, node_seconds, error))
            return false;
    }
    if (oldest > 0)
        c->d->done = c->d->submitted; /* of one queue, in order, and the last was waited for */
    if (cancelled)
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_CANCELLED, "cancelled");
    return !cancelled;
}

struct commands_stats commands_stats(const struct commands *c)
{
    return c->stats;
}
