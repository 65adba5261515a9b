#version 450
#pragma use_vulkan_memory_model
/* conv2d and linear on cooperative matrices; see gemm_matrix.glsl. Needs glslang 14: the compiled form
 * is in matrix/. */
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "gemm.glsl"
#include "gemm_matrix.glsl"
