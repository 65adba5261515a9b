#version 450
#extension GL_GOOGLE_include_directive : require
#define OPERATION(v) soft_clamp(v)
#include "unary.glsl"
