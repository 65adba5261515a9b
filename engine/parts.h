/*
 * Files that go with a model or replace a part of it, found by name in the user's folders
 * (engine/places.h): separate autoencoders, and TAESD for previews. Any thread; paths are the
 * caller's (g_free).
 */
#pragma once

#include "engine/library.h"
#include "engine/places.h"

/*
 * The autoencoder to use with a model: that of the name or path, or without a name ("Automatic")
 * the one that lies beside it, NAME.vae.safetensors. NULL without an error: the model's own
 * ("None", too). NULL with a sentence: there is none of that name.
 */
char *parts_find_vae(char **folders, const struct model_info *model, const char *name,
                     GError **error);
/* All there are (char *, paths), for a window to offer. */
GPtrArray *parts_vaes(char **folders);

/* Names that a prompt can call LoRAs (PLACE_LORAS) or textual inversions (PLACE_EMBEDDINGS) by:
 * file names without their ending, each once, in order (char *). A name that the grammar could not
 * hold is left out. */
GPtrArray *parts_add_ons(char **folders, enum place_kind kind);

/* TAESD's decoder for SD 1.x and 2.x or for SDXL, or NULL: taesd_decoder.safetensors,
 * taesdxl_decoder.safetensors (or without _decoder). */
char *parts_find_taesd(char **folders, bool sdxl);
