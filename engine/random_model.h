/*
 * Models of the published shapes with random parameters and no files, for `figment bench` and tests
 * of shapes, counts and memory. As model_open() gives them: close with model_close(). Nothing is
 * drawn before a tape packs it.
 */
#pragma once

#include "weights/model.h"

/* "sd15", "sd15-inpaint", "sd21", "sdxl", "sdxl-refiner"; ends with NULL. */
const char *const *random_model_names(void);

/* Parameters are stored as f16. NULL with a sentence when there is no such shape. */
struct model *random_model_create(const char *name, uint64_t seed, GError **error);
