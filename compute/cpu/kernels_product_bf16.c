/* The same products of pairs of BF16. */
#define KERNELS_PAIRS
#include "compute/cpu/kernels_product.c"
