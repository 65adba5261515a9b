#include "clip/prompt_text.h"

#include "clip/normalize.h"

#include <math.h>
#include <string.h>

bool prompt_is_space(gunichar c)
{
    return (c >= 0x1C && c <= 0x1F) || normalize_is_space(c);
}

bool prompt_is_word(gunichar c)
{
    return c == '_' || normalize_is_letter(c) || normalize_is_number(c);
}

const char *prompt_skip_spaces(const char *at, const char *end)
{
    while (at < end && prompt_is_space(g_utf8_get_char(at)))
        at = g_utf8_next_char(at);
    return at;
}

const char *prompt_trim_spaces(const char *start, const char *at)
{
    while (at > start) {
        const char *before = g_utf8_prev_char(at);
        if (!prompt_is_space(g_utf8_get_char(before)))
            break;
        at = before;
    }
    return at;
}

const char *prompt_find_word(const char *start, const char *at, const char *end, const char *word)
{
    size_t n = strlen(word);
    while ((at = memmem(at, (size_t)(end - at), word, n))) {
        bool left = at == start || !prompt_is_word(g_utf8_get_char(g_utf8_prev_char(at)));
        bool right = at + n == end || !prompt_is_word(g_utf8_get_char(at + n));
        if (left && right)
            return at;
        at += n;
    }
    return NULL;
}

bool prompt_number(const char *start, const char *end, bool exponent, double *value)
{
    g_autoptr(GString) plain = g_string_new(NULL);
    const char *at = start;
    int digits = 0, points = 0;
    if (at < end && (*at == '+' || *at == '-'))
        g_string_append_c(plain, *at++);
    for (; at < end; at = g_utf8_next_char(at)) {
        gunichar c = g_utf8_get_char(at);
        if (c == '.' && !points++)
            g_string_append_c(plain, '.');
        else if (g_unichar_isdigit(c))
            g_string_append_c(plain, (char)('0' + g_unichar_digit_value(c))), digits++;
        else
            break;
    }
    if (!digits)
        return false;
    if (exponent && at < end && (*at == 'e' || *at == 'E')) {
        const char *mark = at++;
        if (at < end && (*at == '+' || *at == '-'))
            at++;
        if (at == end)
            return false;
        for (const char *digit = at; digit < end; digit++)
            if (!g_ascii_isdigit(*digit))
                return false;
        g_string_append_len(plain, mark, end - mark);
        at = end;
    }
    double read = g_ascii_strtod(plain->str, NULL);
    if (at != end || !isfinite(read))
        return false;
    *value = read;
    return true;
}
