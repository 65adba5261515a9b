/*
 * The back ends of this build by name, and the one way to be done with one: every test that
 * computes on Vulkan leaves what it ran (tests/vulkan/record.h) and must have caused no message of
 * the validation layers. With FIGMENT_HAVE_VULKAN where the test links figment_vulkan.
 */
#pragma once

#include "compute/cpu/cpu.h"
#include "tests/check.h"
#ifdef FIGMENT_HAVE_VULKAN
#include "compute/vulkan/vulkan.h"
#include "tests/vulkan/record.h"
#endif

static inline enum dtype test_precision(const char *name)
{
    return g_str_has_suffix(name, "bf16")  ? DTYPE_BF16
           : g_str_has_suffix(name, "f16") ? DTYPE_F16
                                           : DTYPE_F32;
}

/* `name`: cpu:f32, cpu:bf16, vulkan:f32, vulkan:f16. `which`: the device, or how many threads; may
 * be NULL. NULL without an error: this build has no such back end. */
static inline struct backend *test_backend_create(const char *name, const char *which,
                                                  GError **error)
{
    if (g_str_has_prefix(name, "cpu:"))
        return cpu_backend_create(test_precision(name), which ? atoi(which) : 0, error);
#ifdef FIGMENT_HAVE_VULKAN
    if (g_str_has_prefix(name, "vulkan:"))
        return vulkan_backend_create(which, test_precision(name), error);
#endif
    return NULL;
}

static inline void test_backend_destroy(struct backend *backend)
{
#ifdef FIGMENT_HAVE_VULKAN
    record_pipelines(backend);
#endif
    backend_destroy(backend);
#ifdef FIGMENT_HAVE_VULKAN
    check_validation();
#endif
}
