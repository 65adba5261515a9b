/*
 * Work shared by the threads that oneDNN uses as well (OpenMP's, so that two pools do not fight for
 * the cores).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* How many threads the calling thread's later parallel work uses, oneDNN's included; 0 = all. */
void parallel_set_threads(int threads);
int parallel_threads(void);
/*
 * Calls body(data, index, thread) for every index below count, each once, in no particular order;
 * thread < parallel_threads(). A nonzero *cancel (may be NULL) skips what has not begun; returns
 * false then.
 */
bool parallel_for(size_t count, const int *cancel,
                  void (*body)(void *data, size_t index, int thread), void *data);
