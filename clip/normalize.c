#include "clip/normalize.h"

#include <stdint.h>
#include <stdlib.h>

void normalize_decode(const char *text, size_t length, GArray *out)
{
    for (size_t i = 0; i < length;) {
        gunichar c = (uint8_t)text[i];
        size_t n = 1;
        if (c >= 0x80) {
            c = g_utf8_get_char_validated(text + i, (gssize)(length - i));
            if (c >= (gunichar)-2)
                c = 0xFFFD;
            else
                n = (size_t)g_unichar_to_utf8(c, NULL);
        }
        g_array_append_val(out, c);
        i += n;
    }
}

bool normalize_is_space(gunichar c)
{
    return c == ' ' || (c >= 9 && c <= 13) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
}

/* What Unicode 16 and 17 added, which GLib 2.74 (Unicode 15) does not know; found by comparing
 * every code point with transformers 5. */
static const struct addition {
    gunichar first, last;
    char kind; /* L letter, N number, O other */
    int lower; /* distance to the lower case */
} additions[] = {
    {0x1C89, 0x1C89, 'L', 1},   {0x1C8A, 0x1C8A, 'L', 0},      {0xA7CB, 0xA7CB, 'L', -42343},
    {0xA7CC, 0xA7CC, 'L', 1},   {0xA7CD, 0xA7CD, 'L', 0},      {0xA7CE, 0xA7CE, 'O', 1},
    {0xA7D2, 0xA7D2, 'L', 1},   {0xA7D4, 0xA7D4, 'L', 1},      {0xA7DA, 0xA7DA, 'L', 1},
    {0xA7DB, 0xA7DB, 'L', 0},   {0xA7DC, 0xA7DC, 'L', -42561}, {0x105C0, 0x105F3, 'L', 0},
    {0x10D40, 0x10D49, 'N', 0}, {0x10D4A, 0x10D4F, 'L', 0},    {0x10D50, 0x10D65, 'L', 32},
    {0x10D6F, 0x10D85, 'L', 0}, {0x10EC2, 0x10EC4, 'L', 0},    {0x11380, 0x11389, 'L', 0},
    {0x1138B, 0x1138B, 'L', 0}, {0x1138E, 0x1138E, 'L', 0},    {0x11390, 0x113B5, 'L', 0},
    {0x113B7, 0x113B7, 'L', 0}, {0x113D1, 0x113D1, 'L', 0},    {0x113D3, 0x113D3, 'L', 0},
    {0x116D0, 0x116E3, 'N', 0}, {0x11BC0, 0x11BE0, 'L', 0},    {0x11BF0, 0x11BF9, 'N', 0},
    {0x13460, 0x143FA, 'L', 0}, {0x16100, 0x1611D, 'L', 0},    {0x16130, 0x16139, 'N', 0},
    {0x16D40, 0x16D6C, 'L', 0}, {0x16D70, 0x16D79, 'N', 0},    {0x16EA0, 0x16EB8, 'O', 27},
    {0x18CFF, 0x18CFF, 'L', 0}, {0x1CCF0, 0x1CCF9, 'N', 0},    {0x1E5D0, 0x1E5ED, 'L', 0},
    {0x1E5F0, 0x1E5F0, 'L', 0}, {0x1E5F1, 0x1E5FA, 'N', 0},    {0x2EBF0, 0x2EE5D, 'L', 0}};

