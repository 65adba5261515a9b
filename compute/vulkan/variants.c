#include "compute/vulkan/variants.h"

#include "compute/shaders/push.h"

#include <glib.h>
#include <string.h>

#define WHOLE UINT32_MAX

static const struct variant_axis always = {"aligned", 1, WHOLE, 1, {1}};
static const struct variant_axis aligned = {"aligned", 1, WHOLE, 2, {0, 1}};
static const struct variant_axis silu = {"silu", 2, WHOLE, 2, {0, 1}};
static const struct variant_axis moments = {"moments", 2, WHOLE, 3, {0, 1, 2}};
static const struct variant_axis blocks = {"blocks", 2, WHOLE, 3, {1, 2, 3}};

static const struct variant_axis bias = {"bias", 2, FLAG_BIAS, 2, {0, FLAG_BIAS}};
static const struct variant_axis residual = {"residual", 2, FLAG_RESIDUAL, 2, {0, FLAG_RESIDUAL}};
static const struct variant_axis broadcast = {
    "broadcast", 2, FLAG_BROADCAST, 2, {0, FLAG_BROADCAST}};
static const struct variant_axis geglu = {"geglu", 2, FLAG_GEGLU, 2, {0, FLAG_GEGLU}};
static const struct variant_axis f32_output = {
    "f32 output", 2, FLAG_F32_OUTPUT, 2, {0, FLAG_F32_OUTPUT}};
static const struct variant_axis conv = {"conv2d", 2, FLAG_CONV, 2, {0, FLAG_CONV}};
static const struct variant_axis upsample = {"upsample", 2, FLAG_UPSAMPLE, 2, {0, FLAG_UPSAMPLE}};
static const struct variant_axis activation = {
    "activation",
    3,
    WHOLE,
    5,
    {ACTIVATION_NONE, ACTIVATION_SILU, ACTIVATION_GELU, ACTIVATION_QUICK_GELU, ACTIVATION_RELU}};
#define SUMS &bias, &residual, &broadcast, &geglu, &f32_output, &activation
#define EPILOGUE SUMS, &conv, &upsample

static const struct variant_axis rows = {"rows", 4, WHOLE, 3, {4, 8, 16}};
static const struct variant_axis tile = {"tile", 4, WHOLE, 3, {32, 64, 128}};
static const struct variant_axis fragment_m = {"m", 5, WHOLE, 3, {8, 16, 32}};
static const struct variant_axis fragment_n = {"n", 6, WHOLE, 3, {8, 16, 32}};
static const struct variant_axis fragment_k = {"k", 7, WHOLE, 3, {8, 16, 32}};
static const struct variant_axis head = {"head", 2, WHOLE, 8, {32, 48, 64, 80, 128, 160, 256, 512}};
static const struct variant_axis head_rows = {"rows", 3, WHOLE, 2, {1, 2}};
static const struct variant_axis head_groups = {"groups", 4, WHOLE, 3, {1, 2, 4}};

static const struct variant_axis tile2 = {"tile", 4, WHOLE, 2, {64, 128}};
static const struct variant_axis box = {"box", 5, WHOLE, 4, {8, 16, 64, 128}};
static const struct variant_axis depth = {"depth", 6, WHOLE, 2, {32, 64}};

static const struct variant_axis chunk = {
    "chunk", 2, WHOLE, 8, {32, 64, 96, 128, 160, 192, 224, 256}};
static const struct variant_axis chunks = {"chunks", 3, WHOLE, 2, {1, 2}};
static const struct variant_axis columns = {"columns", 2, WHOLE, 4, {32, 40, 64, 80}};
static const struct variant_axis causal = {"causal", 3, WHOLE, 2, {0, 1}};
static const struct variant_axis deep = {"deep", 4, WHOLE, 2, {0, 1}};
static const struct variant_axis queries = {"queries", 4, WHOLE, 2, {32, 64}};

/* What the planner (compute/plan.c) fuses with what. */
static bool sums(const uint32_t *constants, bool f16)
{
    uint32_t flags = constants[2];
    if ((flags & FLAG_GEGLU) && (constants[3] || (flags & ~(uint32_t)(FLAG_GEGLU | FLAG_BIAS))))
        return false;
    return !(flags & FLAG_F32_OUTPUT) || (f16 && !(flags & FLAG_RESIDUAL));
}

static bool epilogue(const uint32_t *constants, bool f16)
{
    uint32_t flags = constants[2];
    return sums(constants, f16) &&
           ((flags & FLAG_CONV) || !(flags & (FLAG_BROADCAST | FLAG_UPSAMPLE)));
}

