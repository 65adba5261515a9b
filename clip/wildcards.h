/*
 * Dynamic prompts: {a|b} takes one of several texts, __name__ a line of a text file. The same seed
 * gives the same prompt on every machine.
 *
 *     {red|blue}            one of them          {2::red|blue}   red twice as often
 *     {2$$a|b|c}            two, ", " between    {1-2$$ and $$a|b|c}   one or two, " and " between
 *     __colour__            a line of colour.txt; a line may hold more of all this
 *     {2$$__colour__}       two different lines  __animal*__     lines of several files
 *
 * Braces without | or $$ are text, as without this feature. Source: sd-dynamic-prompts' SYNTAX.md
 * (text files; its variables and YAML are not read).
 *
 * Owner: the caller. One thread. Files are read when they are first needed and kept.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

struct wildcards;

/* folder: where NAME.txt are looked for, and nowhere else; NULL: there are no files. */
struct wildcards *wildcards_create(const char *folder);
void wildcards_destroy(struct wildcards *w); /* takes NULL */

/* Whether the text has anything to fill in. */
bool wildcards_needed(const char *text);

/*
 * The text with everything filled in (g_free). A name without a file stays as it is and is said in
 * `notices` (a GPtrArray of char *, or NULL). NULL with a sentence when files contain each other
 * without end, or when the result is longer than a prompt may be.
 */
char *wildcards_expand(struct wildcards *w, const char *text, guint64 seed, GPtrArray *notices,
                       GError **error);
