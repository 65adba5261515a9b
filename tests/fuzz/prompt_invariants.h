/* What holds for the prompt code whatever the bytes are; aborts where it does not. */
#pragma once

#include "clip/chunk.h"
#include "clip/wildcards.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOLDS(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* A name of two tokens, so that matches of more than one token happen. */
static bool invariant_find(const int32_t *ids, int left, struct chunk_match *match, gpointer data)
{
    *match = (struct chunk_match){2, 5, data};
    return left >= 2 && ids[0] % 7 == 0;
}

static bool invariant_name(const char *name, struct chunk_match *match, gpointer data)
{
    *match = (struct chunk_match){0, 9, data};
    return strlen(name) % 2;
}

static void invariant_schedule(const GPtrArray *schedule, int steps)
{
    int last = 0;
    HOLDS(schedule->len >= 1);
    for (guint i = 0; i < schedule->len; i++) {
        const struct prompt_text *t = schedule->pdata[i];
        HOLDS(t->end_step > last && t->end_step <= steps && g_utf8_validate(t->text, -1, NULL));
        last = t->end_step;
    }
    HOLDS(last == steps);
}

static void invariant_chunks(const struct tokenizer *t, const char *text,
                             enum prompt_grammar grammar)
{
    struct chunk_embeddings embeddings = {invariant_find, invariant_name, NULL};
    int tokens;
    g_autoptr(GPtrArray) chunks =
        chunk_prompt(t, text, grammar, &embeddings, grammar ? 0 : 49407, &tokens);
    HOLDS(chunks->len >= 1 && tokens <= (int)chunks->len * CHUNK_WORDS);
    for (guint i = 0; i < chunks->len; i++) {
        const struct chunk *c = chunks->pdata[i];
        HOLDS(c->ids[0] == 49406 && c->end >= 1 && c->end < CHUNK_LENGTH);
        HOLDS(c->ids[c->end] == 49407);
        for (int j = 0; j < CHUNK_LENGTH; j++)
            HOLDS(c->ids[j] >= 0 && c->ids[j] < 49408 && isfinite(c->weights[j]));
        for (guint j = 0; j < c->fixes->len; j++) {
            const struct chunk_fix *f = &g_array_index(c->fixes, struct chunk_fix, j);
            HOLDS(f->position >= 1 && f->vectors >= 1 && f->first >= 0);
            HOLDS(f->position + f->vectors <= CHUNK_LENGTH - 1);
        }
    }
}

static inline void prompt_invariants(const struct tokenizer *t, const uint8_t *data, size_t size)
{
    g_autofree char *text = g_strndup((const char *)data, size);
    struct prompt_timeline timelines[] = {
        {.steps = 5}, {.steps = 4, .first_steps = 3}, {.steps = 6, .old = true}};
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(int32_t));
    tokenizer_encode(t, (const char *)data, (gssize)size, ids);
    HOLDS(ids->len <= 3 * size);

    struct wildcards *w = wildcards_create(NULL);
    g_autofree char *filled = wildcards_expand(w, text, size, NULL, NULL);
    wildcards_destroy(w);
    g_autoptr(GPtrArray) networks =
        g_ptr_array_new_with_free_func((GDestroyNotify)prompt_network_free);
    g_autofree char *plain = prompt_strip_comments(filled ? filled : text);
    g_autofree char *rest = prompt_take_networks(plain, networks);
    for (guint i = 0; i < networks->len; i++) {
        const struct prompt_network *n = networks->pdata[i];
        HOLDS(*n->kind && isfinite(n->text_weight) && isfinite(n->unet_weight) && n->rank >= 0);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(timelines); i++) {
        g_autoptr(GPtrArray) parts = prompt_parts(rest, timelines[i]);
        HOLDS(parts->len >= 1);
        for (guint j = 0; j < parts->len; j++) {
            const struct prompt_part *p = parts->pdata[j];
            HOLDS(isfinite(p->weight));
            invariant_schedule(p->schedule, timelines[i].steps);
        }
    }
    for (int grammar = PROMPT_A1111; grammar <= PROMPT_LITERAL; grammar++)
        invariant_chunks(t, rest, (enum prompt_grammar)grammar);
}
