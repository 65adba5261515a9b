/*
 * Races between workgroups, which nothing orders: what one writes no other may read or write in the
 * same dispatch, wherever it is bound. Kept for what the kernel may write, in pieces of two bytes.
 */
#include "tests/vulkan/interpreter/private.h"

enum { PIECE = 2 };

/* Numbers of workgroups, from 1; 0 = nobody. */
struct watch {
    const uint8_t *data;
    size_t bytes;
    uint32_t *writer, *reader;
};

#define SEVERAL UINT32_MAX

struct watches {
    struct watch list[INTERPRETER_BINDINGS];
    size_t count;
};

struct watches *interpreter_watch(const struct interpreter *m, const struct interpreter_dispatch *d)
{
    struct watches *w = g_new0(struct watches, 1);
    for (uint32_t i = 0; i < INTERPRETER_BINDINGS; i++) {
        const struct interpreter_buffer *b = &d->buffers[i];
        if (!m->writable[i] || !b->data)
            continue;
        w->list[w->count++] =
            (struct watch){b->data, b->bytes, g_new0(uint32_t, b->bytes / PIECE + 1),
                           g_new0(uint32_t, b->bytes / PIECE + 1)};
    }
    return w;
}

void interpreter_unwatch(struct watches *w)
{
    for (size_t i = 0; i < w->count; i++) {
        g_free(w->list[i].writer);
        g_free(w->list[i].reader);
    }
    g_free(w);
}

static uint32_t wrote(uint32_t *writer, const uint32_t *reader, uint32_t self)
{
    uint32_t before = __atomic_exchange_n(writer, self, __ATOMIC_SEQ_CST);
    uint32_t other = __atomic_load_n(reader, __ATOMIC_SEQ_CST);
    return before && before != self ? before : other && other != self ? other : 0;
}

static uint32_t read_it(const uint32_t *writer, uint32_t *reader, uint32_t self)
{
    uint32_t before = __atomic_load_n(reader, __ATOMIC_SEQ_CST);
    if (before != self)
        __atomic_store_n(reader, before ? SEVERAL : self, __ATOMIC_SEQ_CST);
    uint32_t other = __atomic_load_n(writer, __ATOMIC_SEQ_CST);
    return other && other != self ? other : 0;
}

void interpreter_note(const struct thread *t, const struct instruction *i, const uint8_t *at,
                      uint32_t bytes, bool write)
{
    for (size_t k = 0; k < t->watches->count; k++) {
        const struct watch *w = &t->watches->list[k];
        if (at < w->data || at >= w->data + w->bytes)
            continue;
        size_t first = (size_t)(at - w->data) / PIECE;
        for (size_t p = first; p < first + bytes / PIECE && p * PIECE < w->bytes; p++) {
            uint32_t other = write ? wrote(&w->writer[p], &w->reader[p], t->self)
                                   : read_it(&w->writer[p], &w->reader[p], t->self);
            if (other == SEVERAL)
                interpreter_fault(t, i, "writes byte %zu, which others read", p * PIECE);
            if (other)
                interpreter_fault(t, i, "%s byte %zu in a race with workgroup %u",
                                  write ? "writes" : "reads", p * PIECE, other - 1);
        }
    }
}
