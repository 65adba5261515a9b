/* 50,000 prompts made of the pieces of the grammar, cut, joined and spoilt: what must always hold
 * (tests/fuzz/prompt_invariants.h) does. The same every time; arguments: how many, another seed. */
#include "tests/check.h"
#include "tests/fuzz/prompt_invariants.h"

static const char *const pieces[] = {"(",
                                     ")",
                                     "[",
                                     "]",
                                     ":",
                                     "|",
                                     "\\",
                                     "{",
                                     "}",
                                     "__",
                                     "$$",
                                     "::",
                                     ",",
                                     " ",
                                     "\n",
                                     "#",
                                     "<",
                                     ">",
                                     "a",
                                     "cat",
                                     "red apple",
                                     "AND",
                                     "BREAK",
                                     " AND ",
                                     " BREAK ",
                                     "0.5",
                                     "1.2",
                                     ":3]",
                                     ":0.5)",
                                     "(a:1.3)",
                                     "[a:b:2]",
                                     "[a|b]",
                                     "<lora:x:0.5>",
                                     "{a|b}",
                                     "{2$$a|b|c}",
                                     "__x__",
                                     "embedding:foo",
                                     " embedding:foo,",
                                     "<|endoftext|>",
                                     "\xc3\xa9",
                                     "\xe6\x97\xa5",
                                     "\xf0\x9f\x98\x80",
                                     "\xcc\x81",
                                     "\xff",
                                     "\xe6",
                                     "e",
                                     "-",
                                     "+",
                                     ".",
                                     "1e5",
                                     "a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r"};

static void spoil(GRand *random, GByteArray *text)
{
    if (!text->len)
        return;
    guint at = (guint)g_rand_int_range(random, 0, (gint32)text->len);
    switch (g_rand_int_range(random, 0, 4)) {
    case 0:
        text->data[at] = (guint8)g_rand_int(random);
        break;
    case 1:
        g_byte_array_set_size(text, at);
        break;
    case 2:
        g_byte_array_remove_index(text, at);
        break;
    default: /* a part again */
        if (text->len < 2000) {
            g_autofree guint8 *copy = g_memdup2(text->data, text->len);
            g_byte_array_append(text, copy + at, text->len - at);
        }
    }
}

int main(int argc, char **argv)
{
    struct tokenizer *t = tokenizer_create();
    GRand *random = g_rand_new_with_seed(argc > 2 ? (guint32)atoi(argv[2]) : 2024);
    g_autoptr(GByteArray) text = g_byte_array_new();
    int rounds = argc > 1 ? atoi(argv[1]) : 50000;
    for (int i = 0; i < rounds; i++) {
        g_byte_array_set_size(text, 0);
        for (int n = g_rand_int_range(random, 1, 14); n > 0; n--) {
            const char *piece = pieces[g_rand_int_range(random, 0, G_N_ELEMENTS(pieces))];
            g_byte_array_append(text, (const guint8 *)piece, (guint)strlen(piece));
        }
        for (int n = g_rand_int_range(random, 0, 3); n > 0; n--)
            spoil(random, text);
        prompt_invariants(t, text->data, text->len);
    }
    CHECK(rounds > 0); /* what does not hold aborts */
    g_rand_free(random);
    tokenizer_destroy(t);
    return check_result();
}
