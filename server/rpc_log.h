// SPDX-License-Identifier: Apache-2.0
// gRPC's own log lines, put into ours. Before grpc_init.
#ifndef LS_RPC_LOG_H
#define LS_RPC_LOG_H

void ls_rpc_log_init(void);

#endif
