/* The prompt grammar against A1111 and ComfyUI (tests/golden/make_clip_prompts.py), and what is
 * ours to decide: limits, texts that upstream cannot read, bytes that are no text. */
#include "clip/prompt.h"

#include "tests/check.h"

#include <jansson.h>

static json_t *golden;

static char *text_of(const json_t *json)
{
    return g_strndup(json_string_value(json), json_string_length(json));
}

/* [[end, text], ...] */
static bool same_schedule(const GPtrArray *got, const json_t *expected)
{
    bool same = got->len == json_array_size(expected);
    for (guint i = 0; same && i < got->len; i++) {
        const struct prompt_text *t = got->pdata[i];
        const json_t *row = json_array_get(expected, i);
        same = t->end_step == json_integer_value(json_array_get(row, 0)) &&
               strcmp(t->text, json_string_value(json_array_get(row, 1))) == 0;
    }
    return same;
}

static void check_schedules(void)
{
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(golden, "schedules"), i, row)
    {
        g_autofree char *text = text_of(json_array_get(row, 0));
        int base = (int)json_integer_value(json_array_get(row, 1));
        int hires = (int)json_integer_value(json_array_get(row, 2));
        bool old = json_is_true(json_array_get(row, 3));
        struct prompt_timeline timeline = {.steps = base, .old = old};
        if (hires)
            timeline = (struct prompt_timeline){.steps = hires, .first_steps = base, .old = old};
        g_autoptr(GPtrArray) got = prompt_schedule(text, timeline);
        char *expected = json_dumps(row, JSON_ENSURE_ASCII);
        CHECK(same_schedule(got, json_array_get(row, 4)), "%s: got %u, first \"%s\"", expected,
              got->len, got->len ? ((struct prompt_text *)got->pdata[0])->text : "");
        free(expected);
    }
    CHECK(i >= 300);
}

static void check_parts(void)
{
    size_t i, j;
    json_t *row, *part;
    struct prompt_timeline timeline = {.steps = 1};
    json_array_foreach(json_object_get(golden, "parts"), i, row)
    {
        g_autofree char *text = text_of(json_array_get(row, 0));
        g_autoptr(GPtrArray) got = prompt_parts(text, timeline);
        CHECK(got->len == json_array_size(json_array_get(row, 1)), "%s: %u parts", text, got->len);
        json_array_foreach(json_array_get(row, 1), j, part)
        {
            if (j >= got->len)
                break;
            const struct prompt_part *p = got->pdata[j];
            g_autofree char *expected = text_of(json_array_get(part, 1));
            /* The schedule has its own goldens; here it must be that of the part's text. */
            g_autoptr(GPtrArray) schedule = prompt_schedule(expected, timeline);
            CHECK_STR(prompt_at_step(p->schedule, 0), prompt_at_step(schedule, 0));
            CHECK(p->weight == json_number_value(json_array_get(part, 0)), "%s: %g", text,
                  p->weight);
        }
    }
}

static void check_pieces(const char *key, enum prompt_grammar grammar, size_t at_least)
{
    size_t i, j;
    json_t *row, *pair;
    json_array_foreach(json_object_get(golden, key), i, row)
    {
        g_autofree char *text = text_of(json_array_get(row, 0));
        const json_t *expected = json_array_get(row, 1);
        char *shown = json_dumps(row, JSON_ENSURE_ASCII);
        g_autoptr(GPtrArray) got = prompt_pieces(text, grammar);
        size_t n = json_array_size(expected);
        CHECK(got->len == MAX(n, 1), "%s: %u pieces", shown, got->len);
        json_array_foreach(expected, j, pair)
        {
            if (j >= got->len)
                break;
            const struct prompt_piece *p = got->pdata[j];
            const char *word = json_string_value(json_array_get(pair, 0));
            double weight = json_number_value(json_array_get(pair, 1));
            bool ends = grammar == PROMPT_A1111 && weight == -1 && strcmp(word, "BREAK") == 0;
            CHECK(strcmp(p->text, word) == 0 && p->weight == weight && p->ends_chunk == ends,
                  "%s: piece %zu is \"%s\" %.17g", shown, j, p->text, p->weight);
        }
        free(shown);
    }
    CHECK(i >= at_least);
}

static void check_networks(void)
{
    size_t i, j;
    json_t *row, *expected;
    json_array_foreach(json_object_get(golden, "networks"), i, row)
    {
        g_autofree char *text = text_of(json_array_get(row, 0));
        g_autoptr(GPtrArray) got =
            g_ptr_array_new_with_free_func((GDestroyNotify)prompt_network_free);
        g_autofree char *rest = prompt_take_networks(text, got);
        CHECK_STR(rest, json_string_value(json_array_get(row, 1)));
        CHECK(got->len == json_array_size(json_array_get(row, 2)), "%s: %u", text, got->len);
        json_array_foreach(json_array_get(row, 2), j, expected)
        {
            if (j >= got->len)
                break;
            const struct prompt_network *n = got->pdata[j];
            CHECK_STR(n->kind, json_string_value(json_array_get(expected, 0)));
            CHECK_STR(n->name, json_string_value(json_array_get(expected, 1)));
            CHECK(n->text_weight == json_number_value(json_array_get(expected, 2)) &&
                      n->unet_weight == json_number_value(json_array_get(expected, 3)) &&
                      n->rank == json_integer_value(json_array_get(expected, 4)),
                  "%s: %g %g %d", text, n->text_weight, n->unet_weight, n->rank);
        }
    }
    CHECK(i >= 20);
}

