#include "compute/backend.h"

void backend_destroy(struct backend *backend)
{
    if (backend)
        backend->class->destroy(backend);
}

void backend_forget_weights(struct backend *backend)
{
    backend->class->forget_weights(backend, false);
}

void backend_forget_stale_weights(struct backend *backend)
{
    backend->class->forget_weights(backend, true);
}
