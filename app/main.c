/* figment: with a command, the command line; without one, the window. */
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/cli.h"
#ifdef FIGMENT_HAVE_WINDOW
#include "app/application.h"
#endif

/*
 * OpenMP's threads wait for each other by spinning, 300,000 turns long: where other programs want
 * the cores as well, each wait burns a time slice of the thread it waits for. The library reads the
 * number when it is loaded, before main(), so the program has to begin once more. 100 turns are as
 * long as falling asleep and waking takes.
 */
static void wait_politely(char **argv)
{
    if (g_getenv("OMP_WAIT_POLICY") || !g_setenv("GOMP_SPINCOUNT", "100", FALSE))
        return;
    g_setenv("OMP_WAIT_POLICY", "passive", TRUE); /* the mark that this was done */
    execv("/proc/self/exe", argv);
}

/* Files go to the window, as from a file manager; a command of that name comes first. */
static bool for_window(int argc, char **argv)
{
    if (argc < 2 || argv[1][0] == '\0' || g_str_has_prefix(argv[1], "--g") ||
        g_str_has_prefix(argv[1], "--display"))
        return true;
    return !cli_knows(argv[1]) &&
           (strstr(argv[1], "://") || g_file_test(argv[1], G_FILE_TEST_EXISTS));
}

int main(int argc, char **argv)
{
    setlocale(LC_ALL, "");
    bool window = for_window(argc, argv);
    if (!window) /* scripts read what the command line says: it speaks one language */
        setlocale(LC_MESSAGES, "C");
    if (window || strcmp(argv[1], "generate") == 0 || strcmp(argv[1], "bench") == 0)
        wait_politely(argv);
    if (!window)
        return cli_main(argc - 1, argv + 1);
#ifdef FIGMENT_HAVE_WINDOW
    return application_run(argc, argv);
#else
    return cli_fail(CLI_INPUT, "The window is not in this build; “figment --help” tells what is.");
#endif
}
