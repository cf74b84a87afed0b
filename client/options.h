// SPDX-License-Identifier: Apache-2.0
// The command line of `lipstream sync`, `info` and `health`: one table of options, from which
// parsing and --help both come. Main thread, before the call. Texts point into argv or the
// environment.
#ifndef LS_CLIENT_OPTIONS_H
#define LS_CLIENT_OPTIONS_H

#include <stdbool.h>
#include <stdio.h>

#include "client/config.h"
#include "client/text.h"

enum ls_progress_mode {
    LS_PROGRESS_AUTO,
    LS_PROGRESS_BAR,
    LS_PROGRESS_PLAIN,
    LS_PROGRESS_JSON,
    LS_PROGRESS_NONE
};
enum { LS_PACE_REAL = -1 };

struct ls_client_options {
    const char *server;
    double timeout_s; // 0: none
    bool tls;         // also when one of the next four is there
    const char *ca, *cert, *key, *server_name;
    const char *token_file;
    const char *face, *voice, *out;
    const char *regions;   // CSV with boxes; NULL: none
    const char *frames_to; // CSV of what was done to each frame; NULL: none
    int chunk_bytes;
    double pace_s;       // 0: no pace; LS_PACE_REAL: as long as the voice is
    double stop_after_s; // 0: never
    enum ls_progress_mode progress;
    bool live;
    const char *priority; // NULL: the server's default
    int retries;          // after the first try
    bool json;            // of info
    struct ls_config config;
};

// The defaults. The struct points into itself: not to be copied.
void ls_client_options_init(struct ls_client_options *opt);
// Arguments after the command's name. A fault names the option and the value.
LS_MUST int ls_client_options_sync(struct ls_client_options *opt, int argc, char **argv,
                                   struct ls_fault *fault);
// Of `health`: the options of the server alone.
LS_MUST int ls_client_options_health(struct ls_client_options *opt, int argc, char **argv,
                                     struct ls_fault *fault);
LS_MUST int ls_client_options_info(struct ls_client_options *opt, int argc, char **argv,
                                   struct ls_fault *fault);
void ls_client_options_help(FILE *to);

#endif
