#include "compute/cpu/memory.h"

#include <gio/gio.h>
#include <glib/gi18n-lib.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

/* oneDNN's code generator crashes when it cannot get about 300 MB of addresses. */
#define CODE_GENERATOR_SPACE ((size_t)400 << 20)

/* Below this the heap serves; above, whole pages of the system's. */
#define PAGES_FROM ((size_t)64 << 10)
/* Blocks as large as a huge page begin at one: products stream through weights, and the hardware
 * fetches ahead within a page only. */
#define HUGE_PAGE ((size_t)2 << 20)
/* Only blocks this large are worth a look at what is free. */
#define LOOK_FROM ((size_t)64 << 20)

static size_t rounded(size_t bytes)
{
    size_t unit = bytes < PAGES_FROM ? 64 : 4096;
    return MAX((bytes + unit - 1) / unit * unit, unit);
}

/* Memory that can be had without killing anybody; SIZE_MAX when unknown. */
static size_t available(void)
{
    g_autofree char *text = NULL;
    if (!g_file_get_contents("/proc/meminfo", &text, NULL, NULL))
        return SIZE_MAX;
    unsigned long long free_kb = 0, swap_kb = 0;
    const char *line = strstr(text, "MemAvailable:");
    if (!line || sscanf(line, "MemAvailable: %llu", &free_kb) != 1)
        return SIZE_MAX;
    line = strstr(text, "SwapFree:");
    if (line && sscanf(line, "SwapFree: %llu", &swap_kb) != 1)
        swap_kb = 0;
    return (size_t)(free_kb + swap_kb) * 1024;
}

static void *map_pages(size_t size)
{
    size_t extra = size >= HUGE_PAGE ? HUGE_PAGE : 0;
    char *block =
        mmap(NULL, size + extra, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED)
        return NULL;
    if (extra) {
        size_t before = (HUGE_PAGE - (uintptr_t)block % HUGE_PAGE) % HUGE_PAGE;
        if (before)
            munmap(block, before);
        if (extra - before)
            munmap(block + before + size, extra - before);
        block += before;
        madvise(block, size, MADV_HUGEPAGE);
    }
    return block;
}

void memory_fail(size_t bytes, const char *purpose, GError **error)
{
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_NO_SPACE,
                _("cpu: not enough memory: %.2f GB more are needed for %s; try a smaller picture "
                  "or close other programs"),
                (double)bytes / 1e9, purpose);
}

void *memory_take(size_t bytes, const char *purpose, GError **error)
{
    size_t size = rounded(bytes);
    void *block = NULL;
    if (bytes < PAGES_FROM) {
        block = aligned_alloc(64, size);
        if (block)
            memset(block, 0, size);
    } else if (size >= bytes && (size < LOOK_FROM || size <= available())) {
        block = map_pages(size);
    }
    if (!block)
        memory_fail(bytes, purpose, error);
    return block;
}

void memory_give(void *block, size_t bytes)
{
    if (!block)
        return;
    if (bytes < PAGES_FROM)
        free(block);
    else
        munmap(block, rounded(bytes));
}

/* ---- pools ---- */

#define CHUNK_BYTES ((size_t)32 << 20)

struct chunk {
    char *base;
    size_t size;
    size_t used; /* up to where blocks were given */
    size_t live; /* of these, not given back */
};

void memory_pool_init(struct memory_pool *pool)
{
    pool->chunks = g_ptr_array_new_with_free_func(g_free);
}

void memory_pool_finish(struct memory_pool *pool)
{
    g_warn_if_fail(pool->chunks->len == 0);
    g_ptr_array_unref(pool->chunks);
}

static size_t pool_rounded(size_t bytes)
{
    return MAX((bytes + 63) / 64 * 64, 64);
}

void *memory_pool_take(struct memory_pool *pool, size_t bytes, const char *purpose, GError **error)
{
    size_t size = pool_rounded(bytes);
    struct chunk *last = pool->chunks->len ? pool->chunks->pdata[pool->chunks->len - 1] : NULL;
    if (size < bytes) {
        memory_fail(bytes, purpose, error);
        return NULL;
    }
    if (!last || size > last->size - last->used) {
        size_t all = MAX(size, CHUNK_BYTES);
        char *base = memory_take(all, purpose, error);
        if (!base)
            return NULL;
        last = g_new(struct chunk, 1);
        *last = (struct chunk){.base = base, .size = all};
        g_ptr_array_add(pool->chunks, last);
    }
    char *block = last->base + last->used;
    last->used += size;
    last->live += size;
    return block;
}

void memory_pool_give(struct memory_pool *pool, void *block, size_t bytes)
{
    const char *at = block;
    for (guint i = 0; block && i < pool->chunks->len; i++) {
        struct chunk *c = pool->chunks->pdata[i];
        if (at < c->base || at >= c->base + c->size)
            continue;
        c->live -= pool_rounded(bytes);
        if (c->live == 0) {
            memory_give(c->base, c->size);
            g_ptr_array_remove_index(pool->chunks, i);
        }
        return;
    }
    g_return_if_fail(!block);
}

static size_t address_space_used(void)
{
    size_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file) {
        if (fscanf(file, "%zu", &pages) != 1)
            pages = 0;
        fclose(file);
    }
    return pages * 4096;
}

bool memory_check_space(GError **error)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return true;
    size_t used = address_space_used();
    if (used + CODE_GENERATOR_SPACE <= limit.rlim_cur)
        return true;
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_NO_SPACE,
                _("cpu: not enough memory: the limit on address space (ulimit -v) leaves %.2f GB, "
                  "0.4 GB are needed"),
                used < limit.rlim_cur ? (double)(limit.rlim_cur - used) / 1e9 : 0.0);
    return false;
}
