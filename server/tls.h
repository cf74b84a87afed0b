// SPDX-License-Identifier: Apache-2.0
// Certificates and TLS sessions of the gRPC port, by OpenSSL: TLS 1.2 (ECDHE with AEAD only)
// and 1.3, ALPN h2, client certificates where asked for. A session moves bytes between memory
// buffers and knows no socket. The set of files is opened on the loop and may be reloaded while
// sessions of the front's thread live: they go on with the old set.
#ifndef LS_TLS_H
#define LS_TLS_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/err.h"
#include "server/front.h"
#include "server/options.h"

struct ls_tls;
struct ls_tls_session;

// Reads --tls-cert, --tls-key, --tls-client-ca. *out is NULL when no certificate is configured. A
// file that cannot be read, a key that does not fit its certificate, an expired chain, a key
// readable by others than owner and group: LS_EFIELD with the flag as its field.
LS_MUST int ls_tls_open(struct ls_tls **out, const struct ls_options *opt, struct ls_err *err);
// The files anew, for sessions from now on; on failure the old set stays.
LS_MUST int ls_tls_reload(struct ls_tls *tls, struct ls_err *err);
bool ls_tls_mutual(const struct ls_tls *tls); // client certificates are demanded
// Days until the certificate ends; negative: it has.
int ls_tls_days_left(const struct ls_tls *tls);
// No session may be left. Accepts NULL.
void ls_tls_close(struct ls_tls **tls);

LS_MUST int ls_tls_session_new(struct ls_tls_session **out, struct ls_tls *tls, struct ls_err *err);
// Bytes from the peer, copied. Then read and take until they give nothing.
LS_MUST int ls_tls_session_feed(struct ls_tls_session *s, const void *data, size_t size,
                                struct ls_err *err);
// Decrypted bytes: 1 and more, 0: none now, negative: the session is over (LS_ECANCEL after the
// peer's close_notify, else LS_EAUTH with what was wrong).
LS_MUST int ls_tls_session_read(struct ls_tls_session *s, void *data, int size, struct ls_err *err);
// Bytes to be encrypted, all of them; only after the handshake.
LS_MUST int ls_tls_session_write(struct ls_tls_session *s, const void *data, int size,
                                 struct ls_err *err);
// Encrypted bytes for the peer: how many were copied; 0: none.
int ls_tls_session_take(struct ls_tls_session *s, void *data, int size);
bool ls_tls_session_ready(const struct ls_tls_session *s); // the handshake is done
// Fills tls, certified and certificate; after the handshake.
void ls_tls_session_peer(const struct ls_tls_session *s, struct ls_peer *peer);
void ls_tls_session_end(struct ls_tls_session *s); // queues close_notify
void ls_tls_session_free(struct ls_tls_session **s);

#endif
