/*
 * The OpenMP run-time library is called by its interface for compiled code, which GCC's and LLVM's
 * libraries share: Debian's oneDNN is linked to GCC's, and `#pragma omp` built by Clang would bring
 * the other one into the process.
 */
#include "compute/cpu/parallel.h"

#include <glib.h>

extern void GOMP_parallel(void (*body)(void *), void *data, unsigned threads, unsigned flags);
extern int omp_get_thread_num(void);
extern int omp_get_max_threads(void);
extern int omp_get_num_procs(void);
extern void omp_set_num_threads(int threads);

struct work {
    size_t next, count;
    const int *cancel;
    void (*body)(void *data, size_t index, int thread);
    void *data;
};

void parallel_set_threads(int threads)
{
    omp_set_num_threads(threads > 0 ? threads : omp_get_num_procs());
}

int parallel_threads(void)
{
    return omp_get_max_threads();
}

static bool cancelled(const int *cancel)
{
    return cancel && g_atomic_int_get(cancel) != 0;
}

static void run(void *data)
{
    struct work *work = (struct work *)data;
    int thread = omp_get_thread_num();
    while (!cancelled(work->cancel)) {
        size_t index = __atomic_fetch_add(&work->next, 1, __ATOMIC_RELAXED);
        if (index >= work->count)
            break;
        work->body(work->data, index, thread);
    }
}

bool parallel_for(size_t count, const int *cancel,
                  void (*body)(void *data, size_t index, int thread), void *data)
{
    struct work work = {.count = count, .cancel = cancel, .body = body, .data = data};
    if (count == 1)
        body(data, 0, 0);
    else if (count > 1)
        GOMP_parallel(run, &work, 0, 0);
    return !cancelled(cancel);
}
