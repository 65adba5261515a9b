/*
 * A model's scheduler_config.json as scheduler/ wants it. Pure.
 */
#pragma once

#include <jansson.h>

#include "scheduler/scheduler.h"

/*
 * `json` may be NULL (the model came without). A missing timestep_spacing is the sampler's own, as
 * when diffusers makes another scheduler from a config. Fails with a sentence that names the
 * setting.
 */
bool schedule_read(struct sched_model *model, const json_t *json, enum sched_sampler sampler,
                   bool sdxl, GError **error);
