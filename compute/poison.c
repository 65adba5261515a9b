#include "compute/poison.h"

#include <gio/gio.h>

size_t poison_gap(void)
{
    return g_getenv("FIGMENT_POISON") ? POISON_GAP : 0;
}

void poison_outputs(const struct plan *plan, poison_fill fill, void *data)
{
    for (int i = 0; i < plan->node_count; i++) {
        const struct place *place = plan_place(plan, plan->nodes[i].out);
        if (place->kind == PLACE_KEPT)
            fill(data, place->offset, place->bytes + POISON_GAP);
    }
}

bool poison_intact(const struct plan *plan, size_t alignment, const void *arena, const void *kept,
                   GError **error)
{
    for (int i = 0; i < plan->node_count; i++) {
        const struct place *place = plan_place(plan, plan->nodes[i].out);
        const uint8_t *block = place->kind == PLACE_ARENA ? arena : kept;
        size_t start = place->offset + (place->bytes + alignment - 1) / alignment * alignment;
        for (size_t at = start; at < place->offset + place->bytes + POISON_GAP; at++) {
            if (block[at] == POISON_BYTE)
                continue;
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
                        "FIGMENT_POISON: in “%s” something was written %zu bytes behind the %zu of "
                        "node %d (%s).",
                        plan->name, at - place->offset - place->bytes, place->bytes, i,
                        op_name(plan->nodes[i].op));
            return false;
        }
    }
    return true;
}
