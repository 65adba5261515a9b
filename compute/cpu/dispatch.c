#include "compute/cpu/kernels.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <cpuid.h>

/* Not all compilers' __builtin_cpu_supports() know this one. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C;
}
#endif

static bool allowed(const char *isa)
{
    static const char *const order[] = {"plain", "avx2", "avx512", "avx512bf16"};
    const char *limit = g_getenv("FIGMENT_CPU_ISA");
    if (!limit)
        return true;
    for (size_t i = 0; i < G_N_ELEMENTS(order); i++) {
        if (g_str_equal(order[i], isa))
            return true;
        if (g_str_equal(order[i], limit))
            return false;
    }
    return true;
}

const struct kernels *kernels_choose(void)
{
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
    __builtin_cpu_init();
    bool f16c = has_f16c(); /* that the system keeps these registers, the others say */
    if (allowed("avx512") && f16c && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq")) {
        bool bf16 = allowed("avx512bf16") && __builtin_cpu_supports("avx512bf16");
        return bf16 ? &kernels_avx512bf16 : &kernels_avx512;
    }
    if (allowed("avx2") && f16c && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &kernels_avx2;
#endif
    return &kernels_plain;
}
