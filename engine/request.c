#include "engine/request.h"

#include <string.h>

/* Every string of a request, spelled once. */
#define REQUEST_STRINGS(X)                                                                         \
    X(prompt)                                                                                      \
    X(negative)                                                                                    \
    X(styles)                                                                                      \
    X(model)                                                                                       \
    X(vae)                                                                                         \
    X(sampler)                                                                                     \
    X(schedule)                                                                                    \
    X(mask_path)                                                                                   \
    X(init_path)                                                                                   \
    X(device)                                                                                      \
    X(precision)                                                                                   \
    X(folder)                                                                                      \
    X(pattern)                                                                                     \
    X(output)                                                                                      \
    X(noise_path)                                                                                  \
    X(dump_folder)

void request_copy(struct request *copy, const struct request *request)
{
    *copy = *request;
#define COPY(field) copy->field = g_strdup(request->field);
    REQUEST_STRINGS(COPY)
#undef COPY
}

void request_clear(struct request *request)
{
#define CLEAR(field) g_free(request->field);
    REQUEST_STRINGS(CLEAR)
#undef CLEAR
    memset(request, 0, sizeof *request);
}
