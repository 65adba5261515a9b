/*
 * Seeded normal noise, the same numbers as the tools people share seeds from.
 *
 * NOISE_CPU is torch.randn(shape, generator=torch.Generator().manual_seed(seed)) on the CPU
 * (diffusers, ComfyUI): mt19937, bit for bit as PyTorch's AVX2 build makes it for 16 values or
 * more, and as every build for fewer. PyTorch on a CPU with AVX-512 or without AVX2 calls libm
 * instead and differs from its own AVX2 build in the last bits (up to 2.1e-6 here); those values
 * are NOISE_CPU_LIBM. A seed must give the same picture on every machine, so which of the two is
 * used never depends on the CPU.
 * NOISE_GPU is torch.randn(shape, device="cuda") as A1111's rng_philox.py imitates it: Philox4x32
 * with 10 rounds. One draw of n values uses the counters (draw number, 0, value number, 0).
 *
 * Every sampler takes its noise from one generator per picture: the starting noise is the first
 * draw, the noise of the steps the following draws, in the order of the plan's rows. DPM++ SDE,
 * 2M SDE and 3M SDE draw the same way, so their pictures equal those of k-diffusion in
 * distribution and not value for value: it takes them from a Brownian tree of its own.
 *
 * Owner: the caller. Threads: a generator belongs to one thread. No failure.
 * Layout: PyTorch's, [channels, height, width].
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum noise_kind { NOISE_CPU, NOISE_CPU_LIBM, NOISE_GPU };

struct noise {
    enum noise_kind kind;
    uint64_t seed;
    uint32_t draws;      /* Philox: draws so far */
    uint32_t state[624]; /* mt19937 */
    int used;            /* mt19937: words of state already given out */
    bool has_spare;      /* the second value of a pair, kept for the next small draw */
    double spare;
};

/* mt19937 is seeded with the low 32 bits, as torch does. */
void noise_init(struct noise *noise, enum noise_kind kind, uint64_t seed);

/* One randn of n values. */
void noise_draw(struct noise *noise, float *values, size_t n);

/*
 * A1111's "variation seed": between low and high, [channels, height, width]. strength 0 gives low,
 * 1 gives high. Both oddities of A1111 are kept: the angle is taken along the height of every
 * column, and when the mean cosine is above 0.9995 the two weights are swapped. into may be low.
 */
void noise_slerp(float *into, const float *low, const float *high, double strength, int channels,
                 int height, int width);

/* How a picture's first noise is made, as A1111's ImageRNG. All 0 but the sizes: plain noise. */
struct noise_start {
    int channels, height, width; /* of the latent */
    uint64_t seed;
    double variation; /* 0: none */
    uint64_t variation_seed;
    /* "seed resize", in latent cells; 0: none. The noise is drawn at this size and pasted in. */
    int from_height, from_width;
    int64_t eta_delta; /* ENSD: later draws come from seed + eta_delta; 0: go on */
};

/* values [channels, height, width]. Leaves noise ready for the draws of the steps. */
void noise_first(struct noise *noise, enum noise_kind kind, const struct noise_start *start,
                 float *values);
