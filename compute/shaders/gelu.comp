#version 450
#extension GL_GOOGLE_include_directive : require
#define OPERATION(v) gelu(v)
#include "unary.glsl"
