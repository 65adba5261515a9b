/* What the bridge's files share. */
#pragma once

#include "engine/engine.h"
#include "engine/history.h"
#include "engine/journal.h"
#include "ui/bridge.h"

struct history *
fig_bridge_open_history(FigBridge *self); /* borrowed; NULL when it cannot be opened */

/* The engine's request of the window's, with the preferences; request_clear() it. */
void fig_bridge_fill_request(FigBridge *self, FigRequest *from, struct request *to);
char **fig_bridge_model_folders(FigBridge *self); /* NULL-terminated, g_strfreev() */

/* job: the key of the job that made it now, 0 = none. */
FigPicture *fig_picture_from_entry(const struct history_entry *entry, guint job);

/* The pictures of these ids (GArray of int64_t; taken), read when somebody looks at them. */
GListModel *fig_history_list_new(FigBridge *bridge, GArray *ids);
/* The same list with other ids (taken), told as one range that changed; FALSE (nothing taken) when
 * it is no such list. */
gboolean fig_history_list_update(GListModel *list, GArray *ids);
