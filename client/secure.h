// SPDX-License-Identifier: Apache-2.0
// What makes a call safe and known: certificates from files, a token from a file or from
// $LIPSTREAM_TOKEN (never from the command line, which others on the machine can read). Main
// thread, before the call; nothing of it changes afterwards.
#ifndef LS_CLIENT_SECURE_H
#define LS_CLIENT_SECURE_H

#include <stdbool.h>

#include "client/options.h"
#include "client/text.h"

struct ls_secure {
    bool tls;
    char *roots;             // PEM of the authorities that vouch for the server
    char *cert, *key;        // PEM of our own; NULL: none
    char *token;             // NULL: none
    const char *server_name; // that the server's certificate must have; NULL: the address's
};

// Reads what the options name. Fills *out only on success.
LS_MUST int ls_secure_load(struct ls_secure *out, const struct ls_client_options *opt,
                           struct ls_fault *fault);
void ls_secure_free(struct ls_secure *secure); // accepts a zeroed one

#endif
