// SPDX-License-Identifier: Apache-2.0
// Addresses as flags and log lines have them ("127.0.0.1:50051", "[::1]:50051", ":50051"), and
// sockets that listen on them. Both ports use it. Any thread.
#ifndef LS_LISTEN_H
#define LS_LISTEN_H

#include <stdbool.h>

#include "kernels/err.h"

struct sockaddr;

enum { LS_ADDRESS_SIZE = 64 };

// A listening socket (not blocking, closed on exec), >= 0. address: "host:port", "[v6]:port" or
// ":port" (all addresses); port 0 takes a free one. flag: to blame in err. bound: what it came to,
// numeric.
LS_MUST int ls_listen(char bound[LS_ADDRESS_SIZE], const char *address, const char *flag,
                      int backlog, struct ls_err *err);
// Numeric; "" for what is no internet address.
void ls_address_format(char out[LS_ADDRESS_SIZE], const struct sockaddr *address);
// The machine's own: 127/8, ::1, or the first mapped into IPv6.
bool ls_address_loopback(const struct sockaddr *address);

#endif
