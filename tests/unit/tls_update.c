// SPDX-License-Identifier: Apache-2.0
// KeyUpdates of TLS 1.3. A caller that begins one and keeps its end: OpenSSL is back in a handshake
// then and cannot write. The session ends, the server lives. And one that sends nothing else, each
// of which costs new keys. OpenSSL's own client never does this, so records are sealed here (RFC
// 8446, 5.2 and 7).
#include <string.h>

#include <openssl/err.h>
#include <openssl/hmac.h>

#include "server/tls.h"
#include "tests/unit/_certs.h"
#include "tests/unit/_check.h"

enum {
    SECRET = 32,
    KEY = 16,
    NONCE = 12,
    TAG = 16,
    HEAD = 5,
    KEY_UPDATE = 24,
    HANDSHAKE = 22,
    DATA = 23
};

// --- the client's next record, sealed with its traffic secret ---

static uint8_t secret[SECRET];
static bool secret_known;

static void on_key(const SSL *ssl, const char *line)
{
    static const char label[] = "CLIENT_TRAFFIC_SECRET_0 ";
    const char *hex = strrchr(line, ' ');
    long size = 0;
    uint8_t *bytes;

    (void)ssl;
    if (strncmp(line, label, sizeof label - 1) != 0)
        return;
    bytes = OPENSSL_hexstr2buf(hex + 1, &size);
    secret_known = bytes && size == SECRET;
    if (secret_known)
        memcpy(secret, bytes, SECRET);
    OPENSSL_free(bytes);
}

// HKDF-Expand-Label of one block.
static void expand(const char *label, uint8_t *out, uint8_t size)
{
    uint8_t info[64] = {0, size, (uint8_t)(6 + strlen(label))}, block[SECRET];
    size_t at = 3;

    memcpy(info + at, "tls13 ", 6);
    memcpy(info + at + 6, label, strlen(label));
    at += 6 + strlen(label);
    info[at++] = 0; // no context
    info[at++] = 1; // the first block
    HMAC(EVP_sha256(), secret, SECRET, info, at, block, NULL);
    memcpy(out, block, size);
}

// The first record after the handshake: number 0, so the nonce is the IV. False: no OpenSSL.
static bool seal(uint8_t *out, const uint8_t *text, int size)
{
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    uint8_t key[KEY], iv[NONCE];
    int n = 0;
    bool ok;

    memcpy(out, "\x17\x03\x03\x00", 4);
    out[4] = (uint8_t)(size + TAG);
    expand("key", key, KEY);
    expand("iv", iv, NONCE);
    ok = EVP_EncryptInit_ex(cipher, EVP_aes_128_gcm(), NULL, key, iv) &&
         EVP_EncryptUpdate(cipher, NULL, &n, out, HEAD) &&
         EVP_EncryptUpdate(cipher, out + HEAD, &n, text, size) &&
         EVP_EncryptFinal_ex(cipher, out + HEAD + size, &n) &&
         EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_GET_TAG, TAG, out + HEAD + size);
    EVP_CIPHER_CTX_free(cipher);
    return ok;
}

// --- rows ---

static bool shake(SSL *client, struct ls_tls_session *s)
{
    char data[16384];

    for (int i = 0; i < 10; i++) {
        int n;

        SSL_do_handshake(client);
        while ((n = BIO_read(SSL_get_wbio(client), data, sizeof data)) > 0)
            CHECK(ls_tls_session_feed(s, data, (size_t)n, NULL) == 0, "feed");
        CHECK(ls_tls_session_read(s, data, sizeof data, NULL) == 0, "handshake");
        while ((n = ls_tls_session_take(s, data, sizeof data)) > 0)
            BIO_write(SSL_get_rbio(client), data, n);
    }
    ERR_clear_error();
    return SSL_is_init_finished(client) && ls_tls_session_ready(s) && secret_known;
}

