/*
 * A1111's styles.csv: named pairs of prompt and negative prompt to put around one's own.
 * Owner: the caller. Any thread. Source: A1111 1.10 modules/styles.py.
 */
#pragma once

#include <glib.h>

struct style {
    char *name, *prompt, *negative; /* never NULL */
};

/*
 * The styles of a file of at most 4 MiB, in its order (struct style *; g_ptr_array_unref). Columns
 * go by their names in the first line: name, prompt (or text, in old files), negative_prompt. NULL
 * with a sentence when it cannot be read or has no such columns.
 */
GPtrArray *styles_load(const char *path, GError **error);
GPtrArray *styles_none(void); /* to begin with */

/* Moves the styles of `from` whose names `to` does not have yet behind those of `to` (both of
 * styles_load()), of two of one name in a file the one that styles_find() finds. Takes `from`. */
void styles_take(GPtrArray *to, GPtrArray *from);

const struct style *styles_find(const GPtrArray *styles, const char *name); /* NULL: none */

/* A prompt with a style's text: in place of {prompt} in it, else before it with ", ". (g_free) */
char *styles_apply(const char *style, const char *prompt);