static const struct addition *find_addition(gunichar c)
{
    if (c < additions[0].first)
        return NULL;
    size_t low = 0, high = G_N_ELEMENTS(additions);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (c > additions[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < G_N_ELEMENTS(additions) && c >= additions[low].first ? &additions[low] : NULL;
}

bool normalize_is_letter(gunichar c)
{
    if (c < 0x80)
        return g_ascii_isalpha((char)c);
    const struct addition *added = find_addition(c);
    return added ? added->kind == 'L' : g_unichar_isalpha(c);
}

bool normalize_is_number(gunichar c)
{
    if (c < 0x80)
        return c >= '0' && c <= '9';
    const struct addition *added = find_addition(c);
    if (added)
        return added->kind == 'N';
    GUnicodeType type = g_unichar_type(c);
    return type == G_UNICODE_DECIMAL_NUMBER || type == G_UNICODE_LETTER_NUMBER ||
           type == G_UNICODE_OTHER_NUMBER;
}

/* Composed characters newer than Unicode 9: they stay as they are, as in transformers. */
static bool is_new_composite(gunichar c)
{
    return c == 0x105C9 || c == 0x105E4 || (c >= 0x11383 && c <= 0x113C8) || c == 0x11938 ||
           (c >= 0x16121 && c <= 0x16128) || (c >= 0x16D68 && c <= 0x16D6A);
}

/* The canonical decomposition of c, appended. */
static void decompose(gunichar c, GArray *out)
{
    gunichar tail[8], a, b;
    int n = 0;
    while (n < 8 && !is_new_composite(c) && g_unichar_decompose(c, &a, &b)) {
        c = a;
        if (b)
            tail[n++] = b;
    }
    g_array_append_val(out, c);
    while (n)
        g_array_append_val(out, tail[--n]);
}

/* Marks newer than Unicode 9. transformers' normaliser does not know them and leaves them where
 * they are; so do we. Found by comparing every code point. */
static const gunichar unordered[][2] = {
    {0x7FD, 0x7FD},     {0x897, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},
    {0xC3C, 0xC3C},     {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},
    {0x1ABF, 0x1AFF},   {0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},   {0x10D24, 0x10D27},
    {0x10D69, 0x10D6D}, {0x10EAB, 0x10EAC}, {0x10EFA, 0x10EFF}, {0x10F46, 0x10F50},
    {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x113CE, 0x113D0},
    {0x113E1, 0x113E2}, {0x1145E, 0x1145E}, {0x11839, 0x1183A}, {0x1193D, 0x1193E},
    {0x11943, 0x11943}, {0x119E0, 0x119E0}, {0x11A34, 0x11A34}, {0x11A47, 0x11A47},
    {0x11A99, 0x11A99}, {0x11D42, 0x11D42}, {0x11D44, 0x11D45}, {0x11D97, 0x11D97},
    {0x11F41, 0x11F42}, {0x1612F, 0x1612F}, {0x16FF0, 0x16FF1}, {0x1E08F, 0x1E08F},
    {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF},
    {0x1E5EE, 0x1E5EF}};

static int combining_class(gunichar c)
{
    if (c < 0x300)
        return 0;
    int class = g_unichar_combining_class(c);
    for (size_t i = 0; class && i < G_N_ELEMENTS(unordered) && unordered[i][0] <= c; i++)
        if (c <= unordered[i][1])
            class = 0;
    return class;
}

struct mark {
    gunichar c;
    int class, place;
};

static int by_class(const void *x, const void *y)
{
    const struct mark *a = x, *b = y;
    return a->class != b->class ? a->class - b->class : a->place - b->place;
}

/* Puts each run of combining marks in the order of their classes, keeping equals in place. */
static void order_marks(GArray *chars)
{
    gunichar *c = (gunichar *)chars->data;
    g_autoptr(GArray) run = g_array_new(FALSE, FALSE, sizeof(struct mark));
    for (guint i = 0; i <= chars->len; i++) {
        int class = i < chars->len ? combining_class(c[i]) : 0;
        if (class) {
            struct mark m = {c[i], class, (int)i};
            g_array_append_val(run, m);
            continue;
        }
        struct mark *marks = (struct mark *)run->data;
        if (run->len > 1)
            qsort(marks, run->len, sizeof *marks, by_class);
        for (guint j = 0; j < run->len; j++)
            c[i - run->len + j] = marks[j].c;
        g_array_set_size(run, 0);
    }
}

static bool join(gunichar a, gunichar b, gunichar *joined)
{
    return g_unichar_compose(a, b, joined) && !is_new_composite(*joined);
}

/* Joins each starter with the marks after it that are not blocked (Unicode Standard, D117). */
static void compose(GArray *chars)
{
    gunichar *c = (gunichar *)chars->data, joined;
    guint n = 0, starter = 0;
    int last_class = -1; /* of what was kept after the starter; -1: nothing was */
    bool have_starter = false;
    for (guint i = 0; i < chars->len; i++) {
        int class = combining_class(c[i]);
        if (have_starter && last_class < class && join(c[starter], c[i], &joined)) {
            c[starter] = joined;
            continue;
        }
        if (class == 0) {
            starter = n;
            have_starter = true;
            last_class = -1;
        } else {
            last_class = class;
        }
        c[n++] = c[i];
    }
    g_array_set_size(chars, n);
}

static void make_nfc(GArray *chars)
{
    const gunichar *c = (const gunichar *)chars->data;
    bool plain = true; /* below U+0300 nothing decomposes for good or composes */
    for (guint i = 0; plain && i < chars->len; i++)
        plain = c[i] < 0x300;
    if (plain)
        return;
    g_autoptr(GArray) parts = g_array_sized_new(FALSE, FALSE, sizeof(gunichar), chars->len);
    for (guint i = 0; i < chars->len; i++)
        decompose(c[i], parts);
    order_marks(parts);
    compose(parts);
    g_array_set_size(chars, 0);
    g_array_append_vals(chars, parts->data, parts->len);
}

static gunichar to_lower(gunichar c)
{
    if (c < 0x80)
        return (gunichar)g_ascii_tolower((char)c);
    if (c >= 0x2160 && c <= 0x216F) /* Roman numerals, circled letters: not letters to GLib */
        return c + 16;
    if (c >= 0x24B6 && c <= 0x24CF)
        return c + 26;
    const struct addition *added = find_addition(c);
    return added ? (gunichar)((int)c + added->lower) : g_unichar_tolower(c);
}

void normalize_chars(GArray *chars)
{
    make_nfc(chars);
    g_autoptr(GArray) out = g_array_sized_new(FALSE, FALSE, sizeof(gunichar), chars->len);
    const gunichar *c = (const gunichar *)chars->data;
    for (guint i = 0; i < chars->len; i++) {
        gunichar lower = to_lower(c[i]);
        if (normalize_is_space(c[i])) {
            if (i > 0 && normalize_is_space(c[i - 1]))
                continue;
            lower = ' ';
        }
        if (c[i] == 0x130) /* the one character whose lower case is two: i and a dot above */
            lower = 'i';
        g_array_append_val(out, lower);
        if (c[i] == 0x130) {
            lower = 0x307;
            g_array_append_val(out, lower);
        }
    }
    g_array_set_size(chars, 0);
    g_array_append_vals(chars, out->data, out->len);
}
