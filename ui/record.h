/*
 * FigRecord: a GObject made of a table of fields. Each field is a property (bind widgets to it) and
 * a line in a key file (fig_record_load(), fig_record_save()). FigRequest and FigSettings are
 * nothing but tables. Main thread only.
 */
#pragma once

#include <glib-object.h>

struct fig_field {
    const char *name; /* property and key */
    GType type;       /* G_TYPE_STRING, G_TYPE_INT, G_TYPE_DOUBLE, G_TYPE_BOOLEAN, G_TYPE_UINT64 */
    const char *text; /* default of a string */
    double value, min, max; /* default and range of a number; booleans use value */
};

#define FIG_TYPE_RECORD (fig_record_get_type())
G_DECLARE_DERIVABLE_TYPE(FigRecord, fig_record, FIG, RECORD, GObject)

struct _FigRecordClass {
    GObjectClass parent_class;
    const struct fig_field *fields;
    unsigned n_fields;
};

/* For class_init of a subclass: installs the properties. The table is static. */
void fig_record_class_set_fields(FigRecordClass *class, const struct fig_field *fields,
                                 unsigned n_fields);

const char *fig_record_text(gpointer record,
                            const char *name); /* never NULL; borrowed until it changes */
int fig_record_int(gpointer record, const char *name);
double fig_record_double(gpointer record, const char *name);
gboolean fig_record_bool(gpointer record, const char *name);
guint64 fig_record_uint64(gpointer record, const char *name);

/* Takes every field of the other record that differs; both are of the same type. */
void fig_record_assign(gpointer record, gpointer other);
gpointer fig_record_copy(gpointer record);

/* Values out of range are clamped, unknown and missing keys ignored. */
void fig_record_load(gpointer record, GKeyFile *file, const char *group);
void fig_record_save(gpointer record, GKeyFile *file, const char *group);
