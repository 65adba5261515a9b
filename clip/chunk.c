#include "clip/chunk.h"

#include <string.h>

#define COMMA_REACH 20     /* A1111's comma_padding_backtrack */
#define COMFY_WORD_LIMIT 8 /* ComfyUI moves shorter groups to the next chunk whole */
#define COMFY_MARK "embedding:"

/* Chunks under construction; `ids` are those of the current chunk, without start and end. */
struct builder {
    const struct tokenizer *tokenizer;
    struct tokenizer_ids special;
    enum prompt_grammar grammar;
    struct chunk_embeddings embeddings;
    int32_t pad;
    GPtrArray *chunks;
    int32_t ids[CHUNK_WORDS];
    float weights[CHUNK_WORDS];
    int length, last_comma; /* -1: no comma yet */
    int tokens;
    GArray *fixes;
};

void chunk_destroy(struct chunk *c)
{
    if (!c)
        return;
    g_array_free(c->fixes, TRUE);
    g_free(c);
}

static void destroy(gpointer data)
{
    chunk_destroy(data);
}

static GArray *fixes_create(void)
{
    return g_array_new(FALSE, FALSE, sizeof(struct chunk_fix));
}

/* Start, the words, end, padding. A fix's id is never an end: it is 0. */
static struct chunk *seal(struct builder *b)
{
    struct chunk *c = g_new0(struct chunk, 1);
    c->ids[0] = b->special.bos;
    for (int i = 0; i < CHUNK_LENGTH; i++)
        c->weights[i] = 1;
    memcpy(c->ids + 1, b->ids, sizeof(int32_t) * (size_t)b->length);
    memcpy(c->weights + 1, b->weights, sizeof(float) * (size_t)b->length);
    c->ids[1 + b->length] = b->special.eos;
    for (int i = 2 + b->length; i < CHUNK_LENGTH; i++)
        c->ids[i] = b->pad;
    while (c->ids[c->end] != b->special.eos)
        c->end++;
    /* An end token inside the prompt: A1111 pads after it, if the encoder has a pad token of its
     * own. */
    bool cut = b->grammar != PROMPT_COMFY && b->pad != b->special.eos;
    for (int i = c->end + 1; cut && i < CHUNK_LENGTH; i++)
        c->ids[i] = b->pad;
    c->fixes = b->fixes;
    b->fixes = fixes_create();
    b->length = 0;
    b->last_comma = -1;
    return c;
}

static void next_chunk(struct builder *b, bool last)
{
    b->tokens += last ? b->length : CHUNK_WORDS;
    g_ptr_array_add(b->chunks, seal(b));
}

static void put(struct builder *b, int32_t id, double weight)
{
    b->ids[b->length] = id;
    b->weights[b->length++] = (float)weight;
}

static void put_embedding(struct builder *b, const struct chunk_match *match, int first, int n,
                          double weight)
{
    struct chunk_fix fix = {b->length + 1, n, first, match->embedding};
    g_array_append_val(b->fixes, fix);
    while (n-- > 0)
        put(b, 0, weight);
}

/* ---- A1111 ---- */

/* The chunk is full: what follows its last comma goes to the next one. */
static void move_after_comma(struct builder *b)
{
    int32_t ids[CHUNK_WORDS];
    float weights[CHUNK_WORDS];
    int keep = b->last_comma + 1, moved = b->length - keep;
    GArray *moved_fixes = fixes_create();
    memcpy(ids, b->ids + keep, sizeof(int32_t) * (size_t)moved);
    memcpy(weights, b->weights + keep, sizeof(float) * (size_t)moved);
    for (guint i = 0; i < b->fixes->len;) {
        struct chunk_fix fix = g_array_index(b->fixes, struct chunk_fix, i);
        if (fix.position <= keep) {
            i++;
            continue;
        }
        fix.position -= keep;
        g_array_append_val(moved_fixes, fix);
        g_array_remove_index(b->fixes, i);
    }
    b->length = keep;
    next_chunk(b, false);
    memcpy(b->ids, ids, sizeof(int32_t) * (size_t)moved);
    memcpy(b->weights, weights, sizeof(float) * (size_t)moved);
    b->length = moved;
    g_array_free(b->fixes, TRUE);
    b->fixes = moved_fixes;
}

static bool find_by_ids(const struct builder *b, const int32_t *ids, int left,
                        struct chunk_match *match)
{
    return b->embeddings.by_ids && b->embeddings.by_ids(ids, left, match, b->embeddings.data) &&
           match->tokens >= 1 && match->tokens <= left && match->vectors >= 1 &&
           match->vectors <= CHUNK_WORDS;
}

static void add_a1111(struct builder *b, const int32_t *ids, int n, double weight)
{
    for (int i = 0; i < n;) {
        if (ids[i] == b->special.comma && b->special.comma >= 0)
            b->last_comma = b->length;
        else if (b->length == CHUNK_WORDS && b->last_comma >= 0 &&
                 b->length - b->last_comma <= COMMA_REACH)
            move_after_comma(b);
        if (b->length == CHUNK_WORDS)
            next_chunk(b, false);
        struct chunk_match match = {0};
        if (!find_by_ids(b, ids + i, n - i, &match)) {
            put(b, ids[i++], weight);
            continue;
        }
        if (b->length + match.vectors > CHUNK_WORDS)
            next_chunk(b, false);
        put_embedding(b, &match, 0, match.vectors, weight);
        i += match.tokens;
    }
}