static bool head_chunks(const uint32_t *constants, bool f16)
{
    (void)f16;
    return (constants[3] == 1 || constants[2] == 256) && (constants[4] == 64 || constants[2] > 96);
}

/* compute/vulkan/encode_attention.c */
static bool slices(const uint32_t *constants, bool f16)
{
    bool is_causal = constants[3] != 0, is_deep = constants[4] != 0;
    (void)f16;
    return (!is_causal && !is_deep) || (is_causal != is_deep && constants[2] == 64);
}

/* The rows of a linear layer are a line as long as the tile. */
static bool boxes(const uint32_t *constants, bool f16)
{
    uint32_t flags = constants[2];
    bool linear = constants[5] >= 64;
    return sums(constants, f16) &&
           (linear ? constants[5] == constants[4] && !(flags & FLAG_BROADCAST)
                   : !(flags & FLAG_GEGLU));
}

/* compute/vulkan/encode_attention.c */
static bool heads(const uint32_t *constants, bool f16)
{
    uint32_t size = constants[2], high = constants[3], groups = constants[4];
    (void)f16;
    if (size > 160)
        return high == 2 && groups <= 2;
    return high == 2 ? size <= 80 && groups == 4 : groups >= 2;
}

const struct variant_shader variant_shaders[] = {
    {"silu", " silu ", {&always}, NULL, false},
    {"gelu", " gelu ", {&always}, NULL, false},
    {"quick_gelu", " quick_gelu ", {&always}, NULL, false},
    {"relu", " relu ", {&always}, NULL, false},
    {"soft_clamp", " soft_clamp ", {&always}, NULL, false},
    {"scale", " scale ", {&always}, NULL, false},
    {"geglu", " geglu ", {&aligned}, NULL, false},
    {"add", " add ", {&aligned}, NULL, false},
    {"concat", " concat ", {&aligned}, NULL, false},
    {"upsample_nearest", " upsample_nearest ", {&aligned}, NULL, false},
    {"embedding", " embedding ", {&aligned}, NULL, false},
    {"time_embedding", " time_embedding ", {&always}, NULL, false},
    {"layer_norm", " layer_norm ", {&aligned}, NULL, false},
    {"group_norm", " group_norm ", {&aligned, &silu}, NULL, false},
    {"group_norm_stats", " group_norm ", {&aligned}, NULL, false},
    {"group_norm_scale", " group_norm ", {&always, &moments}, NULL, false},
    {"attention", " attention ", {&aligned, &blocks}, NULL, false},
    {"attention_register", " attention ", {&aligned, &columns, &causal, &deep}, slices, false},
    {"attention_matrix",
     " attention ",
     {&aligned, &head, &head_rows, &head_groups, &fragment_m, &fragment_n, &fragment_k},
     heads,
     true},
    {"attention_matrix2", " attention ", {&always, &chunk, &chunks, &queries}, head_chunks, false},
    {"conv2d", " conv2d linear ", {&aligned, EPILOGUE}, epilogue, false},
    {"conv2d_reduce", " conv2d linear ", {&aligned, SUMS}, sums, false},
    {"conv2d_register", " conv2d linear ", {&aligned, EPILOGUE, &rows}, epilogue, false},
    {"conv2d_matrix",
     " conv2d linear ",
     {&aligned, EPILOGUE, &tile, &fragment_m, &fragment_n, &fragment_k},
     epilogue,
     true},
    {"conv2d_matrix2", " conv2d linear ", {&always, SUMS, &tile2, &box, &depth}, boxes, false},
};
const size_t variant_shader_count = G_N_ELEMENTS(variant_shaders);

const struct variant_shader *variant_find(const char *shader)
{
    for (size_t i = 0; i < variant_shader_count; i++)
        if (strcmp(variant_shaders[i].name, shader) == 0)
            return &variant_shaders[i];
    return NULL;
}

static bool on_axis(const struct variant_axis *axis, uint32_t value)
{
    for (uint32_t i = 0; i < axis->count; i++)
        if (axis->values[i] == (value & axis->mask))
            return true;
    return false;
}

bool variant_allowed(const struct variant_shader *shader, const uint32_t *constants, uint32_t count,
                     bool f16)
{
    for (uint32_t c = 1; c < count; c++) {
        uint32_t known = 0;
        for (int i = 0; shader->axes[i]; i++) {
            if (shader->axes[i]->constant != c)
                continue;
            known |= shader->axes[i]->mask;
            if (!on_axis(shader->axes[i], constants[c]))
                return false;
        }
        if (constants[c] & ~known)
            return false;
    }
    return !shader->together || shader->together(constants, f16);
}
