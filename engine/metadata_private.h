/* Shared by metadata.c and its metadata_*.c. */
#pragma once

#include "engine/metadata.h"

#include <jansson.h>

struct metadata *metadata_new(const char *origin);
void metadata_add_take(struct metadata *m, const char *key, char *value);
void metadata_drop(struct metadata *m, const char *key);
/* What JSON says under A1111's key; nothing when it is no text and no number. */
void metadata_take_json(struct metadata *m, const char *key, const json_t *value);
void metadata_take_text(char **field, const json_t *value);
void metadata_take_size(struct metadata *m, const json_t *width, const json_t *height);
void metadata_take_model(struct metadata *m, const char *key, const json_t *value);
/* <lora:NAME:WEIGHT> at the end of the prompt. */
void metadata_add_lora(struct metadata *m, const json_t *name, const json_t *weight);
/* A ComfyUI graph; NULL when nothing in it samples. */
struct metadata *metadata_from_comfy(const json_t *graph);
/* What stable-diffusion.cpp appends to A1111's text, over what the text says; nothing when it is no
 * such JSON. */
void metadata_take_sdcpp(struct metadata *m, const char *json);
/* The text of a JPEG: A1111's, or Fooocus' JSON. */
struct metadata *metadata_from_comment(const char *text);
/* As Python's str(): the shortest text that reads back as the same number. g_free(). */
char *metadata_number(double value);
/* "Sampler" and "Schedule type" when scheduler/ knows them, else a notice. */
void metadata_take_sampler(const struct metadata *m, struct request *r, GPtrArray *changes,
                           GPtrArray *notices);
