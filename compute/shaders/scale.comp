#version 450
#extension GL_GOOGLE_include_directive : require
#define OPERATION(v) (v) * p.factor
#include "unary.glsl"
