/* Between lora.c (files and recipes), lora_names.c (what a key means) and lora_delta.c (numbers).
 */
#pragma once

#include "weights/lora.h"
#include "weights/weights_private.h"

/* What a tensor of an add-on is to its module, by the end of its name. */
enum lora_role {
    LORA_DOWN,
    LORA_UP,
    LORA_MID,
    LORA_ALPHA,
    LORA_DORA,
    HADA_W1A,
    HADA_W1B,
    HADA_W2A,
    HADA_W2B,
    HADA_T1,
    HADA_T2,
    LOKR_W1,
    LOKR_W1A,
    LOKR_W1B,
    LOKR_W2,
    LOKR_W2A,
    LOKR_W2B,
    LOKR_T2,
    DIFF_WEIGHT,
    DIFF_BIAS,
    LORA_ROLES,
};

enum lora_kind { LORA_PRODUCT, LORA_HADAMARD, LORA_KRONECKER, LORA_DIFFERENCE };

struct lora_module {
    char *name; /* as in the file, cleaned of what spellings wrap around it */
    const struct st_tensor *role[LORA_ROLES];
    enum lora_kind kind;
    bool has_weight;   /* changes a weight (a difference may change a bias alone) */
    size_t rank;       /* 0 where the kind has none */
    size_t out, inner; /* of the matrix that it is added to */
    double scale;      /* alpha / rank */
};

struct lora {
    gint refs;
    struct safetensors *file;
    GPtrArray *modules;       /* struct lora_module */
    enum model_family family; /* by the width of the text that it reads; OTHER: unknown */
};

/*
 * Splits a tensor's name into module (new string) and role. NULL: no name of an add-on; then *kind,
 * if set, is a static word for the kind that it is of ("OFT").
 */
char *lora_split_name(const char *name, enum lora_role *role, const char **kind);

/* Every spelling of the modules of a model, to the entries of their weights. */
struct lora_targets;
struct lora_targets *lora_targets_create(const struct model *m);
void lora_targets_destroy(struct lora_targets *t);
/* The entry of the module's weight, or NULL; *text: it belongs to a text encoder. */
struct entry *lora_targets_find(const struct lora_targets *t, const char *module, bool *text);

/* One add-on's change of one parameter. */
struct lora_delta {
    struct lora *lora; /* an own reference */
    const struct lora_module *module;
    bool bias;
    float strength;
    float *norms; /* DoRA: magnitude over norm, for each output or input; made when first read */
    bool by_input;
};

/* All changes of one parameter: the patch of its entry. */
struct lora_recipe {
    struct entry *entry;
    GMutex lock;    /* of the norms */
    GArray *deltas; /* struct lora_delta */
};

/* A weights_patch_func over a struct lora_recipe. */
bool lora_patch(void *recipe, size_t first, size_t count, float *values, GError **error);
