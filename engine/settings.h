/*
 * A request made complete and checked: what pipeline.c works from, what metadata and file names
 * tell. Pure, but for the random seed.
 */
#pragma once

#include "engine/library.h"
#include "engine/request.h"
#include "scheduler/scheduler.h"

#define SETTINGS_STEPS 20
#define SETTINGS_CFG 7.0
#define SETTINGS_SIDE 512
#define SETTINGS_STRENGTH 0.75
#define SETTINGS_STEPS_MAX 500
#define SETTINGS_CFG_MAX 50.0
#define SETTINGS_SIDE_MIN 64
#define SETTINGS_SIDE_MAX 4096
#define SETTINGS_BATCH_MAX 999
#define SETTINGS_PROMPT_BYTES_MAX (64 << 10)

struct settings {
    struct request
        request; /* every default filled in; names are A1111's; seed of the first picture */
    enum sched_sampler sampler;
    enum sched_schedule schedule;
};

/* `info` tells the model's defaults (NULL: none). Fails with ENGINE_ERROR_INPUT and a sentence;
 * then there is nothing to finish. */
bool settings_init(struct settings *s, const struct request *request, const struct model_info *info,
                   GError **error);
void settings_finish(struct settings *s);

/* Whether a device's name (NULL is "auto") is of the right form; else a sentence. */
bool settings_device(const char *device, GError **error);
