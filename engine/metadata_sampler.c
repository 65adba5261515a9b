#include "engine/metadata_private.h"

#include "scheduler/scheduler.h"

#include <glib/gi18n-lib.h>

static void replace(char **field, const char *value)
{
    g_free(*field);
    *field = g_strdup(value);
}

void metadata_take_sampler(const struct metadata *m, struct request *r, GPtrArray *changes,
                           GPtrArray *notices)
{
    const char *sampler_text = metadata_get(m, "Sampler");
    const char *schedule_text = metadata_get(m, "Schedule type");
    enum sched_sampler sampler;
    enum sched_schedule schedule = SCHEDULE_AUTOMATIC;

    if (!sampler_text)
        return;
    if (!sched_sampler_parse(sampler_text, &sampler, &schedule, NULL)) {
        if (notices)
            g_ptr_array_add(
                notices, g_strdup_printf(_("The sampler “%s” is not known here; %s stays."),
                                         sampler_text, r->sampler ? r->sampler : _("the default")));
        return;
    }
    if (schedule_text && !sched_schedule_parse(schedule_text, &schedule, NULL) && notices)
        g_ptr_array_add(notices,
                        g_strdup_printf(_("The schedule “%s” is not known here; %s is used."),
                                        schedule_text, sched_schedule_name(schedule)));
    replace(&r->sampler, sched_sampler_name(sampler));
    replace(&r->schedule, sched_schedule_name(schedule));
    if (changes) {
        g_ptr_array_add(changes, g_strdup_printf(_("Sampler: %s"), r->sampler));
        g_ptr_array_add(changes, g_strdup_printf(_("Schedule type: %s"), r->schedule));
    }
}
