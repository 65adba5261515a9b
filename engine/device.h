/*
 * Which back end a request runs on. `auto` takes a discrete GPU, an integrated one, else the CPU; a
 * software Vulkan device only when it is named. Engine's thread.
 */
#pragma once

#include "compute/backend.h"

/* "auto", "cpu", "vulkan", "vulkan:N"; "auto", "f32", "f16", "bf16"; NULL is "auto". `threads` of
 * the CPU, 0 = all. Fails with a sentence. `why` (may be NULL) is a sentence when "auto" is the CPU
 * for want of a GPU, else NULL; the caller's. */
struct backend *device_open(const char *device, const char *precision, int threads, char **why,
                            GError **error);

/* A back end to plan for, that opens no GPU: the CPU's, in a format of the size that the device
 * computes in. */
struct backend *device_stand_in(const char *device, const char *precision, GError **error);
/* Bytes that networks may take on it, those that they hold already included; 0 = not known. On the
 * CPU: what is free, or cpu_memory_limit(). `backend` NULL: of a device that is not opened, by its
 * name (NULL is "auto"). */
uint64_t device_budget(const char *device, const struct backend *backend);
/* Too little memory for it; a smaller piece may fit. */
bool device_out_of_memory(const GError *error);
/* An error of a tape as one of the engine's (ENGINE_ERROR), by what it is about. Takes `from`. */
void device_take_error(GError **error, GError *from);
/* The device was reset: everything on it is gone, but it can be opened again. */
bool device_was_lost(const GError *error);
