// SPDX-License-Identifier: Apache-2.0
// Shared by tls.c (files and rules), tls_session.c (bytes) and tls_name.c (names in certificates).
// For these files only: it shows OpenSSL.
#ifndef LS_TLS_IMPL_H
#define LS_TLS_IMPL_H

#include <openssl/ssl.h>

#include "server/tls.h"

// A new connection with the set of files in force. NULL: no memory. Front's thread.
SSL *ls_tls_ssl_new(struct ls_tls *tls);
// Takes the reason from OpenSSL's queue of errors, which is empty afterwards. flag may be NULL.
int ls_tls_fail(struct ls_err *err, int code, const char *flag, const char *what);

// The certificate has one of the names (by commas) as a subject alternative name: DNS names without
// regard to case, URIs, e-mail and IP addresses as they are.
bool ls_tls_name_matches(X509 *cert, const char *names);
// The first DNS, URI or e-mail name, else the common name; "" if there is none that fits.
void ls_tls_name_first(X509 *cert, char *out, size_t size);

#endif
