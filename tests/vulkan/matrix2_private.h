/* What the files of VK_LAYER_FIGMENT_matrix2 share: the next layer, and tables of objects. */
#pragma once

#include "tests/vulkan/interpreter/interpreter.h"
#include "tests/vulkan/matrix2_run.h"

/* The next layer's functions. */
extern struct vk_api matrix2_next;

/* Objects by handle, each freed with its entry. */
GHashTable *matrix2_table(GDestroyNotify destroy);
gpointer matrix2_keep(GHashTable *table, gpointer handle, gpointer object);
gpointer matrix2_look_up(GHashTable *table, gpointer handle);
bool matrix2_forget(GHashTable *table, gpointer handle);
/* Of sets and command buffers, whose structs begin with their pool. */
void matrix2_forget_pool(GHashTable *table, gpointer pool);

/* matrix2_pipelines.c; NULL = the driver's */
struct interpreter *matrix2_pipeline(VkPipeline pipeline);
/* matrix2_memory.c; what is bound is where the driver mapped it */
void matrix2_bound(VkDescriptorSet set, struct interpreter_dispatch *dispatch);

/* Each file has the functions that it looks at, and tables that the first device makes. */
void matrix2_pipelines_enter(void);
void matrix2_memory_enter(VkDevice device, PFN_vkGetDeviceProcAddr get);
extern const struct layer_hook matrix2_pipeline_hooks[], matrix2_memory_hooks[];

#define HOOK(name, function)                                                                       \
    {                                                                                              \
        "vk" #name, (PFN_vkVoidFunction)function                                                   \
    }
