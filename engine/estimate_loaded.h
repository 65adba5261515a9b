/* estimate.h for the pipeline, which has the model open. Engine's thread. */
#pragma once

#include "engine/estimate.h"
#include "engine/loaded.h"
#include "engine/settings.h"

/* `calls` of the U-Net a picture; budget as device_budget() tells. */
void estimate_loaded(const struct loaded *l, struct backend *backend,
                     const struct settings *settings, int calls, uint64_t budget,
                     struct estimate *estimate);

/* The peak without the program itself. */
uint64_t estimate_networks(const struct estimate *estimate);

/* Products a second that this device reached in the U-Net, from the cache folder; 0 = not measured.
 * Devices go by how they were asked for. */
double estimate_speed(const char *device, const char *precision);
void estimate_remember_speed(const char *device, const char *precision, double flops);
