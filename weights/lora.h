/*
 * Add-ons that change a model's parameters: LoRA in the spellings of kohya's scripts, diffusers and
 * PEFT, with LyCORIS' LoHa, LoKr, full differences and DoRA. Applying one computes nothing: the
 * touched parameters get a recipe and a new revision, and a back end that packs them again reads
 * W' = W + sum(weight * delta), computed in F32. Without the recipe the file is read as before, bit
 * for bit.
 *
 * One thread (reading the patched parameters: any). Owner: see each function. Failure: a sentence.
 * Sources: arXiv 2106.09685 (LoRA), 2108.06098 (Hadamard), 2309.14859 (LyCORIS), 2402.09353 (DoRA).
 */
#pragma once

#include "weights/model.h"

struct lora;

/*
 * Opens and checks a file: pairs complete, ranks and alphas sensible, numbers finite. Models of
 * which parameters it has recipes in keep it alive.
 */
struct lora *lora_open(const char *path, GError **error);
void lora_close(struct lora *l); /* takes NULL */

const char *lora_alias(const struct lora *l); /* the name it was trained under, or NULL */

struct lora_use {
    struct lora *lora;
    double unet, text; /* weights, -10 to 10 */
};

/*
 * Makes exactly these add-ons those of the model (n = 0: none). Parameters whose recipe stays the
 * same keep their revision. Adds a sentence to `notes` (of g_free() strings; may be NULL) for each
 * add-on that fits in part only. On failure (one that fits nowhere, was made for another family, or
 * has an impossible weight) the model is as before.
 */
bool lora_apply(struct model *m, const struct lora_use *uses, size_t n, GPtrArray *notes,
                GError **error);
