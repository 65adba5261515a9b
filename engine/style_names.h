/*
 * Styles by name: A1111's styles.csv in the user's folders (engine/places.h). Any thread.
 */
#pragma once

#include "clip/styles.h"
#include "engine/request.h"

/* All styles there are (struct style *; g_ptr_array_unref), of each name the first found, in the
 * order of the files; unreadable files are skipped. For a window to offer. */
GPtrArray *style_names_list(char **folders);
/*
 * Puts the styles that request->styles names around its prompts, in their order, as A1111 does, and
 * empties it: what is written into a picture are the whole prompts. Fails with a sentence when
 * there is none of a name.
 */
bool style_names_apply(char **folders, struct request *request, GError **error);
