/* FigApplication: the program with a window. Owns settings, request and bridge; app.* actions. Main
 * thread only. */
#pragma once

/* Runs until the last window is closed; the exit status. Files on the command line are opened. */
int application_run(int argc, char **argv);
