#include "clip/bpe.h"

#include <string.h>

#define WORD_END "</w>"

struct text_slot {
    uint32_t offset, length; /* in the arena */
    int32_t id;              /* -1: free */
};

struct merge_slot {
    uint64_t pair; /* left << 32 | right */
    int32_t rank, id;
};

struct bpe {
    GString *arena;
    struct text_slot *texts;
    struct merge_slot *merges;
    size_t text_mask, merge_mask, text_count, merge_count;
    int32_t byte[256], byte_end[256];
};

/* One token so far, in a list over the word; id -1: merged into its left neighbour. */
struct symbol {
    int32_t id, previous, next;
};

struct candidate {
    int32_t rank, position, id;
};

static uint64_t hash_pair(uint64_t pair)
{
    pair ^= pair >> 31;
    pair *= 0x9e3779b97f4a7c15u;
    return pair ^ (pair >> 29);
}

static uint64_t hash_text(const char *text, size_t length)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < length; i++)
        h = (h ^ (uint8_t)text[i]) * 0x100000001b3u;
    return h ^ (h >> 32);
}

static struct text_slot *text_table(size_t size)
{
    struct text_slot *slots = g_new(struct text_slot, size);
    for (size_t i = 0; i < size; i++)
        slots[i].id = -1;
    return slots;
}

struct bpe *bpe_create(void)
{
    const size_t size = 1 << 17; /* holds CLIP's 49,408 tokens without growing */
    struct bpe *b = g_new0(struct bpe, 1);
    b->arena = g_string_sized_new(1 << 19);
    b->texts = text_table(size);
    b->merges = g_new0(struct merge_slot, size);
    b->text_mask = b->merge_mask = size - 1;
    return b;
}

void bpe_destroy(struct bpe *b)
{
    if (!b)
        return;
    if (b->arena)
        g_string_free(b->arena, TRUE);
    g_free(b->texts);
    g_free(b->merges);
    g_free(b);
}

static size_t text_place(const struct bpe *b, const char *text, size_t length)
{
    size_t i = hash_text(text, length) & b->text_mask;
    while (b->texts[i].id >= 0) {
        const struct text_slot *s = &b->texts[i];
        if (s->length == length && memcmp(b->arena->str + s->offset, text, length) == 0)
            break;
        i = (i + 1) & b->text_mask;
    }
    return i;
}

static void grow_texts(struct bpe *b)
{
    struct text_slot *old = b->texts;
    size_t size = b->text_mask + 1;
    b->texts = text_table(2 * size);
    b->text_mask = 2 * size - 1;
    for (size_t i = 0; i < size; i++)
        if (old[i].id >= 0)
            b->texts[text_place(b, b->arena->str + old[i].offset, old[i].length)] = old[i];
    g_free(old);
}

void bpe_add_token(struct bpe *b, const char *text, size_t length, int32_t id)
{
    size_t i = text_place(b, text, length);
    if (b->texts[i].id >= 0)
        return;
    b->texts[i] = (struct text_slot){(uint32_t)b->arena->len, (uint32_t)length, id};
    g_string_append_len(b->arena, text, (gssize)length);
    if (++b->text_count * 2 > b->text_mask)
        grow_texts(b);
}

int32_t bpe_find(const struct bpe *b, const char *text, size_t length)
{
    return b->texts[text_place(b, text, length)].id;
}

/* The slot of a pair, or the free one (rank 0) where it would go. */
static struct merge_slot *merge_place(const struct bpe *b, uint64_t pair)
{
    size_t i = hash_pair(pair) & b->merge_mask;
    while (b->merges[i].rank && b->merges[i].pair != pair)
        i = (i + 1) & b->merge_mask;
    return &b->merges[i];
}

static void grow_merges(struct bpe *b)
{
    struct merge_slot *old = b->merges;
    size_t size = b->merge_mask + 1;
    b->merges = g_new0(struct merge_slot, 2 * size);
    b->merge_mask = 2 * size - 1;
    for (size_t i = 0; i < size; i++)
        if (old[i].rank)
            *merge_place(b, old[i].pair) = old[i];
    g_free(old);
}

static uint64_t make_pair(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

bool bpe_add_merge(struct bpe *b, const char *left, size_t left_length, const char *right,
                   size_t right_length)
{
    g_autoptr(GString) whole = g_string_new_len(left, (gssize)left_length);
    g_string_append_len(whole, right, (gssize)right_length);
    int32_t l = bpe_find(b, left, left_length);
    int32_t r = bpe_find(b, right, right_length);
    int32_t id = bpe_find(b, whole->str, whole->len);
    if (l < 0 || r < 0 || id < 0)
        return false;
    struct merge_slot *slot = merge_place(b, make_pair(l, r));
    bool fresh = !slot->rank;
    /* Ranks start at 1. A pair that comes again takes the later rank, as in a dictionary. */
    *slot = (struct merge_slot){make_pair(l, r), (int32_t)++b->merge_count, id};
    if (fresh && b->merge_count * 2 > b->merge_mask)
        grow_merges(b);
    return true;
}

void bpe_bytes_init(struct bpe_bytes *bytes)
{
    int n = 0, shifted = 256;
    memset(bytes, 0, sizeof *bytes);
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < 256; i++) {
            bool printable = (i >= 33 && i <= 126) || (i >= 161 && i <= 172) || i >= 174;
            if (printable == (pass == 1))
                continue;
            g_unichar_to_utf8(printable ? (gunichar)i : (gunichar)shifted++, bytes->name[i]);
            bytes->order[n++] = (uint8_t)i;
        }
    }
}

