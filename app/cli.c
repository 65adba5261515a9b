#include "app/cli.h"

#include <stdio.h>
#include <string.h>

#include "engine/engine.h"
#include "engine/suggest.h"

struct entry {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
};

static const struct entry commands[] = {
    {"generate", "make pictures from a prompt", cli_generate},
    {"models", "list the models on this machine", cli_models},
    {"devices", "list what can compute", cli_devices},
    {"inspect", "tell what is in a model file or folder", cli_inspect},
    {"read", "print the settings a picture was made with", cli_read},
    {"bench", "measure this machine", cli_bench},
};

int cli_fail(int status, const char *format, ...)
{
    va_list arguments;
    g_autofree char *text = NULL;

    va_start(arguments, format);
    text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    fflush(stdout);
    fprintf(stderr, "figment: %s\n", text);
    return status;
}

int cli_fail_error(GError *error)
{
    int status = cli_fail(engine_error_exit(error), "%s", error->message);

    g_error_free(error);
    return status;
}

static int help(void)
{
    printf("Figment turns a sentence into a picture, on your own machine.\n\n"
           "Usage: figment                      opens the window\n"
           "       figment COMMAND [OPTIONS]\n\n");
    for (gsize i = 0; i < G_N_ELEMENTS(commands); i++)
        printf("  %-10s %s\n", commands[i].name, commands[i].summary);
    printf("\n“figment COMMAND --help” tells a command's options.\n");
    return CLI_DONE;
}

bool cli_knows(const char *name)
{
    for (gsize i = 0; i < G_N_ELEMENTS(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return true;
    return false;
}

/* A file that is there went to the window (main.c). */
static bool is_path(const char *name)
{
    static const char *const endings[] = {".png", ".jpg", ".jpeg", ".safetensors"};
    g_autofree char *folded = g_ascii_strdown(name, -1);

    for (gsize i = 0; i < G_N_ELEMENTS(endings); i++)
        if (g_str_has_suffix(folded, endings[i]))
            return true;
    return strchr(name, '/') != NULL;
}

static int unknown(const char *name)
{
    const char *names[G_N_ELEMENTS(commands)];
    g_autofree char *meant = NULL;

    if (is_path(name))
        return cli_fail(CLI_INPUT, "There is no file or folder “%s”.", name);
    for (gsize i = 0; i < G_N_ELEMENTS(commands); i++)
        names[i] = commands[i].name;
    meant = suggest(name, names, G_N_ELEMENTS(commands));
    if (meant)
        return cli_fail(CLI_INPUT, "There is no command “%s”; did you mean “%s”?", name, meant);
    return cli_fail(CLI_INPUT, "There is no command “%s”; “figment --help” lists them.", name);
}

int cli_main(int argc, char **argv)
{
    if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0 ||
        strcmp(argv[0], "help") == 0)
        return help();
    if (strcmp(argv[0], "--version") == 0) {
        printf("Figment %s\n", FIGMENT_VERSION);
        return CLI_DONE;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(commands); i++)
        if (strcmp(argv[0], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    return unknown(argv[0]);
}