static void check_comments(void)
{
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(golden, "comments"), i, row)
    {
        g_autofree char *got = prompt_strip_comments(json_string_value(json_array_get(row, 0)));
        CHECK_STR(got, json_string_value(json_array_get(row, 1)));
    }
}

static void one_piece(const char *text, const char *expected, double weight)
{
    g_autoptr(GPtrArray) got = prompt_pieces(text, PROMPT_A1111);
    const struct prompt_piece *p = got->pdata[0];
    CHECK(got->len == 1 && p->weight == weight, "%s: %u pieces, %g", text, got->len, p->weight);
    CHECK_STR(p->text, expected);
}

/* A1111 raises an exception at these. */
static void check_own_readings(void)
{
    one_piece("(a:1.2.3)", "a:1.2.3", 1.1);
    one_piece("(a:.)", "a:.", 1.1);
    one_piece("\xffz", "\xef\xbf\xbdz", 1);
    g_autoptr(GString) digits = g_string_new("(a:1");
    for (int i = 0; i < 400; i++)
        g_string_append_c(digits, '0');
    g_string_append_c(digits, ')');
    g_autoptr(GPtrArray) huge = prompt_pieces(digits->str, PROMPT_A1111);
    CHECK(((struct prompt_piece *)huge->pdata[0])->weight == 1.1);
    one_piece("(((a:99999):99999):99999)", "a", 1e6); /* the limit of a weight */
    g_autoptr(GPtrArray) literal = prompt_pieces("(a:1.2) [b] BREAK", PROMPT_LITERAL);
    CHECK_STR(((struct prompt_piece *)literal->pdata[0])->text, "(a:1.2) [b] BREAK");
    /* No hash seed: of several readings the one with most brackets understood. */
    g_autoptr(GPtrArray) ambiguous =
        prompt_schedule("[a:3]:[", (struct prompt_timeline){.steps = 6});
    CHECK(ambiguous->len == 2);
    CHECK_STR(prompt_at_step(ambiguous, 3), ":[");
    CHECK_STR(prompt_at_step(ambiguous, 4), "a:[");
    CHECK_STR(prompt_at_step(ambiguous, 7), ":["); /* past the end A1111 falls back on the first */
}

static char *repeat(const char *text, int n)
{
    GString *out = g_string_new(NULL);
    while (n-- > 0)
        g_string_append(out, text);
    return g_string_free(out, FALSE);
}

/* At the limit, nested and unbalanced as deep as fits: must end, and soon (the test's time-out). */
static void check_deep(void)
{
    static const char *const texts[] = {
        "(",   "[",    ")",       "]",          "((a",    "[a:",     "[a|", ":",
        "<a",  "<a:b", "AND ",    "a AND b:1 ", "BREAK ", "[a:b:1]", "\\",  "(a:1.1)",
        "#\n", "|",    "[a:3]:[", "a)b",        "(a)",    "  "};
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        int n = (int)(PROMPT_LIMIT / strlen(texts[i]));
        g_autofree char *head = repeat(texts[i], n / 2);
        g_autofree char *tail = repeat(i % 2 ? "]" : ")", PROMPT_LIMIT / 2);
        g_autofree char *text = g_strconcat(head, tail, NULL);
        struct prompt_timeline timeline = {.steps = 4};
        g_autoptr(GPtrArray) parts = prompt_parts(text, timeline);
        g_autoptr(GPtrArray) a1111 = prompt_pieces(text, PROMPT_A1111);
        g_autoptr(GPtrArray) comfy = prompt_pieces(text, PROMPT_COMFY);
        g_autoptr(GPtrArray) networks =
            g_ptr_array_new_with_free_func((GDestroyNotify)prompt_network_free);
        g_autofree char *rest = prompt_take_networks(text, networks);
        CHECK(parts->len && a1111->len && comfy->len && rest);
    }
    g_autofree char *most = repeat("a", PROMPT_LIMIT);
    g_autofree char *more = repeat("a", PROMPT_LIMIT + 1);
    g_autoptr(GError) error = NULL;
    CHECK(prompt_check(most, &error) && !error);
    CHECK(!prompt_check(more, &error));
    CHECK_STR(error->message, "The prompt has 65537 characters; the limit is 65536. Shorten it.");
}

int main(void)
{
    golden = json_load_file("tests/golden/clip_prompts.json", JSON_ALLOW_NUL, NULL);
    CHECK(golden);
    check_schedules();
    check_parts();
    check_pieces("attention", PROMPT_A1111, 150);
    check_pieces("comfy", PROMPT_COMFY, 80);
    check_networks();
    check_comments();
    check_own_readings();
    check_deep();
    json_decref(golden);
    return check_result();
}
