// SPDX-License-Identifier: Apache-2.0
// The hook for gRPC's log, alone in this file because newer versions have no such function: there
// it is left out and gRPC writes by itself. Called on any thread. Peers can provoke these lines, so
// their rate is limited.
#include "server/rpc_log.h"

#if __has_include(<grpc/impl/codegen/log.h>)
#include <stdio.h>
#include <string.h>

#include <grpc/support/log.h>

#include "server/log.h"

static void on_line(gpr_log_func_args *args)
{
    const char *file = strrchr(args->file, '/');
    char text[512];

    snprintf(text, sizeof text, "%s:%d %s", file ? file + 1 : args->file, args->line,
             args->message);
    ls_log_foreign(args->severity == GPR_LOG_SEVERITY_ERROR ? LS_LOG_WARN : LS_LOG_INFO, "grpc",
                   text);
}

void ls_rpc_log_init(void)
{
    gpr_set_log_function(on_line);
}
#else
void ls_rpc_log_init(void)
{
}
#endif
