/* Ctrl+Up and Ctrl+Down on a prompt: A1111's habit, as a pure function. */
#include "tests/check.h"
#include "ui/prompt.h"

static void weigh(const char *text, int start, int end, double delta, const char *expected,
                  const char *selected)
{
    g_autofree char *got = fig_prompt_change_weight(text, &start, &end, delta);
    if (!expected) {
        CHECK(!got, "“%s” should not change", text);
        return;
    }
    CHECK_STR(got, expected);
    g_autofree char *range = g_utf8_substring(got, start, end);
    CHECK_STR(range, selected);
}

int main(void)
{
    weigh("a red apple", 2, 5, 0.1, "a (red:1.1) apple", "red");
    weigh("a (red:1.1) apple", 3, 6, 0.1, "a (red:1.2) apple", "red");
    weigh("a (red:1.1) apple", 3, 6, -0.1, "a red apple", "red");
    weigh("a (red:1.05) apple", 3, 6, 0.1, "a (red:1.15) apple", "red");
    weigh("a red apple", 3, 3, -0.1, "a (red:0.9) apple", "red"); /* the word at the cursor */
    weigh("a red apple", 1, 6, 0.1, "a (red:1.1) apple", "red");  /* spaces stay outside */
    weigh("a red apple", 0, 11, 0.1, "(a red apple:1.1)", "a red apple"); /* several words */
    weigh("ein grüner Apfel", 4, 10, 0.1, "ein (grüner:1.1) Apfel", "grüner");
    weigh("(x:0.05)", 1, 2, -0.1, "(x:0)", "x"); /* never below nothing */
    weigh("(x:10)", 1, 2, 0.1, "(x:10)", "x");   /* nor beyond ten */
    weigh("", 0, 0, 0.1, NULL, NULL);
    weigh("a  b", 2, 2, 0.1, NULL, NULL);
    weigh("(x:", 1, 2, 0.1, "((x:1.1):", "x"); /* no weight behind the colon */
    return check_result();
}
