/*
 * Compute pipelines: one layout for all of them, one pipeline per (shader, specialisation), made
 * when first asked for. The driver's compiled code is kept in $XDG_CACHE_HOME/figment, in a file
 * named after the device and the driver, written atomically and checked by a digest when read.
 * Owned by the back end, one thread.
 */
#pragma once

#include "compute/vulkan/device.h"

#define SLOTS 8 /* storage buffers 0..7; texel buffers 8..15 view the same inputs */
#define PUSH_BYTES 128
#define MAX_CONSTANTS 16

struct pipelines;

struct pipeline_key {
    const char *shader; /* a name in shaders.h, without the suffix of the number format */
    uint32_t constants[MAX_CONSTANTS]; /* specialisation constants 0.. */
    uint32_t constant_count;
    uint32_t subgroup; /* lanes that the shader is written for; 0 = any */
};

struct pipelines *pipelines_create(struct device *d, GError **error);
void pipelines_destroy(struct pipelines *p); /* takes NULL */

VkPipelineLayout pipelines_layout(const struct pipelines *p);
VkDescriptorSetLayout pipelines_set_layout(const struct pipelines *p);
/* Borrowed. Fails when the driver cannot build it, or there is no such shader (a sentence). */
VkPipeline pipelines_get(struct pipelines *p, const struct pipeline_key *key, const char *suffix,
                         GError **error);
/* One line for each pipeline that was asked for: "<shader><suffix>,<subgroup>,<constant 0>,..." */
void pipelines_list(const struct pipelines *p, GString *out);
/* Which variants of pipelines the driver has compiled (warm.c), by a text. */
bool pipelines_is_warm(const struct pipelines *p, const char *variant);
void pipelines_set_warm(struct pipelines *p, char *variant); /* takes it */
bool pipelines_have(const char *shader, const char *suffix);
/* Writes the cache file when something new was compiled. Failing to is only logged. */
void pipelines_save(struct pipelines *p);
/* A file next to the pipeline cache, for what is measured per device: "<device+driver><suffix>". */
char *pipelines_cache_path(const struct device *d, const char *suffix);