void bpe_finish(struct bpe *b, int32_t unknown)
{
    struct bpe_bytes bytes;
    bpe_bytes_init(&bytes);
    for (int i = 0; i < 256; i++) {
        char text[16];
        int n = g_snprintf(text, sizeof text, "%s" WORD_END, bytes.name[i]);
        int32_t inner = bpe_find(b, text, (size_t)n - strlen(WORD_END));
        int32_t end = bpe_find(b, text, (size_t)n);
        b->byte[i] = inner >= 0 ? inner : unknown;
        b->byte_end[i] = end >= 0 ? end : unknown;
    }
    g_string_free(b->arena, TRUE);
    b->arena = NULL;
    g_clear_pointer(&b->texts, g_free);
}

void bpe_scratch_init(struct bpe_scratch *s)
{
    s->symbols = g_array_new(FALSE, FALSE, sizeof(struct symbol));
    s->heap = g_array_new(FALSE, FALSE, sizeof(struct candidate));
}

void bpe_scratch_finish(struct bpe_scratch *s)
{
    g_array_free(s->symbols, TRUE);
    g_array_free(s->heap, TRUE);
}

static bool before(struct candidate a, struct candidate b)
{
    return a.rank != b.rank ? a.rank < b.rank : a.position < b.position;
}

static void heap_push(GArray *heap, struct candidate c)
{
    g_array_append_val(heap, c);
    struct candidate *h = (struct candidate *)heap->data;
    size_t i = heap->len - 1;
    for (; i > 0 && before(c, h[(i - 1) / 2]); i = (i - 1) / 2)
        h[i] = h[(i - 1) / 2];
    h[i] = c;
}

static struct candidate heap_pop(GArray *heap)
{
    struct candidate *h = (struct candidate *)heap->data;
    struct candidate top = h[0], last = h[heap->len - 1];
    size_t n = heap->len - 1, i = 0;
    for (size_t child = 1; child < n; child = 2 * i + 1) {
        if (child + 1 < n && before(h[child + 1], h[child]))
            child++;
        if (!before(h[child], last))
            break;
        h[i] = h[child];
        i = child;
    }
    h[i] = last;
    g_array_set_size(heap, (guint)n);
    return top;
}

/* Offers the merge of the symbol at `position` with its right neighbour, if there is one. */
static void offer(const struct bpe *b, struct bpe_scratch *scratch, int32_t position)
{
    const struct symbol *s = (const struct symbol *)scratch->symbols->data;
    if (position < 0 || s[position].next < 0)
        return;
    const struct merge_slot *m = merge_place(b, make_pair(s[position].id, s[s[position].next].id));
    if (m->rank)
        heap_push(scratch->heap, (struct candidate){m->rank, position, m->id});
}

void bpe_encode(const struct bpe *b, struct bpe_scratch *scratch, const uint8_t *word, size_t n,
                GArray *ids)
{
    g_array_set_size(scratch->symbols, (guint)n);
    g_array_set_size(scratch->heap, 0);
    struct symbol *s = (struct symbol *)scratch->symbols->data;
    for (size_t i = 0; i < n; i++) {
        bool last = i + 1 == n;
        s[i] = (struct symbol){last ? b->byte_end[word[i]] : b->byte[word[i]], (int32_t)i - 1,
                               last ? -1 : (int32_t)i + 1};
    }
    for (size_t i = 0; i + 1 < n; i++)
        offer(b, scratch, (int32_t)i);
    while (scratch->heap->len) {
        struct candidate c = heap_pop(scratch->heap);
        int32_t right = s[c.position].next;
        if (s[c.position].id < 0 || right < 0)
            continue;
        /* The pair may have changed since it was offered. */
        const struct merge_slot *m = merge_place(b, make_pair(s[c.position].id, s[right].id));
        if (!m->rank || m->id != c.id)
            continue;
        s[c.position].id = c.id;
        s[c.position].next = s[right].next;
        if (s[right].next >= 0)
            s[s[right].next].previous = c.position;
        s[right].id = -1;
        offer(b, scratch, s[c.position].previous);
        offer(b, scratch, c.position);
    }
    for (int32_t i = 0; i >= 0; i = s[i].next)
        g_array_append_val(ids, s[i].id);
}
