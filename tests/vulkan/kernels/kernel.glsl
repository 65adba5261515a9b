/* What the kernels of tests/vulkan/interpreter.c begin with. */
#pragma use_vulkan_memory_model
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_NV_cooperative_matrix2 : require

layout(local_size_x_id = 0) in;

#define MATRIX_A(type, rows, columns)                                                              \
    coopmat<type, gl_ScopeWorkgroup, rows, columns, gl_MatrixUseA>
#define MATRIX_B(type, rows, columns)                                                              \
    coopmat<type, gl_ScopeWorkgroup, rows, columns, gl_MatrixUseB>
#define SUM(type, rows, columns)                                                                   \
    coopmat<type, gl_ScopeWorkgroup, rows, columns, gl_MatrixUseAccumulator>
