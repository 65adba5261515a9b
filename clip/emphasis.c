#include "clip/emphasis.h"

#include <math.h>

bool emphasis_needed(const float *weights, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (weights[i] != 1)
            return true;
    return false;
}

static double sum(const float *z, size_t n)
{
    double s = 0;
    for (size_t i = 0; i < n; i++)
        s += z[i];
    return s;
}

void emphasis_no_norm(float *z, const float *weights, size_t length, size_t width)
{
    for (size_t i = 0; i < length; i++)
        for (size_t j = 0; weights[i] != 1 && j < width; j++)
            z[i * width + j] *= weights[i];
}

void emphasis_original(float *z, const float *weights, size_t length, size_t width)
{
    double before = sum(z, length * width);
    emphasis_no_norm(z, weights, length, width);
    double ratio = before / sum(z, length * width);
    /* With weights of 1 the two sums are equal and the ratio is exactly 1. */
    for (size_t i = 0; isfinite(ratio) && ratio != 1 && i < length * width; i++)
        z[i] = (float)(z[i] * ratio);
}

void emphasis_comfy(float *z, const float *empty, const float *weights, size_t length, size_t width)
{
    for (size_t i = 0; i < length; i++) {
        for (size_t j = 0; weights[i] != 1 && j < width; j++) {
            size_t at = i * width + j;
            z[at] = (z[at] - empty[at]) * weights[i] + empty[at];
        }
    }
}