static void update(struct ls_tls *tls, SSL_CTX *ctx, int bytes, bool lives, const char *row)
{
    // Type, three bytes of length, "not requested"; and at the end the record's type.
    uint8_t text[6] = {KEY_UPDATE, 0, 0, 1, 0}, record[HEAD + sizeof text + TAG], got[64];
    SSL *client = SSL_new(ctx);
    struct ls_tls_session *s = NULL;
    struct ls_err err = {0};
    int r;

    secret_known = false;
    SSL_set_bio(client, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(client);
    CHECK(ls_tls_session_new(&s, tls, NULL) == 0, row);
    CHECK(shake(client, s), row);
    text[bytes] = HANDSHAKE;
    CHECK(seal(record, text, bytes + 1), row);
    CHECK(ls_tls_session_feed(s, record, (size_t)(HEAD + bytes + 1 + TAG), NULL) == 0, row);
    CHECK(ls_tls_session_read(s, got, sizeof got, &err) == 0, row);
    r = ls_tls_session_write(s, "hello", 5, &err);
    CHECK(lives ? r == 0 : r == LS_EAUTH && err.code == r, row);
    r = ls_tls_session_read(s, got, sizeof got, &err);
    CHECK(lives ? r == 0 : r == LS_EAUTH, row);
    ls_tls_session_end(s);
    ls_tls_session_free(&s);
    SSL_free(client);
}

// Updates in a row, then a byte of data; all in one piece.
static void updates(struct ls_tls *tls, SSL_CTX *ctx, int count, bool lives, const char *row)
{
    static const uint8_t text[] = {KEY_UPDATE, 0, 0, 1, 0, HANDSHAKE}, data[] = {'x', DATA};
    static uint8_t records[2000 * (HEAD + sizeof text + TAG)];
    SSL *client = SSL_new(ctx);
    struct ls_tls_session *s = NULL;
    struct ls_err err = {0};
    size_t size = 0;
    uint8_t got[8];
    int r;

    secret_known = false;
    SSL_set_bio(client, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(client);
    CHECK(ls_tls_session_new(&s, tls, NULL) == 0, row);
    CHECK(shake(client, s), row);
    for (int i = 0; i < count; i++, size += HEAD + sizeof text + TAG) {
        CHECK(seal(records + size, text, sizeof text), row);
        expand("traffic upd", secret, SECRET);
    }
    CHECK(seal(records + size, data, sizeof data), row);
    size += HEAD + sizeof data + TAG;
    CHECK(ls_tls_session_feed(s, records, size, NULL) == 0, row);
    r = ls_tls_session_read(s, got, sizeof got, &err);
    CHECK(lives ? r == 1 && got[0] == 'x' : r == LS_EAUTH && err.code == r, row);
    CHECK(ls_tls_session_write(s, "y", 1, NULL) == (lives ? 0 : LS_EAUTH), row);
    ls_tls_session_free(&s);
    SSL_free(client);
}

int main(void)
{
    struct test_cert ca = certs_make(&(struct test_cert_params){.name = "CA"});
    struct test_cert own = certs_make(&(struct test_cert_params){
        .name = "server", .san = "DNS:localhost", .usage = "serverAuth", .ca = &ca});
    SSL_CTX *ctx = certs_client(&ca, NULL);
    struct ls_tls *tls = NULL;
    struct ls_options opt;
    struct ls_err err = {0};

    SSL_CTX_set_keylog_callback(ctx, on_key);
    SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
    SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256");
    SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)"\2h2", 3);
    ls_options_init(&opt);
    opt.tls_cert = certs_write("server.pem", own.cert, NULL, NULL, NULL);
    opt.tls_key = certs_write("server.key", NULL, NULL, own.key, NULL);
    if (CHECK(ls_tls_open(&tls, &opt, &err) == 0, "open")) {
        update(tls, ctx, 5, true, "a whole KeyUpdate");
        updates(tls, ctx, 32, true, "32 updates");
        updates(tls, ctx, 33, false, "33 updates");
        updates(tls, ctx, 1900, false, "1900 updates");
        update(tls, ctx, 4, false, "a KeyUpdate without its last byte");
    }
    ls_tls_close(&tls);
    SSL_CTX_free(ctx);
    certs_free(&own);
    certs_free(&ca);
    certs_done();
    return check_done();
}
