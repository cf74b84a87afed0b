// SPDX-License-Identifier: Apache-2.0
// One TLS connection without a socket: bytes of the peer go in, bytes for it are taken out, and
// between them OpenSSL reads and writes two queues through a BIO of ours (its own memory BIO never
// gives memory back). Front's thread. What surprises: after a failure there may be bytes to take,
// the alert that tells the peer.
#include "server/tls.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509.h>

#include "server/front_bytes.h"
#include "server/tls_impl.h"

// KeyUpdates without data between them that a peer may send; each costs new keys, and OpenSSL 3.0
// takes any number. Honest ones come once in gigabytes.
enum { UPDATES_MAX = 32 };

struct ls_tls_session {
    SSL *ssl;
    int updates;             // in a row
    struct ls_bytes in, out; // encrypted: from the peer, to it
    struct ls_err over;      // what the session ended with; code 0: it lives
};

static int on_bio_write(BIO *bio, const char *data, int size)
{
    struct ls_tls_session *s = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    return ls_bytes_push(&s->out, data, (size_t)size) < 0 ? -1 : size;
}

static int on_bio_read(BIO *bio, char *data, int size)
{
    struct ls_tls_session *s = BIO_get_data(bio);
    size_t n = s->in.size < (size_t)size ? s->in.size : (size_t)size;

    BIO_clear_retry_flags(bio);
    if (!n) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(data, ls_bytes_at(&s->in), n);
    ls_bytes_drop(&s->in, n);
    return (int)n;
}

static long on_bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

static int on_bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

// Every message that OpenSSL handles comes by here. What follows one KeyUpdate too many is thrown
// away, so that the read ends at once.
static void on_message(int sent, int version, int type, const void *data, size_t size, SSL *ssl,
                       void *user)
{
    struct ls_tls_session *s = user;

    (void)version;
    (void)ssl;
    if (sent || type != SSL3_RT_HANDSHAKE || !size ||
        *(const uint8_t *)data != SSL3_MT_KEY_UPDATE || ++s->updates <= UPDATES_MAX)
        return;
    ls_bytes_done(&s->in);
}

static BIO_METHOD *bio_method;

static void make_bio_method(void)
{
    bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "front");
    if (!bio_method)
        return;
    BIO_meth_set_write(bio_method, on_bio_write);
    BIO_meth_set_read(bio_method, on_bio_read);
    BIO_meth_set_ctrl(bio_method, on_bio_ctrl);
    BIO_meth_set_create(bio_method, on_bio_create);
}

int ls_tls_session_new(struct ls_tls_session **out, struct ls_tls *tls, struct ls_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct ls_tls_session *s = calloc(1, sizeof *s);
    BIO *bio = NULL;

    pthread_once(&once, make_bio_method);
    if (s && bio_method) {
        s->ssl = ls_tls_ssl_new(tls);
        bio = BIO_new(bio_method);
    }
    if (!bio || !s->ssl) {
        BIO_free(bio);
        ls_tls_session_free(&s);
        ERR_clear_error();
        return ls_fail(err, LS_ENOMEM, "a TLS session");
    }
    BIO_set_data(bio, s);
    SSL_set_bio(s->ssl, bio, bio); // given away
    SSL_set_accept_state(s->ssl);
    SSL_set_msg_callback(s->ssl, on_message);
    SSL_set_msg_callback_arg(s->ssl, s);
    *out = s;
    return 0;
}

int ls_tls_session_feed(struct ls_tls_session *s, const void *data, size_t size, struct ls_err *err)
{
    if (ls_bytes_push(&s->in, data, size) < 0)
        return ls_fail(err, LS_ENOMEM, "%zu bytes of a TLS session", size);
    return 0;
}

static int repeat(const struct ls_tls_session *s, struct ls_err *err)
{
    if (err)
        *err = s->over;
    return s->over.code;
}

static int end(struct ls_tls_session *s, int ssl_error, struct ls_err *err)
{
    long verified = SSL_get_verify_result(s->ssl);

    if (ssl_error == SSL_ERROR_ZERO_RETURN)
        ls_fail(&s->over, LS_ECANCEL, "the peer closed the TLS session");
    else if (!SSL_is_init_finished(s->ssl) && verified != X509_V_OK)
        ls_fail(&s->over, LS_EAUTH, "client certificate: %s",
                X509_verify_cert_error_string(verified));
    else
        ls_tls_fail(&s->over, LS_EAUTH, NULL, "TLS");
    ERR_clear_error();
    return repeat(s, err);
}

int ls_tls_session_read(struct ls_tls_session *s, void *data, int size, struct ls_err *err)
{
    int n, e;

    if (s->over.code)
        return repeat(s, err);
    ERR_clear_error();
    n = SSL_read(s->ssl, data, size);
    if (n > 0) {
        s->updates = 0;
        return n;
    }
    if (s->updates > UPDATES_MAX) {
        ls_fail(&s->over, LS_EAUTH, "the peer does nothing but change its TLS keys");
        ERR_clear_error();
        return repeat(s, err);
    }
    e = SSL_get_error(s->ssl, n);
    return e == SSL_ERROR_WANT_READ ? 0 : end(s, e, err);
}

int ls_tls_session_write(struct ls_tls_session *s, const void *data, int size, struct ls_err *err)
{
    int n;

    if (s->over.code)
        return repeat(s, err);
    if (!size)
        return 0;
    // Half a KeyUpdate has come: OpenSSL can say nothing until the peer sends the other half, which
    // it may never do. Nobody honest cuts five bytes in two.
    if (!ls_tls_session_ready(s)) {
        ls_fail(&s->over, LS_EAUTH, "the peer began another TLS handshake message");
        return repeat(s, err);
    }
    ERR_clear_error();
    n = SSL_write(s->ssl, data, size);
    return n == size ? 0 : end(s, SSL_get_error(s->ssl, n), err);
}

int ls_tls_session_take(struct ls_tls_session *s, void *data, int size)
{
    size_t n = s->out.size < (size_t)size ? s->out.size : (size_t)size;

    if (n) {
        memcpy(data, ls_bytes_at(&s->out), n);
        ls_bytes_drop(&s->out, n);
    }
    return (int)n;
}

bool ls_tls_session_ready(const struct ls_tls_session *s)
{
    return SSL_is_init_finished(s->ssl);
}

void ls_tls_session_peer(const struct ls_tls_session *s, struct ls_peer *peer)
{
    X509 *cert = SSL_get0_peer_certificate(s->ssl);

    peer->tls = true;
    peer->certificate[0] = '\0';
    // Without --tls-client-ca no certificate is asked for, so one that is here was verified.
    peer->certified = cert && SSL_get_verify_result(s->ssl) == X509_V_OK;
    if (peer->certified)
        ls_tls_name_first(cert, peer->certificate, sizeof peer->certificate);
}

void ls_tls_session_end(struct ls_tls_session *s)
{
    if (s->over.code != LS_EAUTH && ls_tls_session_ready(s))
        SSL_shutdown(s->ssl); // queues close_notify; whether the peer answers does not matter
    ERR_clear_error();
}

void ls_tls_session_free(struct ls_tls_session **session)
{
    struct ls_tls_session *s = *session;

    if (!s)
        return;
    *session = NULL;
    SSL_free(s->ssl);
    ls_bytes_done(&s->in);
    ls_bytes_done(&s->out);
    free(s);
}
