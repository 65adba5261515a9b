/*
 * The command line: one function a command, options as tables. Sentences go to stderr, results to
 * stdout. Exit status: 0 done, 2 bad input, 3 the machine, 4 some of a batch failed.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

enum cli_exit { CLI_DONE = 0, CLI_INPUT = 2, CLI_MACHINE = 3, CLI_PARTLY = 4, CLI_STOPPED = 130 };

/* argv without the program's name: the command and its arguments. */
int cli_main(int argc, char **argv);
bool cli_knows(const char *name); /* is it a command? */

int cli_generate(int argc, char **argv); /* cli_generate.c */
int cli_models(int argc, char **argv);   /* cli_info.c, as the rest */
int cli_devices(int argc, char **argv);
int cli_inspect(int argc, char **argv);
int cli_read(int argc, char **argv);
int cli_bench(int argc, char **argv); /* cli_bench.c */

/* "figment: SENTENCE" on stderr; returns `status`. */
int cli_fail(int status, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* The same for an error of the engine; takes it. */
int cli_fail_error(GError *error);

/* ---- options ---- */

enum cli_kind {
    CLI_FLAG,   /* bool */
    CLI_STRING, /* char *, g_strdup() of the argument; the old one is freed */
    CLI_INT,    /* int within [low, high] */
    CLI_NUMBER, /* double within [low, high] */
    CLI_CALL,   /* `call` does it */
};

struct cli_option {
    const char *name;     /* "--steps" */
    const char *argument; /* "N"; NULL for a flag */
    const char *help;
    enum cli_kind kind;
    void *target;
    double low, high;
    bool (*call)(const char *value, void *target, GError **error);
};

#define CLI_OPTION_FLAG(n, h, t)                                                                   \
    {                                                                                              \
        .name = (n), .help = (h), .kind = CLI_FLAG, .target = (t)                                  \
    }
#define CLI_OPTION_STRING(n, a, h, t)                                                              \
    {                                                                                              \
        .name = (n), .argument = (a), .help = (h), .kind = CLI_STRING, .target = (t)               \
    }
#define CLI_OPTION_INT(n, a, h, t, l, u)                                                           \
    {                                                                                              \
        .name = (n), .argument = (a), .help = (h), .kind = CLI_INT, .target = (t), .low = (l),     \
        .high = (u)                                                                                \
    }
#define CLI_OPTION_NUMBER(n, a, h, t, l, u)                                                        \
    {                                                                                              \
        .name = (n), .argument = (a), .help = (h), .kind = CLI_NUMBER, .target = (t), .low = (l),  \
        .high = (u)                                                                                \
    }
#define CLI_OPTION_CALL(n, a, h, c, t)                                                             \
    {                                                                                              \
        .name = (n), .argument = (a), .help = (h), .kind = CLI_CALL, .target = (t), .call = (c)    \
    }

struct cli_command {
    const char *name, *usage, *summary;
    const struct cli_option *options;
    gsize n_options;
    int rest_least, rest_most; /* arguments that are no options */
    char **rest;               /* out: borrowed from argv, room for rest_most */
};

/*
 * Reads "--name value", "--name=value" and the rest ("--" ends options). False when the command is
 * over: *status tells how (0 after --help, else a sentence was printed).
 */
bool cli_parse(const struct cli_command *command, int argc, char **argv, int *status);

/* As in DESIGN section 6: what a value must be is told in one sentence. */
bool cli_int(const char *name, const char *value, double low, double high, int *number,
             GError **error);
bool cli_number(const char *name, const char *value, double low, double high, double *number,
                GError **error);
