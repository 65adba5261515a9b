#version 450
/* conv2d and linear (a linear layer is a 1 x 1 convolution over rows); see gemm.glsl. */
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "gemm.glsl"
#include "gemm_shared.glsl"
