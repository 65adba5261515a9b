/* Chunks against A1111 and ComfyUI (tests/golden/make_clip_chunks.py), and the emphasis arithmetic
 * against numbers worked out by hand. */
#include "clip/chunk.h"
#include "clip/emphasis.h"
#include "tests/check.h"

#include <jansson.h>

static const struct {
    const char *name;
    int vectors;
} known[] = {{"foo bar", 2}, {"foo", 3}, {"big", 40}}; /* longest name first */

static bool by_ids(const int32_t *ids, int left, struct chunk_match *match, gpointer data)
{
    for (size_t i = 0; i < G_N_ELEMENTS(known); i++) {
        g_autoptr(GArray) name = g_array_new(FALSE, FALSE, sizeof(int32_t));
        tokenizer_encode(data, known[i].name, -1, name);
        if ((int)name->len <= left && memcmp(ids, name->data, name->len * sizeof(int32_t)) == 0) {
            *match = (struct chunk_match){(int)name->len, known[i].vectors, known[i].name};
            return true;
        }
    }
    return false;
}

static bool by_name(const char *name, struct chunk_match *match, gpointer data)
{
    (void)data;
    for (size_t i = 0; i < G_N_ELEMENTS(known); i++) {
        if (strcmp(name, known[i].name) == 0) {
            *match = (struct chunk_match){0, known[i].vectors, known[i].name};
            return true;
        }
    }
    return false;
}

static bool same_weights(const struct chunk *c, const json_t *runs)
{
    size_t i;
    json_t *run;
    int at = 0;
    json_array_foreach(runs, i, run)
    {
        float weight = (float)json_number_value(json_array_get(run, 1));
        for (json_int_t n = json_integer_value(json_array_get(run, 0)); n > 0; n--, at++)
            if (at >= CHUNK_LENGTH || c->weights[at] != weight)
                return false;
    }
    return at == CHUNK_LENGTH;
}

static bool same_fixes(const struct chunk *c, const json_t *fixes)
{
    if (c->fixes->len != json_array_size(fixes))
        return false;
    for (guint i = 0; i < c->fixes->len; i++) {
        const struct chunk_fix *f = &g_array_index(c->fixes, struct chunk_fix, i);
        const json_t *row = json_array_get(fixes, i);
        if (f->position != json_integer_value(json_array_get(row, 0)) ||
            f->vectors != json_integer_value(json_array_get(row, 1)) ||
            f->first != json_integer_value(json_array_get(row, 2)) ||
            strcmp(f->embedding, json_string_value(json_array_get(row, 3))) != 0)
            return false;
    }
    return true;
}

static bool same_ids(const struct chunk *c, const json_t *ids, int32_t pad)
{
    for (size_t i = 0; i < CHUNK_LENGTH; i++) {
        const json_t *id = json_array_get(ids, i);
        if (c->ids[i] != (id ? json_integer_value(id) : pad))
            return false;
    }
    int end = 0;
    while (c->ids[end] != 49407)
        end++;
    return c->end == end;
}

static void check_golden(struct tokenizer *t)
{
    json_t *golden = json_load_file("tests/golden/clip_chunks.json", JSON_ALLOW_NUL, NULL);
    size_t i;
    json_t *row;
    struct chunk_embeddings embeddings = {by_ids, by_name, t};
    json_array_foreach(golden, i, row)
    {
        bool comfy = strcmp(json_string_value(json_array_get(row, 0)), "comfy") == 0;
        int32_t pad = (int32_t)json_integer_value(json_array_get(row, 1));
        const char *text = json_string_value(json_array_get(row, 2));
        const json_t *expected = json_array_get(row, 4);
        int tokens;
        g_autoptr(GPtrArray) got =
            chunk_prompt(t, text, comfy ? PROMPT_COMFY : PROMPT_A1111, &embeddings, pad, &tokens);
        CHECK(got->len == json_array_size(expected), "%zu %s: %u chunks", i, text, got->len);
        CHECK(comfy || tokens == json_integer_value(json_array_get(row, 3)), "%s: %d tokens", text,
              tokens);
        for (guint j = 0; j < MIN(got->len, json_array_size(expected)); j++) {
            const json_t *chunk = json_array_get(expected, j);
            CHECK(same_ids(got->pdata[j], json_array_get(chunk, 0), pad), "%zu %s: ids", i, text);
            CHECK(same_weights(got->pdata[j], json_array_get(chunk, 1)), "%zu %s: weights", i,
                  text);
            CHECK(same_fixes(got->pdata[j], json_array_get(chunk, 2)), "%zu %s: fixes", i, text);
        }
    }
    CHECK(i >= 90, "%zu cases", i);
    json_decref(golden);
}

