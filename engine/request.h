/*
 * What a user asks for: one struct, plain, the same for the command line, the window and a picture
 * read back. A zeroed request with a prompt is complete: zero (or NULL) always means "the default",
 * which is the model's own where it has one (figment.json, see library.h), else what users of other
 * programs expect (20 steps, guidance 7, DPM++ 2M, 512 x 512).
 *
 * Strings are borrowed by engine_submit(), which copies them; request_copy() and request_clear()
 * are for owners. No thread of its own.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum rng {
    RNG_CPU, /* torch's CPU generator: what diffusers and ComfyUI draw */
    RNG_GPU, /* CUDA's Philox: what A1111 draws */
};

/* What weights in a prompt do: A1111's option “Emphasis”, or ComfyUI's way. */
enum emphasis {
    EMPHASIS_ORIGINAL,
    EMPHASIS_NO_NORM,
    EMPHASIS_COMFY,  /* with the rest of its grammar: no [ ], AND, BREAK, # */
    EMPHASIS_IGNORE, /* read, but all 1 */
    EMPHASIS_NONE,   /* brackets are text */
};

enum picture_format {
    PICTURE_PNG,
    PICTURE_JPEG,
};

struct request {
    char *prompt, *negative;
    char *styles; /* names in styles.csv, one a line, put around the prompts in this order */
    enum emphasis emphasis;
    char *model;       /* name in the library, or path of a folder or a .safetensors file */
    char *vae;         /* name of a file in the library, or a path; NULL = the model's own */
    bool taesd;        /* decode with TAESD: a sketch of the picture, fast */
    bool low_memory;   /* every network is gone from memory when it has done its part */
    int width, height; /* pixels, multiples of 8, 64 to 4096 */
    int steps;         /* 1 to 500 */
    double cfg;        /* guidance; 1 = none */
    char *sampler;     /* A1111's, ComfyUI's or diffusers' name (scheduler/scheduler.h) */
    char *schedule;    /* "Karras", "SGM Uniform", ...; NULL = what suits the sampler */
    bool fixed_seed;   /* false: a new random seed for each run */
    uint64_t seed;     /* of the first picture; the n-th has seed + n */
    int batch;         /* pictures, 1 to 999; 0 = 1 */
    int clip_skip;     /* as A1111: 1 = the last layer */
    enum rng rng;
    bool fixed_eta; /* false: 0 for DDIM, 1 for ancestral samplers */
    double eta;
    uint64_t variation_seed; /* blended into the noise of `seed` (slerp), 0 strength = not */
    double variation_strength;

    char *init_path; /* a PNG or JPEG to start from (img2img), NULL = noise only */
    char *mask_path; /* white where it may change (inpainting), NULL = everywhere */
    double strength; /* of the change, 0 to 1; 0 = 0.75 */

    char *device;    /* "auto", "cpu", "vulkan", "vulkan:1" */
    char *precision; /* "auto", "f32", "f16", "bf16" */

    bool no_save;  /* the picture only goes to the event */
    char *folder;  /* NULL = the pictures folder */
    char *pattern; /* name inside it (save.h); NULL = "[number]-[seed]" */
    char *output;  /* instead of both: a file path or a path that ends in a pattern */
    enum picture_format format;
    int quality;      /* JPEG, 1 to 100; 0 = 90 */
    bool no_metadata; /* leave the settings out of the file */

    int preview_every; /* steps between previews; 0 = 1; -1 = never */

    char *noise_path;  /* .npy, unit variance, [B, 4, h, w] F32: instead of the seed's noise */
    char *dump_folder; /* .npy files of text, latents and picture (DESIGN section 6) */
    bool dump_tape;    /* the networks as text in an EVENT_TAPE */
};

/* A deep copy into caller's memory; request_clear() frees what it holds (and zeroes it). */
void request_copy(struct request *copy, const struct request *request);
void request_clear(struct request *request);
