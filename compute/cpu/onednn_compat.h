/*
 * oneDNN as the CPU back end uses it: products (convolution, matrix product) with a fused sum and
 * activation, the layout oneDNN likes their weights in, and packing into it. The only place that
 * knows which oneDNN it is (Debian 12 has 2.6, Debian 13 has 3.x: descriptors became opaque and
 * post-ops lost their scale). One thread at a time; threads inside are OpenMP's.
 */
#pragma once

#include "compute/tensor.h"

struct dnn;
struct dnn_layout;  /* where oneDNN wants the elements of a weight */
struct dnn_product; /* one compiled primitive */

enum dnn_activation { DNN_NONE, DNN_SILU, DNN_QUICK_GELU, DNN_GELU };

struct dnn *dnn_create(GError **error);
void dnn_destroy(struct dnn *dnn); /* takes NULL */
/* "oneDNN 2.6.3"; static. */
const char *dnn_version(void);
/* Whether products of bf16 are faster than f32 here (AVX512_BF16, AMX). */
bool dnn_has_bf16(void);
/* Multiplies it in matrix registers. */
bool dnn_has_amx(void);

/* dst = activation(src * weights + bias [+ dst]); channels last; one group. */
struct dnn_conv {
    int64_t batch, height, width, in, out, kernel_height, kernel_width;
    int64_t out_height, out_width;
    int stride;
    int top, left, bottom, right; /* zeros around the source */
    enum dtype type, out_type;    /* F32 or BF16; bias is F32 */
    bool bias, sum;
    enum dnn_activation activation;
    bool any_layout; /* of source and destination: oneDNN's own speed (bench) */
};

struct dnn_matmul {
    int64_t rows, in, out;
    enum dtype type, out_type;
    bool bias, sum;
    enum dnn_activation activation;
};

/* `layout` NULL = oneDNN chooses. NULL when oneDNN has no such primitive. */
struct dnn_product *dnn_conv_create(struct dnn *dnn, const struct dnn_conv *conv,
                                    const struct dnn_layout *layout);
struct dnn_product *dnn_matmul_create(struct dnn *dnn, const struct dnn_matmul *matmul,
                                      const struct dnn_layout *layout);
void dnn_product_destroy(struct dnn_product *product); /* takes NULL */
/* Borrowed from the product. */
const struct dnn_layout *dnn_product_layout(const struct dnn_product *product);
/* Memory a run needs (shared by products, contents do not matter); 64-byte aligned. */
size_t dnn_product_scratch(const struct dnn_product *product);
const char *dnn_product_name(const struct dnn_product *product); /* the implementation chosen */
/* Bytes of source and destination, which a layout of oneDNN's choice may pad. */
size_t dnn_product_source_bytes(const struct dnn_product *product);
size_t dnn_product_destination_bytes(const struct dnn_product *product);
bool dnn_product_run(struct dnn *dnn, struct dnn_product *product, const void *src,
                     const void *weights, const float *bias, void *dst, void *scratch);

struct dnn_layout *dnn_layout_copy(const struct dnn_layout *layout);
void dnn_layout_free(struct dnn_layout *layout); /* takes NULL */
bool dnn_layout_equal(const struct dnn_layout *a, const struct dnn_layout *b);
size_t dnn_layout_bytes(const struct dnn_layout *layout);
enum dtype dnn_layout_dtype(const struct dnn_layout *layout);
bool dnn_layout_is_matrix(const struct dnn_layout *layout); /* of a dnn_matmul */
/* Brings a weight from file order ([out,in,kh,kw] or [out,in]) and `type` into a layout. */
bool dnn_pack(struct dnn *dnn, const struct dnn_layout *layout, int rank, const int64_t *dims,
              enum dtype type, const void *src, void *dst);
