/*
 * Which back end a request runs on. `auto` takes a discrete GPU, an integrated one, else the CPU; a
 * software Vulkan device only when it is named. Engine's thread.
 */
#pragma once

#include "compute/backend.h"

/* "auto", "cpu", "vulkan", "vulkan:N"; "auto", "f32", "f16", "bf16"; NULL is "auto". `threads` of
 * the CPU, 0 = all. Fails with a sentence. */
struct backend *device_open(const char *device, const char *precision, int threads, GError **error);

/* An error of a tape as one of the engine's (ENGINE_ERROR), by what it is about. Takes `from`. */
void device_take_error(GError **error, GError *from);
/* The device was reset: everything on it is gone, but it can be opened again. */
bool device_was_lost(const GError *error);
