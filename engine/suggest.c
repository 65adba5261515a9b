#include "engine/suggest.h"

#include <string.h>

#define LENGTH_MAX 64

/* Damerau-Levenshtein, restricted: a swap of neighbours counts once. Both at most LENGTH_MAX long.
 */
static int distance(const char *a, const char *b)
{
    int n = (int)strlen(a), m = (int)strlen(b);
    int rows[3][LENGTH_MAX + 1];
    int *before = rows[0], *last = rows[1], *row = rows[2];

    for (int j = 0; j <= m; j++)
        last[j] = j;
    for (int i = 1; i <= n; i++) {
        int *swap;

        row[0] = i;
        for (int j = 1; j <= m; j++) {
            int best = last[j - 1] + (a[i - 1] != b[j - 1]);

            best = MIN(best, MIN(last[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = MIN(best, before[j - 2] + 1);
            row[j] = best;
        }
        swap = before;
        before = last;
        last = row;
        row = swap;
    }
    return last[m];
}

char *suggest(const char *word, const char *const *names, gsize n)
{
    g_autofree char *lower = g_ascii_strdown(word, -1);
    const char *nearest = NULL;
    int least = G_MAXINT;

    if (strlen(lower) > LENGTH_MAX)
        return NULL;
    for (gsize i = 0; i < n; i++) {
        g_autofree char *name = g_ascii_strdown(names[i], -1);
        int d;

        if (strlen(name) > LENGTH_MAX)
            continue;
        d = distance(lower, name);
        if (d < least) {
            least = d;
            nearest = names[i];
        }
    }
    return nearest && least * 3 <= (int)MAX(strlen(lower), 3) ? g_strdup(nearest) : NULL;
}
