// SPDX-License-Identifier: Apache-2.0
// Our own listening socket. gRPC 1.51's listener never accepts again once it ran out of descriptors
// (CVE-2023-4785), so connections are accepted here and handed over. Loop thread only.
#ifndef LS_RPC_ACCEPT_H
#define LS_RPC_ACCEPT_H

#include "kernels/err.h"

struct uv_loop_s;
struct ls_accept;

// address: "host:port", "[v6]:port" or ":port" (all addresses). on_socket owns the connected
// socket.
LS_MUST int ls_accept_open(struct ls_accept **out, struct uv_loop_s *loop, const char *address,
                           void (*on_socket)(void *user, int fd), void *user, struct ls_err *err);
const char *ls_accept_address(const struct ls_accept *a); // as bound, numeric
// Who is behind a descriptor that on_socket got; "" if unknown.
const char *ls_accept_peer(const struct ls_accept *a, int fd);
void ls_accept_stop(struct ls_accept *a); // closes the port; peers stay known
void ls_accept_close(struct ls_accept **a);

#endif
