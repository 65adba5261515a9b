/*
 * Reading of JSON configuration that a model brings along: files with limits, values with ranges.
 * Like a tape, a reader's error is sticky: read everything, then look once.
 *
 *     struct config c = config_init(json, "unet/config.json");
 *     n = (int)config_int(&c, "layers_per_block", 1, 8, 2);
 *     ...
 *     if (!config_finish(&c, &error)) ...
 *
 * Any thread, one at a time a reader. The strings returned live as long as the JSON.
 */
#pragma once

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>

/*
 * Loads a JSON object of at most 16 MiB from a regular file below an open directory (or AT_FDCWD).
 * `label` is the name for messages. NULL and a WEIGHTS_ERROR on failure (NOT_FOUND when there is
 * none).
 */
json_t *config_load(int dir_fd, const char *name, const char *label, GError **error);

struct config {
    const json_t *root; /* borrowed; NULL reads as an empty object */
    const char *label;
    GError *error;
};

struct config config_init(const json_t *root, const char *label);
/* False with the first error, which is moved to `error`. */
bool config_finish(struct config *c, GError **error);
/* Makes the sticky error `LABEL: MESSAGE` (the first stays). */
void config_fail(struct config *c, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* The key is there and not null. */
bool config_has(const struct config *c, const char *key);

/* A missing or null key gives the fallback; another type or a value outside [min, max] is an error
 * and gives it too. */
gint64 config_int(struct config *c, const char *key, gint64 min, gint64 max, gint64 fallback);
double config_number(struct config *c, const char *key, double min, double max, double fallback);
bool config_bool(struct config *c, const char *key, bool fallback);
const char *config_string(struct config *c, const char *key, const char *fallback);
/* Index into the NULL-terminated `choices`. */
int config_choice(struct config *c, const char *key, const char *const *choices, int fallback);

/*
 * Arrays: the number of elements written, at most `room` (more is an error). A single value counts
 * as an array of one; a missing or null key gives 0.
 */
size_t config_ints(struct config *c, const char *key, gint64 min, gint64 max, gint64 *out,
                   size_t room);
size_t config_strings(struct config *c, const char *key, const char **out, size_t room);
