#include "compute/cpu/onednn_compat.h"

#include <gio/gio.h>
#include <glib/gi18n-lib.h>
#include <oneapi/dnnl/dnnl.h>
#include <string.h>

#define IS_V3 (DNNL_VERSION_MAJOR >= 3)

struct dnn {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
};

#if IS_V3
typedef dnnl_memory_desc_t md_t;
#define MD_CONST(md) ((const_dnnl_memory_desc_t)(md))
#define MD_FREE(md) ((md) ? (void)dnnl_memory_desc_destroy(md) : (void)0)
#else
typedef const dnnl_memory_desc_t *md_t; /* boxed with g_new */
#define MD_CONST(md) ((const dnnl_memory_desc_t *)(md))
#define MD_FREE(md) g_free((void *)(md))
#endif

struct dnn_layout {
    md_t md;
};

struct dnn_product {
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
    dnnl_memory_t src, weights, bias, dst, scratch;
    size_t scratch_bytes;
    struct dnn_layout layout;
};

static dnnl_data_type_t type_of(enum dtype dtype)
{
    return dtype == DTYPE_BF16 ? dnnl_bf16 : dnnl_f32;
}

/* NULL on failure. */
static md_t md_create(int rank, const int64_t *dims, enum dtype dtype, dnnl_format_tag_t tag)
{
    dnnl_dims_t d = {0};
    for (int i = 0; i < rank; i++)
        d[i] = dims[i];
#if IS_V3
    md_t md = NULL;
    return dnnl_memory_desc_create_with_tag(&md, rank, d, type_of(dtype), tag) == dnnl_success
               ? md
               : NULL;
#else
    dnnl_memory_desc_t *md = g_new0(dnnl_memory_desc_t, 1);
    if (dnnl_memory_desc_init_by_tag(md, rank, d, type_of(dtype), tag) == dnnl_success)
        return md;
    g_free(md);
    return NULL;
#endif
}

static md_t md_copy(md_t from)
{
#if IS_V3
    md_t md = NULL;
    return dnnl_memory_desc_clone(&md, from) == dnnl_success ? md : NULL;
#else
    return g_memdup2(from, sizeof *from);
#endif
}

static md_t md_query(const_dnnl_primitive_desc_t desc, dnnl_query_t what)
{
    return (md_t)dnnl_primitive_desc_query_md(desc, what, 0);
}

static bool memory_create(dnnl_memory_t *memory, struct dnn *dnn, md_t md)
{
    return dnnl_memory_create(memory, md, dnn->engine, DNNL_MEMORY_NONE) == dnnl_success;
}

struct dnn *dnn_create(GError **error)
{
    struct dnn *dnn = g_new0(struct dnn, 1);
    if (dnnl_engine_create(&dnn->engine, dnnl_cpu, 0) == dnnl_success &&
        dnnl_stream_create(&dnn->stream, dnn->engine, dnnl_stream_default_flags) == dnnl_success)
        return dnn;
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
                _("cpu: oneDNN cannot start on this machine"));
    dnn_destroy(dnn);
    return NULL;
}

void dnn_destroy(struct dnn *dnn)
{
    if (!dnn)
        return;
    if (dnn->stream)
        dnnl_stream_destroy(dnn->stream);
    if (dnn->engine)
        dnnl_engine_destroy(dnn->engine);
    g_free(dnn);
}

