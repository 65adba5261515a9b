#include "weights/model_private.h"

#include <string.h>

char *names_old_attention(const char *name)
{
    static const char *const pairs[][2] = {{".query.", ".to_q."},
                                           {".key.", ".to_k."},
                                           {".value.", ".to_v."},
                                           {".proj_attn.", ".to_out.0."}};
    for (size_t i = 0; i < G_N_ELEMENTS(pairs); i++) {
        const char *at = strstr(name, pairs[i][0]);
        if (at)
            return g_strdup_printf("%.*s%s%s", (int)(at - name), name, pairs[i][1],
                                   at + strlen(pairs[i][0]));
    }
    return NULL;
}
