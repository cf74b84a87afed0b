// SPDX-License-Identifier: Apache-2.0
// lipstream, the command-line client: `sync` streams a face and a voice to a server and writes the
// video that comes back, `info` asks what the server is, `health` whether it serves. Only the
// LC_CTYPE part of the locale is taken: numbers on the command line and in CSV files have a point
// everywhere.
#include <locale.h>
#include <signal.h>
#include <string.h>

#include "client/health.h"
#include "client/info.h"
#include "client/options.h"
#include "client/sync.h"

static bool asks_help(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0)
            return true;
    return argc > 1 && strcmp(argv[1], "help") == 0;
}

static int fail(const struct ls_fault *fault)
{
    fprintf(stderr, "lipstream: %s\n", fault->text);
    return fault->exit_code;
}

int main(int argc, char **argv)
{
    static struct ls_client_options opt;
    struct ls_fault fault = {0};
    const char *command = argc > 1 ? argv[1] : "";

    setlocale(LC_CTYPE, "");
    signal(SIGPIPE, SIG_IGN); // a closed output is an error of write(), told like any other
    ls_client_options_init(&opt);
    if (asks_help(argc, argv)) {
        ls_client_options_help(stdout);
        return LS_EXIT_OK;
    }
    if (strcmp(command, "--version") == 0) {
        puts("lipstream " LS_VERSION);
        return LS_EXIT_OK;
    }
    if (strcmp(command, "sync") == 0) {
        if (ls_client_options_sync(&opt, argc - 2, argv + 2, &fault) < 0)
            return fail(&fault);
        return ls_sync_run(&opt);
    }
    if (strcmp(command, "info") == 0) {
        if (ls_client_options_info(&opt, argc - 2, argv + 2, &fault) < 0)
            return fail(&fault);
        return ls_info_run(&opt);
    }
    if (strcmp(command, "health") == 0) {
        if (ls_client_options_health(&opt, argc - 2, argv + 2, &fault) < 0)
            return fail(&fault);
        return ls_health_run(&opt);
    }
    ls_client_options_help(stderr);
    return LS_EXIT_USAGE;
}
