/* What the parts of the prompt grammar share: Python's notion of spaces, words and numbers. */
#pragma once

#include <glib.h>
#include <stdbool.h>

bool prompt_is_space(gunichar c); /* \s */
bool prompt_is_word(gunichar c);  /* \w */

/* Steps over white space from `at` forward, from `at` backward (not before `start`). */
const char *prompt_skip_spaces(const char *at, const char *end);
const char *prompt_trim_spaces(const char *start, const char *at);

/* The next `word` in [at, end) with no letter, digit or _ at either side; `start` is where the text
 * begins. NULL when there is none. */
const char *prompt_find_word(const char *start, const char *at, const char *end, const char *word);

/*
 * Reads [start, end) as a whole as a decimal number: sign, digits (of any script), point; with
 * `exponent` also e5. False, and value as it was, when it is none or not finite.
 */
bool prompt_number(const char *start, const char *end, bool exponent, double *value);
