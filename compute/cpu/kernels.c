/* Compiled once per instruction set; see kernels.h. */
#include "compute/cpu/kernels.h"
#include "compute/cpu/kernels_private.h"
#include "compute/cpu/vector.h"

#include <math.h>

#define PANEL (2 * VECTOR)

static void from_bf16(const uint16_t *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)x[i] << 16;
        memcpy(&y[i], &bits, sizeof bits);
    }
}

static void to_bf16(const float *x, uint16_t *y, size_t n)
{
    size_t i = 0;
    for (; i + VECTOR <= n; i += VECTOR)
        vec_store_bf16(y + i, vec_load(x + i));
    if (i == n)
        return;
    /* The last few through a copy: nothing is read or written beside them. */
    float from[VECTOR] = {0};
    uint16_t made[VECTOR];
    memcpy(from, x + i, (n - i) * sizeof *from);
    vec_store_bf16(made, vec_load(from));
    memcpy(y + i, made, (n - i) * sizeof *made);
}

static void pair(const float *w, size_t depth, uint32_t *to)
{
    static const float zeros[PANEL];
    for (size_t i = 0; i < depth; i += 2, w += 2 * PANEL, to += PANEL) {
        const float *next = i + 1 < depth ? w + PANEL : zeros;
        for (size_t k = 0; k < PANEL; k += VECTOR) {
            vec_u32 both = vec_to_bf16(vec_load(w + k)) | vec_to_bf16(vec_load(next + k)) << 16;
            memcpy(to + k, &both, sizeof both);
        }
    }
}

static void unpair(const uint32_t *pairs, size_t depth, float *w)
{
    for (size_t i = 0; i < depth; i++, w += PANEL) {
        const uint32_t *from = pairs + i / 2 * PANEL;
        uint32_t bits[PANEL];
        for (size_t k = 0; k < PANEL; k++)
            bits[k] = i % 2 ? from[k] & 0xffff0000u : from[k] << 16;
        memcpy(w, bits, sizeof bits);
    }
}

static void activate(enum op op, const float *x, float *y, size_t n)
{
    switch (op) {
    case OP_silu:
        for (size_t i = 0; i < n; i++)
            y[i] = silu_of(x[i]);
        break;
    case OP_gelu:
        for (size_t i = 0; i < n; i++)
            y[i] = gelu_of(x[i]);
        break;
    case OP_quick_gelu:
        for (size_t i = 0; i < n; i++)
            y[i] = quick_gelu_of(x[i]);
        break;
    case OP_relu:
        for (size_t i = 0; i < n; i++)
            y[i] = x[i] < 0 ? 0 : x[i]; /* NaN stays */
        break;
    case OP_soft_clamp:
        for (size_t i = 0; i < n; i++)
            y[i] = soft_clamp_of(x[i]);
        break;
    default:
        g_assert_not_reached();
    }
}

static void geglu(const float *x, const float *gate, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] * gelu_of(gate[i]);
}

static void add(const float *a, const float *b, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = a[i] + b[i];
}

static void scale(const float *x, float factor, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] * factor;
}

/* Lane by lane, lanes added in order: vector code and the same result for every width of it. */
#define LANES 16

static float sum_of(const float *x, size_t n)
{
    float lanes[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t k = 0; k < LANES; k++)
            lanes[k] += x[i + k];
    for (; i < n; i++)
        lanes[i % LANES] += x[i];
    double sum = 0;
    for (size_t k = 0; k < LANES; k++)
        sum += lanes[k];
    return (float)sum;
}

static float square_sum_of(const float *x, float mean, size_t n)
{
    float lanes[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t k = 0; k < LANES; k++)
            lanes[k] += (x[i + k] - mean) * (x[i + k] - mean);
    for (; i < n; i++)
        lanes[i % LANES] += (x[i] - mean) * (x[i] - mean);
    double sum = 0;
    for (size_t k = 0; k < LANES; k++)
        sum += lanes[k];
    return (float)sum;
}

static void layer_norm(const float *x, const float *weight, const float *bias, float eps, float *y,
                       size_t n)
{
    float mean = sum_of(x, n) / (float)n;
    float inverse = 1.0f / sqrtf(square_sum_of(x, mean, n) / (float)n + eps);
    for (size_t i = 0; i < n; i++)
        y[i] = (x[i] - mean) * inverse;
    if (weight)
        for (size_t i = 0; i < n; i++)
            y[i] *= weight[i];
    if (bias)
        for (size_t i = 0; i < n; i++)
            y[i] += bias[i];
}

static void moments(const float *restrict x, const float *restrict shift, float *restrict sum,
                    float *restrict square, size_t rows, size_t channels)
{
    for (size_t r = 0; r < rows; r++, x += channels)
        for (size_t c = 0; c < channels; c++) {
            float d = x[c] - shift[c];
            sum[c] += d;
            square[c] += d * d;
        }
}

static void affine(const float *x, const float *factor, const float *offset, bool silu, float *y,
                   size_t channels)
{
    if (silu)
        for (size_t c = 0; c < channels; c++)
            y[c] = silu_of(x[c] * factor[c] + offset[c]);
    else
        for (size_t c = 0; c < channels; c++)
            y[c] = x[c] * factor[c] + offset[c];
}

const struct kernels KERNELS = {
    .name = KERNELS_NAME,
    .panel = PANEL,
    .product = KERNELS_PRODUCT,
    .product_bf16 = KERNELS_PRODUCT_BF16,
    .pack = KERNELS_PACK,
    .pair = pair,
    .unpair = unpair,
    .winograd_weights = KERNELS_WINOGRAD_WEIGHTS,
    .winograd_input = KERNELS_WINOGRAD_INPUT,
    .winograd_output = KERNELS_WINOGRAD_OUTPUT,
    .from_bf16 = from_bf16,
    .to_bf16 = to_bf16,
    .activate = activate,
    .geglu = geglu,
    .add = add,
    .scale = scale,
    .layer_norm = layer_norm,
    .moments = moments,
    .affine = affine,
    .attention = KERNELS_ATTENTION,
    .attention_bf16 = KERNELS_ATTENTION_BF16,
#ifdef __AVX512BF16__
    .fast_bf16 = true,
#endif
};
