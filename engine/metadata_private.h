/* Shared by metadata.c, metadata_foreign.c and metadata_sampler.c. */
#pragma once

#include "engine/metadata.h"

#include <jansson.h>

struct metadata *metadata_new(const char *origin);
void metadata_add_take(struct metadata *m, const char *key, char *value);
/* As Python's str(): the shortest text that reads back as the same number. g_free(). */
char *metadata_number(double value);
/* "Sampler" and "Schedule type" when scheduler/ knows them, else a notice. */
void metadata_take_sampler(const struct metadata *m, struct request *r, GPtrArray *changes,
                           GPtrArray *notices);
