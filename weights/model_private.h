/* Between model.c and the two ways in: model_folder.c and model_file.c. */
#pragma once

#include "weights/model.h"

/* Each fills an empty model whose path and label are set. */
bool model_open_folder(struct model *m, GError **error);
bool model_open_file(struct model *m, GError **error);

/*
 * Parameters of the component in the open folder dir_fd, which holds BASE.safetensors, a variant of
 * it, or shards. `folder` names it in messages about files, `source` (the model) in those about the
 * set. `rename`, if any, gives the new name of a tensor, or NULL when it keeps its own.
 */
struct weights *folder_weights(int dir_fd, const char *folder, const char *base, const char *source,
                               char *(*rename)(const char *), GError **error);

/* The names that VAE attention had before diffusers 0.17: query, key, value, proj_attn. A new
 * string, or NULL. */
char *names_old_attention(const char *name);

/* What the configurations say. */
enum model_family model_family_of(const json_t *unet_config);
