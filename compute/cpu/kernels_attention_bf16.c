/* The same attention on pairs of BF16. */
#define KERNELS_PAIRS
#include "compute/cpu/kernels_attention.c"
