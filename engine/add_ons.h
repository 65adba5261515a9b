/*
 * What a prompt names besides words: wildcards, <lora:name:weight>, textual inversions. Finds the
 * files in the user's folders, in the places where Figment, A1111 and ComfyUI keep them, and
 * applies them to the loaded model. What cannot be had is said in a notice, and the picture is made
 * without it, as A1111 does.
 *
 * Engine's thread. Notices are GPtrArrays of g_free() strings.
 */
#pragma once

#include "clip/inversion.h"
#include "weights/model.h"

struct add_ons;

/* `folders`: the user's folders with models, NULL-terminated or NULL (copied). */
struct add_ons *add_ons_create(char **folders);
void add_ons_destroy(struct add_ons *a); /* takes NULL */

/* The textual inversions there are; borrowed, lives as long as `a`. */
struct inversions *add_ons_inversions(struct add_ons *a);

/* Whether each seed gives another prompt. */
bool add_ons_are_random(const char *prompt);
/* The prompt with its wildcards filled in and without comments (g_free). NULL with a sentence. */
char *add_ons_expand(struct add_ons *a, const char *prompt, uint64_t seed, GPtrArray *notices,
                     GError **error);

/*
 * Takes the networks out of an expanded prompt (the rest is the caller's) and makes exactly them
 * those of the model. `*changed` tells whether parameters changed since the last call for this
 * model: tapes that use them are then stale. NULL with a sentence, and the model as before, when
 * one was made for another family or has an impossible weight.
 */
char *add_ons_apply(struct add_ons *a, struct model *model, const char *prompt, bool *changed,
                    GPtrArray *notices, GError **error);
/* Before a model that had some applied is closed. */
void add_ons_forget_model(struct add_ons *a);
