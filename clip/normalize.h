/*
 * Text as CLIP's tokenizer sees it: code points, in Unicode's composed form (NFC), with every run
 * of white space as one space, in lower case. Also the classes of characters that text rules need.
 * Any thread; never fails. Time is O(n log n) for any input (GLib's own normaliser is quadratic in
 * runs of combining marks).
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Decodes UTF-8; what is not valid becomes U+FFFD, one for each byte. Appends to `out` (gunichar).
 */
void normalize_decode(const char *text, size_t length, GArray *out);

/* In place: NFC, white space, lower case. `chars` is a GArray of gunichar. */
void normalize_chars(GArray *chars);

bool normalize_is_space(gunichar c);  /* Unicode's White_Space */
bool normalize_is_letter(gunichar c); /* categories L* */
bool normalize_is_number(gunichar c); /* categories N* */
