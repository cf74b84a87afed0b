// SPDX-License-Identifier: Apache-2.0
// OpenSSL's side of the gRPC port: which files, which protocols, who may come in. The bytes of a
// session are in tls_session.c. The set of files is an SSL_CTX, which OpenSSL counts: a session
// keeps the one it began with, and a reload only swaps the pointer that new ones take. What
// surprises: the names of client certificates are checked inside the handshake, as part of the
// verification, so that a stranger with a valid certificate hears an alert and not a silent close.
#include "server/tls.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "server/tls_impl.h"

enum {
    CHAIN_DEPTH = 8,      // certificates between a client's and its authority
    CLIENT_CHAIN = 32768, // bytes of all a client sends; OpenSSL's own limit is 100 KB
    DAY_S = 86400,
};

struct ls_tls {
    char *cert, *key, *client_ca, *client_names; // "": none
    pthread_mutex_t lock;                        // over ctx, which the loop swaps
    SSL_CTX *ctx;
    time_t ends; // the first certificate of the chain to expire; loop thread
};

// ECDHE with AEAD only; the client's order counts, since it knows whether it has AES in hardware
// (Mozilla's "intermediate" of guidelines 5.7 without its finite-field key exchange).
static const char suites[] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                             "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
                             "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";

int ls_tls_fail(struct ls_err *err, int code, const char *flag, const char *what)
{
    unsigned long e = ERR_peek_error(); // the oldest is the cause, the others its echoes
    const char *reason = e ? ERR_reason_error_string(e) : NULL;
    int r;

    r = flag ? ls_fail_field(err, code, flag, "%s: %s", what, reason ? reason : "not usable")
             : ls_fail(err, code, "%s: %s", what, reason ? reason : "broken");
    ERR_clear_error();
    return r;
}

// A key with a pass phrase would be asked for on a terminal that a service does not have.
static int no_password(char *text, int size, int rwflag, void *user)
{
    (void)text;
    (void)size;
    (void)rwflag;
    (void)user;
    return -1;
}

static BIO *open_file(const char *path, const char *flag, bool secret, struct ls_err *err)
{
    FILE *file = fopen(path, "re");
    struct stat st;
    BIO *bio;

    if (!file || fstat(fileno(file), &st) < 0) {
        ls_fail_field(err, LS_EFIELD, flag, "%s: %s", path, strerror(errno));
        if (file)
            fclose(file);
        return NULL;
    }
    if (secret && st.st_mode & (S_IROTH | S_IWOTH)) {
        fclose(file);
        ls_fail_field(err, LS_EFIELD, flag, "%s can be read or written by everybody (mode %03o)",
                      path, (unsigned)st.st_mode & 0777);
        return NULL;
    }
    bio = BIO_new_fp(file, BIO_CLOSE);
    if (!bio) {
        fclose(file);
        ls_fail(err, LS_ENOMEM, "reading %s", path);
    }
    return bio;
}

// Now lies in the certificate's time; *ends becomes the earlier of it and the certificate's end.
static int check_time(const X509 *cert, const char *path, time_t *ends, struct ls_err *err)
{
    struct tm tm;
    time_t until;

    if (!ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm))
        return ls_fail_field(err, LS_EFIELD, "tls-cert", "%s: a date that cannot be read", path);
    until = timegm(&tm);
    if (X509_cmp_current_time(X509_get0_notAfter(cert)) < 0)
        return ls_fail_field(err, LS_EFIELD, "tls-cert", "%s: expired on %04d-%02d-%02d", path,
                             tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
    if (X509_cmp_current_time(X509_get0_notBefore(cert)) > 0)
        return ls_fail_field(err, LS_EFIELD, "tls-cert", "%s: not valid yet", path);
    if (until < *ends)
        *ends = until;
    return 0;
}

