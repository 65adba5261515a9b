#version 450
#extension GL_GOOGLE_include_directive : require
#define OPERATION(v) quick_gelu(v)
#include "unary.glsl"