/* The words after a comma move to the next chunk, and their embedding with them. */
static void check_moved_embedding(struct tokenizer *t)
{
    struct chunk_embeddings embeddings = {by_ids, by_name, t};
    g_autoptr(GString) text = g_string_new(NULL);
    for (int i = 0; i < 68; i++)
        g_string_append(text, "a ");
    g_string_append(text, ", foo b c d e");
    g_autoptr(GPtrArray) got = chunk_prompt(t, text->str, PROMPT_A1111, &embeddings, 49407, NULL);
    CHECK(got->len == 2);
    const struct chunk *first = got->pdata[0], *second = got->pdata[1];
    CHECK(first->fixes->len == 0 && first->end == 70);
    CHECK(second->fixes->len == 1);
    const struct chunk_fix *fix = &g_array_index(second->fixes, struct chunk_fix, 0);
    CHECK(fix->position == 1 && fix->vectors == 3 && fix->first == 0);
    CHECK(second->end == 8);
}

static void check_empty(struct tokenizer *t)
{
    struct chunk *c = chunk_create_empty(t, 0);
    CHECK(c->ids[0] == 49406 && c->ids[1] == 49407 && c->ids[2] == 0 && c->ids[76] == 0);
    CHECK(c->end == 1 && c->weights[0] == 1 && c->weights[76] == 1 && c->fixes->len == 0);
    chunk_destroy(c);
    chunk_destroy(NULL);
}

static void check_emphasis(void)
{
    /* L = 3, D = 2; the sum is 12 before, and 1 1, 4 8, 1.5 0.5 = 16 after */
    const float z[] = {1, 1, 2, 4, 3, 1}, weights[] = {1, 2, 0.5f}, empty[] = {0, 1, 1, 1, 2, 2};
    float got[6];
    memcpy(got, z, sizeof z);
    emphasis_no_norm(got, weights, 3, 2);
    const float plain[] = {1, 1, 4, 8, 1.5f, 0.5f};
    CHECK(memcmp(got, plain, sizeof plain) == 0);
    memcpy(got, z, sizeof z);
    emphasis_original(got, weights, 3, 2);
    for (int i = 0; i < 6; i++)
        /* one rounding to float of a double product: half a unit in the last place of 8 */
        CHECK(fabs(got[i] - plain[i] * 12.0 / 16.0) < 4e-7, "%d: %g", i, got[i]);
    memcpy(got, z, sizeof z);
    emphasis_comfy(got, empty, weights, 3, 2);
    const float comfy[] = {1, 1, 3, 7, 2.5f, 1.5f};
    CHECK(memcmp(got, comfy, sizeof comfy) == 0);

    const float ones[] = {1, 1, 1};
    CHECK(!emphasis_needed(ones, 3) && emphasis_needed(weights, 3));
    memcpy(got, z, sizeof z);
    emphasis_original(got, ones, 3, 2);
    emphasis_comfy(got, empty, ones, 3, 2);
    CHECK(memcmp(got, z, sizeof z) == 0);
    /* Weights that cancel the sum: no division by zero. */
    const float cancel[] = {1, 1, 1, 1, 2, 2}, minus[] = {1, 1, -1};
    memcpy(got, cancel, sizeof cancel);
    emphasis_original(got, minus, 3, 2);
    CHECK(got[0] == 1 && got[4] == -2);
}

int main(void)
{
    struct tokenizer *t = tokenizer_create();
    check_golden(t);
    check_moved_embedding(t);
    check_empty(t);
    check_emphasis();
    tokenizer_destroy(t);
    return check_result();
}