// The server's own certificate and those that lead to its authority.
static int load_chain(SSL_CTX *ctx, const char *path, time_t *ends, struct ls_err *err)
{
    BIO *bio = open_file(path, "tls-cert", false, err);
    X509 *cert = NULL;
    int r = 0, count = 0;

    if (!bio)
        return err->code;
    for (; r == 0 && (cert = PEM_read_bio_X509(bio, NULL, no_password, NULL)); count++) {
        r = check_time(cert, path, ends, err);
        if (r == 0 &&
            !(count ? SSL_CTX_add1_chain_cert(ctx, cert) : SSL_CTX_use_certificate(ctx, cert)))
            r = ls_tls_fail(err, LS_EFIELD, "tls-cert", path);
        X509_free(cert);
    }
    if (r == 0 && !count)
        r = ls_fail_field(err, LS_EFIELD, "tls-cert", "%s has no certificate in PEM", path);
    else if (r == 0 && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        r = ls_tls_fail(err, LS_EFIELD, "tls-cert", path); // it stopped before the file's end
    ERR_clear_error();
    BIO_free(bio);
    return r;
}

static int load_key(SSL_CTX *ctx, const char *path, struct ls_err *err)
{
    BIO *bio = open_file(path, "tls-key", true, err);
    EVP_PKEY *key;
    int r = 0;

    if (!bio)
        return err->code;
    key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
    if (!key)
        r = ls_fail_field(err, LS_EFIELD, "tls-key",
                          "%s has no private key in PEM without a pass phrase", path);
    else if (!SSL_CTX_use_PrivateKey(ctx, key) || !SSL_CTX_check_private_key(ctx))
        r = ls_fail_field(err, LS_EFIELD, "tls-key", "%s is not the key of the certificate", path);
    ERR_clear_error();
    EVP_PKEY_free(key);
    BIO_free(bio);
    return r;
}

static int load_authorities(SSL_CTX *ctx, const char *path, struct ls_err *err)
{
    BIO *bio = open_file(path, "tls-client-ca", false, err);
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    X509 *cert;
    int r = 0, count = 0;

    if (!bio)
        return err->code;
    for (; r == 0 && (cert = PEM_read_bio_X509(bio, NULL, no_password, NULL)); count++) {
        if (!X509_STORE_add_cert(store, cert) || !SSL_CTX_add_client_CA(ctx, cert))
            r = ls_tls_fail(err, LS_EFIELD, "tls-client-ca", path);
        X509_free(cert);
    }
    if (r == 0 && !count)
        r = ls_fail_field(err, LS_EFIELD, "tls-client-ca", "%s has no certificate in PEM", path);
    else if (r == 0 && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        r = ls_tls_fail(err, LS_EFIELD, "tls-client-ca", path);
    ERR_clear_error();
    BIO_free(bio);
    return r;
}

// gRPC clients offer "grpc-exp" and "h2"; whoever offers anything must offer h2 (RFC 7301, 3.2:
// else the alert no_application_protocol). Who offers nothing is taken at the port's word.
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_size,
                   const unsigned char *in, unsigned in_size, void *user)
{
    (void)ssl;
    (void)user;
    for (unsigned i = 0; i < in_size; i += 1u + in[i]) {
        if (in[i] == 2 && i + 2 < in_size && !memcmp(in + i + 1, "h2", 2)) {
            *out = in + i + 1;
            *out_size = 2;
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

// The client's own certificate must have one of the wanted names; its authority was checked.
static int on_verify(int ok, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    const struct ls_tls *tls = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

    if (!ok || X509_STORE_CTX_get_error_depth(store) != 0 || !tls->client_names[0])
        return ok;
    if (ls_tls_name_matches(X509_STORE_CTX_get_current_cert(store), tls->client_names))
        return 1;
    X509_STORE_CTX_set_error(store, X509_V_ERR_HOSTNAME_MISMATCH);
    return 0;
}

// Tickets spare the next handshake its signature; but they carry who the client was, and a reload
// must be able to take a client's right away: with client certificates there are none.
static void set_tickets(SSL_CTX *ctx, bool mutual)
{
    static const unsigned char context[] = "lipstream";

    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_session_id_context(ctx, context, sizeof context - 1);
    if (mutual)
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(ctx, mutual ? 0 : 1);
}

static int configure(struct ls_tls *tls, SSL_CTX *ctx, time_t *ends, struct ls_err *err)
{
    bool mutual = tls->client_ca[0];
    int r;

    SSL_CTX_set_app_data(ctx, tls);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_clear_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE);
    // Idle sessions give their record buffers back: 34 KB each.
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    set_tickets(ctx, mutual);
    if (!SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) ||
        !SSL_CTX_set_cipher_list(ctx, suites) ||
        !SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384"))
        return ls_tls_fail(err, LS_EINTERNAL, NULL, "TLS");
    r = load_chain(ctx, tls->cert, ends, err);
    if (r == 0)
        r = load_key(ctx, tls->key, err);
    if (r < 0 || !mutual)
        return r;
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, on_verify);
    SSL_CTX_set_verify_depth(ctx, CHAIN_DEPTH);
    SSL_CTX_set_max_cert_list(ctx, CLIENT_CHAIN);
    return load_authorities(ctx, tls->client_ca, err);
}

int ls_tls_reload(struct ls_tls *tls, struct ls_err *err)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method()), *old;
    time_t ends = (time_t)INT64_MAX;
    int r;

    if (!ctx)
        return ls_tls_fail(err, LS_ENOMEM, NULL, "TLS");
    r = configure(tls, ctx, &ends, err);
    if (r < 0) {
        SSL_CTX_free(ctx);
        return r;
    }
    pthread_mutex_lock(&tls->lock);
    old = tls->ctx;
    tls->ctx = ctx;
    pthread_mutex_unlock(&tls->lock);
    tls->ends = ends;
    SSL_CTX_free(old);
    return 0;
}

