/*
 * What a test leaves behind of the Vulkan back end that it used, for tests/vulkan/coverage.c: the
 * pipelines it ran, in the file that FIGMENT_TEST_PIPELINES names. Also: the validation layers,
 * where they are loaded, must have said nothing. Call it before the back end is destroyed; other
 * back ends are left alone.
 */
#pragma once

#include "compute/vulkan/internal.h"
#include "tests/check.h"

static inline void record_pipelines(const struct backend *backend)
{
    const char *path = g_getenv("FIGMENT_TEST_PIPELINES");
    if (!path || strcmp(backend->class->name, "vulkan") != 0)
        return;
    g_autoptr(GString) text = g_string_new(NULL);
    pipelines_list(((const struct vulkan_backend *)backend)->p, text);
    CHECK(g_file_set_contents(path, text->str, (gssize)text->len, NULL), "cannot write %s", path);
}

static inline void check_validation(void)
{
    CHECK(gpu_validation_messages() == 0, "%d messages of the validation layers",
          gpu_validation_messages());
}