static void read_a1111(struct builder *b, const GPtrArray *pieces, GArray *ids)
{
    for (guint i = 0; i < pieces->len; i++) {
        const struct prompt_piece *piece = pieces->pdata[i];
        if (piece->ends_chunk) {
            next_chunk(b, false);
            continue;
        }
        g_array_set_size(ids, 0);
        tokenizer_encode(b->tokenizer, piece->text, -1, ids);
        add_a1111(b, (const int32_t *)ids->data, (int)ids->len, piece->weight);
    }
    if (b->length || !b->chunks->len)
        next_chunk(b, true);
}

/* ---- ComfyUI ---- */

/* A group of tokens that belong together: the ids of a stretch of text, or an embedding's vectors.
 */
static void add_group(struct builder *b, const int32_t *ids, const struct chunk_match *match, int n,
                      double weight)
{
    bool large = n >= COMFY_WORD_LIMIT;
    for (int done = 0; done < n;) {
        int room = CHUNK_WORDS - b->length;
        int now = n - done <= room ? n - done : large ? room : 0;
        if (match && now)
            put_embedding(b, match, done, now, weight);
        for (int i = 0; !match && i < now; i++)
            put(b, ids[done + i], weight);
        done += now;
        if (done < n)
            next_chunk(b, false);
    }
}

/* The embedding that a word names, if need be without commas around; *rest is what was cut off. */
static bool find_by_name(const struct builder *b, const char *word, struct chunk_match *match,
                         char **rest)
{
    *rest = NULL;
    if (b->embeddings.by_name(word, match, b->embeddings.data))
        return true;
    size_t n = strlen(word), head = strspn(word, ",");
    size_t tail = n;
    while (tail > head && word[tail - 1] == ',')
        tail--;
    if (tail - head == n)
        return false;
    g_autofree char *bare = g_strndup(word + head, tail - head);
    *rest = g_strdup(word + (tail - head)); /* as upstream cuts it, even when a comma leads */
    return b->embeddings.by_name(bare, match, b->embeddings.data);
}

/* "embedding:name and more text" without its mark: the embedding, then the text after it. */
static void add_named(struct builder *b, const char *text, double weight, GArray *ids)
{
    struct chunk_match match = {0};
    text += strspn(text, " \t\n\r\f\v");
    size_t n = strcspn(text, " \t\n\r\f\v");
    g_autofree char *word = g_strndup(text, n);
    g_autofree char *rest = NULL;
    bool found = n && find_by_name(b, word, &match, &rest);
    if (found && match.vectors >= 1)
        add_group(b, NULL, &match, match.vectors, weight);
    g_autofree char *after = g_strconcat(rest ? rest : "", " ", text + n, NULL);
    g_array_set_size(ids, 0);
    tokenizer_encode(b->tokenizer, after, -1, ids);
    add_group(b, (const int32_t *)ids->data, NULL, (int)ids->len, weight);
}

/* Where the next " embedding:" starts, or the end. */
static const char *next_mark(const char *text)
{
    for (const char *at = text; (at = strstr(at, COMFY_MARK)); at++)
        if (at > text && (at[-1] == ' ' || at[-1] == '\n'))
            return at - 1;
    return text + strlen(text);
}

static void read_comfy(struct builder *b, const GPtrArray *pieces, GArray *ids)
{
    for (guint i = 0; i < pieces->len; i++) {
        const struct prompt_piece *piece = pieces->pdata[i];
        const char *at = piece->text;
        while (*at) {
            const char *end = next_mark(at);
            g_autofree char *part = g_strndup(at, (size_t)(end - at));
            at = *end ? end + 1 : end;
            if (b->embeddings.by_name && g_str_has_prefix(part, COMFY_MARK)) {
                add_named(b, part + strlen(COMFY_MARK), piece->weight, ids);
                continue;
            }
            g_array_set_size(ids, 0);
            tokenizer_encode(b->tokenizer, part, -1, ids);
            add_group(b, (const int32_t *)ids->data, NULL, (int)ids->len, piece->weight);
        }
    }
    next_chunk(b, true);
}

static void builder_init(struct builder *b, const struct tokenizer *tokenizer, int32_t pad)
{
    *b = (struct builder){.tokenizer = tokenizer, .pad = pad, .last_comma = -1};
    b->special = tokenizer_ids(tokenizer);
    b->fixes = fixes_create();
}

GPtrArray *chunk_prompt(const struct tokenizer *tokenizer, const char *text,
                        enum prompt_grammar grammar, const struct chunk_embeddings *embeddings,
                        int32_t pad, int *tokens)
{
    struct builder b;
    builder_init(&b, tokenizer, pad);
    b.grammar = grammar;
    b.chunks = g_ptr_array_new_with_free_func(destroy);
    if (embeddings)
        b.embeddings = *embeddings;
    g_autoptr(GPtrArray) pieces = prompt_pieces(text, grammar);
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(int32_t));
    if (grammar == PROMPT_COMFY)
        read_comfy(&b, pieces, ids);
    else
        read_a1111(&b, pieces, ids);
    g_array_free(b.fixes, TRUE);
    if (tokens)
        *tokens = b.tokens;
    return b.chunks;
}

struct chunk *chunk_create_empty(const struct tokenizer *tokenizer, int32_t pad)
{
    struct builder b;
    builder_init(&b, tokenizer, pad);
    struct chunk *c = seal(&b);
    g_array_free(b.fixes, TRUE);
    return c;
}