// A flag that would be ignored without another one is a mistake that leaves the port open.
static int check_flags(const struct ls_options *opt, struct ls_err *err)
{
    if (opt->tls_cert[0] && !opt->tls_key[0])
        return ls_fail_field(err, LS_EFIELD, "tls-key", "needed with --tls-cert");
    if (!opt->tls_cert[0] && (opt->tls_key[0] || opt->tls_client_ca[0] || opt->tls_client_names[0]))
        return ls_fail_field(err, LS_EFIELD, "tls-cert", "needed with the other --tls flags");
    if (opt->tls_client_names[0] && !opt->tls_client_ca[0])
        return ls_fail_field(err, LS_EFIELD, "tls-client-ca", "needed with --tls-client-names");
    return 0;
}

int ls_tls_open(struct ls_tls **out, const struct ls_options *opt, struct ls_err *err)
{
    struct ls_err own = {0};
    struct ls_tls *tls;
    int r;

    err = err ? err : &own;
    r = check_flags(opt, err);
    if (r < 0)
        return r;
    if (!opt->tls_cert[0]) {
        *out = NULL;
        return 0;
    }
    tls = calloc(1, sizeof *tls);
    if (!tls)
        return ls_fail(err, LS_ENOMEM, "TLS");
    pthread_mutex_init(&tls->lock, NULL);
    tls->cert = strdup(opt->tls_cert);
    tls->key = strdup(opt->tls_key);
    tls->client_ca = strdup(opt->tls_client_ca);
    tls->client_names = strdup(opt->tls_client_names);
    r = tls->cert && tls->key && tls->client_ca && tls->client_names
            ? ls_tls_reload(tls, err)
            : ls_fail(err, LS_ENOMEM, "TLS");
    if (r < 0)
        ls_tls_close(&tls);
    else
        *out = tls;
    return r;
}

bool ls_tls_mutual(const struct ls_tls *tls)
{
    return tls->client_ca[0];
}

int ls_tls_days_left(const struct ls_tls *tls)
{
    time_t left = tls->ends - time(NULL);

    return (int)(left >= 0 ? left / DAY_S : -1 - (-left - 1) / DAY_S);
}

void ls_tls_close(struct ls_tls **t)
{
    struct ls_tls *tls = *t;

    if (!tls)
        return;
    *t = NULL;
    SSL_CTX_free(tls->ctx);
    pthread_mutex_destroy(&tls->lock);
    free(tls->cert);
    free(tls->key);
    free(tls->client_ca);
    free(tls->client_names);
    free(tls);
}

SSL *ls_tls_ssl_new(struct ls_tls *tls)
{
    SSL *ssl;

    pthread_mutex_lock(&tls->lock);
    ssl = SSL_new(tls->ctx); // holds the set of files
    pthread_mutex_unlock(&tls->lock);
    return ssl;
}