const char *dnn_version(void)
{
    static char text[48];
    const dnnl_version_t *v = dnnl_version();
    g_snprintf(text, sizeof text, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
    return text;
}

/* The values of dnnl_cpu_isa_t are bit sets that grow with the instruction set. */
static bool has_isa(dnnl_cpu_isa_t isa)
{
    return ((unsigned)dnnl_get_effective_cpu_isa() & (unsigned)isa) == (unsigned)isa;
}

bool dnn_has_bf16(void)
{
    return has_isa(dnnl_cpu_isa_avx512_core_bf16);
}

bool dnn_has_amx(void)
{
    return has_isa(dnnl_cpu_isa_avx512_core_amx);
}

static bool append_activation(dnnl_post_ops_t ops, enum dnn_activation activation)
{
    dnnl_alg_kind_t kind = activation == DNN_GELU ? dnnl_eltwise_gelu_erf : dnnl_eltwise_swish;
    float alpha = activation == DNN_QUICK_GELU ? 1.702f : 1.0f;
    if (activation == DNN_NONE)
        return true;
#if IS_V3
    return dnnl_post_ops_append_eltwise(ops, kind, alpha, 0) == dnnl_success;
#else
    return dnnl_post_ops_append_eltwise(ops, 1, kind, alpha, 0) == dnnl_success;
#endif
}

static bool append_sum(dnnl_post_ops_t ops, bool sum)
{
    if (!sum)
        return true;
#if IS_V3
    return dnnl_post_ops_append_sum(ops, 1, 0, dnnl_data_type_undef) == dnnl_success;
#else
    return dnnl_post_ops_append_sum(ops, 1) == dnnl_success;
#endif
}

static dnnl_primitive_attr_t attr_create(bool sum, enum dnn_activation activation)
{
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t ops = NULL;
    bool ok =
        dnnl_primitive_attr_create(&attr) == dnnl_success &&
        dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user) == dnnl_success &&
        dnnl_post_ops_create(&ops) == dnnl_success && append_sum(ops, sum) &&
        append_activation(ops, activation) &&
        dnnl_primitive_attr_set_post_ops(attr, ops) == dnnl_success;
    if (ops)
        dnnl_post_ops_destroy(ops);
    if (!ok && attr) {
        dnnl_primitive_attr_destroy(attr);
        attr = NULL;
    }
    return attr;
}

/* The primitive and its memory objects, from a descriptor that it takes over. */
static struct dnn_product *product_create(struct dnn *dnn, dnnl_primitive_desc_t desc, bool bias)
{
    struct dnn_product *p = g_new0(struct dnn_product, 1);
    p->desc = desc;
    md_t scratch = md_query(desc, dnnl_query_scratchpad_md);
    p->scratch_bytes = dnnl_memory_desc_get_size(scratch);
    p->layout.md = md_copy(md_query(desc, dnnl_query_weights_md));
    bool ok = dnnl_primitive_create(&p->primitive, desc) == dnnl_success &&
              memory_create(&p->src, dnn, md_query(desc, dnnl_query_src_md)) &&
              memory_create(&p->weights, dnn, p->layout.md) &&
              memory_create(&p->dst, dnn, md_query(desc, dnnl_query_dst_md)) &&
              memory_create(&p->scratch, dnn, scratch);
    if (ok && bias) {
        md_t md = (md_t)dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 1);
        ok = memory_create(&p->bias, dnn, md);
    }
    if (ok)
        return p;
    dnn_product_destroy(p);
    return NULL;
}

struct dnn_product *dnn_conv_create(struct dnn *dnn, const struct dnn_conv *c,
                                    const struct dnn_layout *layout)
{
    dnnl_format_tag_t tag = c->any_layout ? dnnl_format_tag_any : dnnl_nhwc;
    md_t src = md_create(4, (int64_t[]){c->batch, c->in, c->height, c->width}, c->type, tag);
    int64_t weight_dims[] = {c->out, c->in, c->kernel_height, c->kernel_width};
    md_t weights =
        layout ? md_copy(layout->md) : md_create(4, weight_dims, c->type, dnnl_format_tag_any);
    md_t bias = c->bias ? md_create(1, &c->out, DTYPE_F32, dnnl_a) : NULL;
    md_t dst =
        md_create(4, (int64_t[]){c->batch, c->out, c->out_height, c->out_width}, c->out_type, tag);
    dnnl_dims_t strides = {c->stride, c->stride}, dilates = {0, 0};
    dnnl_dims_t before = {c->top, c->left}, after = {c->bottom, c->right};
    dnnl_primitive_attr_t attr = attr_create(c->sum, c->activation);
    dnnl_primitive_desc_t desc = NULL;
    dnnl_status_t status = dnnl_out_of_memory;
    if (src && weights && dst && attr) {
#if IS_V3
        status = dnnl_convolution_forward_primitive_desc_create(
            &desc, dnn->engine, dnnl_forward_inference, dnnl_convolution_direct, src, weights, bias,
            dst, strides, dilates, before, after, attr);
#else
        dnnl_convolution_desc_t cd;
        status = dnnl_dilated_convolution_forward_desc_init(
            &cd, dnnl_forward_inference, dnnl_convolution_direct, src, weights, bias, dst, strides,
            dilates, before, after);
        if (status == dnnl_success)
            status = dnnl_primitive_desc_create(&desc, &cd, attr, dnn->engine, NULL);
#endif
    }
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    MD_FREE(src);
    MD_FREE(weights);
    MD_FREE(bias);
    MD_FREE(dst);
    return status == dnnl_success ? product_create(dnn, desc, c->bias) : NULL;
}

