#version 450
/* conv2d and linear on lavapipe; see gemm_register.glsl. */
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "gemm.glsl"
#include "gemm_register.glsl"
