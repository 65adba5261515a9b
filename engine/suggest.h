/* "Did you mean": the nearest of a list of names by edit distance, case ignored. Pure. */
#pragma once

#include <glib.h>

/* NULL when nothing is near (more than a third of the letters differ). g_free(). */
char *suggest(const char *word, const char *const *names, gsize n);