struct dnn_product *dnn_matmul_create(struct dnn *dnn, const struct dnn_matmul *m,
                                      const struct dnn_layout *layout)
{
    md_t src = md_create(2, (int64_t[]){m->rows, m->in}, m->type, dnnl_ab);
    md_t weights = layout ? md_copy(layout->md)
                          : md_create(2, (int64_t[]){m->in, m->out}, m->type, dnnl_format_tag_any);
    md_t bias = m->bias ? md_create(2, (int64_t[]){1, m->out}, DTYPE_F32, dnnl_ab) : NULL;
    md_t dst = md_create(2, (int64_t[]){m->rows, m->out}, m->out_type, dnnl_ab);
    dnnl_primitive_attr_t attr = attr_create(m->sum, m->activation);
    dnnl_primitive_desc_t desc = NULL;
    dnnl_status_t status = dnnl_out_of_memory;
    if (src && weights && dst && attr) {
#if IS_V3
        status =
            dnnl_matmul_primitive_desc_create(&desc, dnn->engine, src, weights, bias, dst, attr);
#else
        dnnl_matmul_desc_t md;
        status = dnnl_matmul_desc_init(&md, src, weights, bias, dst);
        if (status == dnnl_success)
            status = dnnl_primitive_desc_create(&desc, &md, attr, dnn->engine, NULL);
#endif
    }
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    MD_FREE(src);
    MD_FREE(weights);
    MD_FREE(bias);
    MD_FREE(dst);
    return status == dnnl_success ? product_create(dnn, desc, m->bias) : NULL;
}

void dnn_product_destroy(struct dnn_product *p)
{
    if (!p)
        return;
    dnnl_memory_t memories[] = {p->src, p->weights, p->bias, p->dst, p->scratch};
    for (size_t i = 0; i < G_N_ELEMENTS(memories); i++)
        if (memories[i])
            dnnl_memory_destroy(memories[i]);
    if (p->primitive)
        dnnl_primitive_destroy(p->primitive);
    MD_FREE(p->layout.md);
    dnnl_primitive_desc_destroy(p->desc);
    g_free(p);
}

const struct dnn_layout *dnn_product_layout(const struct dnn_product *product)
{
    return &product->layout;
}

size_t dnn_product_scratch(const struct dnn_product *product)
{
    return product->scratch_bytes;
}

size_t dnn_product_source_bytes(const struct dnn_product *product)
{
    return dnnl_memory_desc_get_size(MD_CONST(md_query(product->desc, dnnl_query_src_md)));
}

size_t dnn_product_destination_bytes(const struct dnn_product *product)
{
    return dnnl_memory_desc_get_size(MD_CONST(md_query(product->desc, dnnl_query_dst_md)));
}

const char *dnn_product_name(const struct dnn_product *product)
{
    const char *name = "?";
    dnnl_primitive_desc_query(product->desc, dnnl_query_impl_info_str, 0, &name);
    return name;
}

