/* figment: with a command, the command line; without one, the window. */
#include <locale.h>
#include <stdio.h>

#include "app/cli.h"
#ifdef FIGMENT_HAVE_WINDOW
#include "app/application.h"
#endif

int main(int argc, char **argv)
{
    setlocale(LC_ALL, "");
    if (argc > 1 && argv[1][0] != '\0' &&
        !(g_str_has_prefix(argv[1], "--g") || g_str_has_prefix(argv[1], "--display")))
        return cli_main(argc - 1, argv + 1);
#ifdef FIGMENT_HAVE_WINDOW
    return application_run(argc, argv);
#else
    return cli_fail(CLI_INPUT, "The window is not in this build; “figment --help” tells what is.");
#endif
}
