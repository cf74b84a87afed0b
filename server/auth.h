// SPDX-License-Identifier: Apache-2.0
// Who may do what: bearer tokens (their SHA-256 in a file), JWTs (RS256, ES256, EdDSA; keys in a
// local JWK set), client certificates, or nobody at all where the operator allows it. Loop thread
// only.
#ifndef LS_AUTH_H
#define LS_AUTH_H

#include <stdbool.h>

#include "kernels/err.h"
#include "server/front.h"
#include "server/options.h"

enum ls_scope {
    LS_SCOPE_NONE = 0, // open to all: health
    LS_SCOPE_SYNC = 1,
    LS_SCOPE_INFO = 2, // GetServerInfo, reflection
    LS_SCOPE_ADMIN = 4,
};

struct ls_auth;

// Reads --tokens and --jwks; opt is copied, its texts must stay. Fails (LS_EFIELD, the flag as
// field) on a file that is unreadable, is readable by others (tokens) or writable by them, has a
// line that is not understood, a private key, or nothing of use (keys for other purposes are left
// out with a warning); on --jwks without --jwt-issuer and --jwt-audience, or these alone; and when
// opt->listen is not a loopback address, nothing identifies callers (tokens, keys, client
// certificates), and --anonymous is not always.
LS_MUST int ls_auth_open(struct ls_auth **out, const struct ls_options *opt, struct ls_err *err);
// Both files anew; on failure the old ones stay.
LS_MUST int ls_auth_reload(struct ls_auth *auth, struct ls_err *err);
void ls_auth_close(struct ls_auth **auth);

// What was found out of a caller.
struct ls_identity {
    char name[64]; // the token's name, the JWT's sub, the certificate's name; "" for nobody
    int scopes;    // of enum ls_scope
};

// The rules. Health is open. Where tokens or keys are configured, one of them is needed, whatever
// the certificate; a bad one is refused even where nobody would be let in. With mutual TLS alone, a
// certificate grants sync and info. Without credentials all is granted: from anywhere with
// --anonymous always, from loopback with loopback, and with auto from loopback while neither
// tokens, keys nor (on that connection) a certificate tell callers apart; the admin port has no
// TLS, so mutual TLS alone leaves it open to loopback. authorization: value of that header, not
// zero-terminated; NULL: none came. 0 when the scope is granted; LS_EAUTH: no credentials or bad
// ones; LS_ESCOPE: good ones that do not allow this. The text never tells which part of a token was
// wrong beyond what its owner can know (expired, other audience), and never repeats it. *out is
// filled in all cases.
LS_MUST int ls_auth_check(const struct ls_auth *auth, struct ls_identity *out,
                          const struct ls_peer *peer, const char *authorization, int size,
                          enum ls_scope scope, struct ls_err *err);

// For --hash-token: reads a token (one line) from stdin and prints the line for the file: a name,
// the hash, scopes. Returns an exit code.
int ls_auth_hash_token(void);

#endif