bool dnn_product_run(struct dnn *dnn, struct dnn_product *p, const void *src, const void *weights,
                     const float *bias, void *dst, void *scratch)
{
    dnnl_exec_arg_t args[] = {
        {DNNL_ARG_SRC, p->src},   {DNNL_ARG_WEIGHTS, p->weights},
        {DNNL_ARG_DST, p->dst},   {DNNL_ARG_SCRATCHPAD, p->scratch},
        {DNNL_ARG_BIAS, p->bias},
    };
    dnnl_memory_set_data_handle(p->src, (void *)src);
    dnnl_memory_set_data_handle(p->weights, (void *)weights);
    dnnl_memory_set_data_handle(p->dst, dst);
    dnnl_memory_set_data_handle(p->scratch, scratch);
    if (p->bias)
        dnnl_memory_set_data_handle(p->bias, (void *)bias);
    return dnnl_primitive_execute(p->primitive, dnn->stream, p->bias ? 5 : 4, args) ==
               dnnl_success &&
           dnnl_stream_wait(dnn->stream) == dnnl_success;
}

struct dnn_layout *dnn_layout_copy(const struct dnn_layout *layout)
{
    struct dnn_layout *copy = g_new(struct dnn_layout, 1);
    copy->md = md_copy(layout->md);
    return copy;
}

void dnn_layout_free(struct dnn_layout *layout)
{
    if (!layout)
        return;
    MD_FREE(layout->md);
    g_free(layout);
}

bool dnn_layout_equal(const struct dnn_layout *a, const struct dnn_layout *b)
{
    return dnnl_memory_desc_equal(MD_CONST(a->md), MD_CONST(b->md)) != 0;
}

size_t dnn_layout_bytes(const struct dnn_layout *layout)
{
    return dnnl_memory_desc_get_size(MD_CONST(layout->md));
}

enum dtype dnn_layout_dtype(const struct dnn_layout *layout)
{
    dnnl_data_type_t type;
#if IS_V3
    if (dnnl_memory_desc_query(layout->md, dnnl_query_data_type, &type) != dnnl_success)
        type = dnnl_f32;
#else
    type = layout->md->data_type;
#endif
    return type == dnnl_bf16 ? DTYPE_BF16 : DTYPE_F32;
}

bool dnn_layout_is_matrix(const struct dnn_layout *layout)
{
    int rank;
#if IS_V3
    if (dnnl_memory_desc_query(layout->md, dnnl_query_ndims_s32, &rank) != dnnl_success)
        rank = 0;
#else
    rank = layout->md->ndims;
#endif
    return rank == 2;
}

bool dnn_pack(struct dnn *dnn, const struct dnn_layout *layout, int rank, const int64_t *dims,
              enum dtype type, const void *src, void *dst)
{
    /* oneDNN's matrix product takes [in, out]: a file's [out, in] is that, column by column. */
    bool conv = rank == 4;
    md_t plain = conv ? md_create(4, dims, type, dnnl_oihw)
                      : md_create(2, (int64_t[]){dims[1], dims[0]}, type, dnnl_ba);
    dnnl_primitive_desc_t desc = NULL;
    dnnl_primitive_t primitive = NULL;
    dnnl_memory_t from = NULL, to = NULL;
    bool ok = plain &&
              dnnl_reorder_primitive_desc_create(&desc, plain, dnn->engine, layout->md, dnn->engine,
                                                 NULL) == dnnl_success &&
              dnnl_primitive_create(&primitive, desc) == dnnl_success &&
              dnnl_memory_create(&from, plain, dnn->engine, (void *)src) == dnnl_success &&
              dnnl_memory_create(&to, layout->md, dnn->engine, dst) == dnnl_success;
    if (ok) {
        dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
        ok = dnnl_primitive_execute(primitive, dnn->stream, 2, args) == dnnl_success &&
             dnnl_stream_wait(dnn->stream) == dnnl_success;
    }
    if (from)
        dnnl_memory_destroy(from);
    if (to)
        dnnl_memory_destroy(to);
    if (primitive)
        dnnl_primitive_destroy(primitive);
    if (desc)
        dnnl_primitive_desc_destroy(desc);
    MD_FREE(plain);
    return ok;
}
