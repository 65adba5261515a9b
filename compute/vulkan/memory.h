/*
 * Device memory: whole blocks (arenas, kept values, staging) and pieces of shared blocks (weights),
 * so that the number of allocations stays small. Every byte is counted in the back end's bytes_now.
 * Owned by the back end, one thread. Allocation fails with the sentence of VULKAN_ERROR_MEMORY and
 * leaves nothing behind.
 */
#pragma once

#include "compute/vulkan/queue.h"

struct memory;

enum memory_use {
    MEMORY_DEVICE,   /* fast for shaders; mapped where the device shares memory with the CPU */
    MEMORY_UPLOAD,   /* mapped, written by the CPU */
    MEMORY_DOWNLOAD, /* mapped, read by the CPU */
};

struct memory_block {
    VkBuffer buffer;
    VkDeviceMemory memory;
    size_t bytes;
    uint8_t *mapped; /* NULL: only through gpu_memory_upload() and gpu_memory_download() */
    GArray *free;    /* of blocks that hold pieces */
};

struct memory_piece {
    struct memory_block *block;
    size_t offset, bytes;
};

struct memory *gpu_memory_create(struct device *d, struct backend *count_in);
void gpu_memory_destroy(struct memory *m); /* takes NULL */

/* `what` is for the sentence: "the U-Net's activations". */
struct memory_block *gpu_memory_block_create(struct memory *m, size_t bytes, enum memory_use use,
                                             const char *what, GError **error);
void gpu_memory_block_destroy(struct memory *m, struct memory_block *block); /* takes NULL */

bool gpu_memory_piece_create(struct memory *m, size_t bytes, const char *what,
                             struct memory_piece *piece, GError **error);
void gpu_memory_piece_destroy(struct memory *m, struct memory_piece *piece);

/* Copies between the CPU and a block, through a staging ring where it is not mapped; done (or, for
 * an upload, ordered before every later submission) when they return. */
bool gpu_memory_upload(struct memory *m, const struct memory_block *block, size_t offset,
                       const void *data, size_t bytes, GError **error);
bool gpu_memory_fill(struct memory *m, const struct memory_block *block, size_t offset,
                     size_t bytes, uint8_t byte, GError **error);
bool gpu_memory_download(struct memory *m, const struct memory_block *block, size_t offset,
                         void *data, size_t bytes, GError **error);
