// SPDX-License-Identifier: Apache-2.0
// TLS sessions against OpenSSL's client, in memory: which protocols, suites and callers are let in,
// reloads, and bytes that come cut, broken or all at once. See tls_files.c for files.
#include <string.h>

#include <openssl/err.h>

#include "server/tls.h"
#include "tests/unit/_certs.h"
#include "tests/unit/_check.h"

static struct test_cert ca, foreign, server, other;
static const char *server_path, *key_path, *ca_path;

// --- a client and a session, and what passes between them ---

struct pair {
    SSL *client;
    struct ls_tls_session *session;
    struct ls_err err; // the session's end
    char got[256];     // by the session
    int got_size;
    int cut;         // bytes that pass at once
    bool to_session; // bytes of the client arrive
};

static struct ls_tls *open_tls(const struct ls_options *opt, const char *row)
{
    struct ls_tls *tls = NULL;
    struct ls_err err = {0};

    CHECK(ls_tls_open(&tls, opt, &err) == 0 && tls, row);
    if (err.code)
        printf("  %s\n", err.text);
    return tls;
}

static void pair_open(struct pair *p, struct ls_tls *tls, SSL_CTX *ctx, const char *row)
{
    *p = (struct pair){.client = SSL_new(ctx), .cut = 1 << 20, .to_session = true};
    SSL_set_bio(p->client, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(p->client);
    CHECK(ls_tls_session_new(&p->session, tls, &p->err) == 0, row);
}

static void pair_close(struct pair *p)
{
    SSL_free(p->client);
    ls_tls_session_free(&p->session);
}

// One step of both; false: nothing moved.
static bool pair_step(struct pair *p)
{
    BIO *in = SSL_get_rbio(p->client), *out = SSL_get_wbio(p->client);
    char data[16384];
    bool moved = false;
    int n = sizeof data < (size_t)p->cut ? (int)sizeof data : p->cut;

    n = p->to_session ? BIO_read(out, data, n) : 0;
    if (n > 0) {
        moved = true;
        CHECK(ls_tls_session_feed(p->session, data, (size_t)n, NULL) == 0, "feed");
    }
    n = ls_tls_session_read(
        p->session, p->got + p->got_size,
        (int)sizeof p->got - p->got_size > 0 ? (int)sizeof p->got - p->got_size : 1, &p->err);
    if (n > 0 && p->got_size + n <= (int)sizeof p->got) {
        p->got_size += n;
        moved = true;
    }
    n = ls_tls_session_take(p->session, data,
                            sizeof data < (size_t)p->cut ? (int)sizeof data : p->cut);
    if (n > 0) {
        moved = true;
        BIO_write(in, data, n);
    }
    return moved;
}

// True: both say that they are done.
static bool pair_shake(struct pair *p)
{
    int r = 0;

    for (int i = 0; i < 100000; i++) {
        r = SSL_is_init_finished(p->client) ? 1 : SSL_do_handshake(p->client);
        if (r != 1 && SSL_get_error(p->client, r) != SSL_ERROR_WANT_READ)
            while (pair_step(p))
                ;
        if (!pair_step(p) && (r == 1 || SSL_get_error(p->client, r) != SSL_ERROR_WANT_READ ||
                              BIO_ctrl_pending(SSL_get_rbio(p->client)) == 0))
            break;
    }
    ERR_clear_error();
    return r == 1 && !p->err.code && ls_tls_session_ready(p->session);
}

static struct ls_options options(void)
{
    struct ls_options opt;

    ls_options_init(&opt);
    opt.tls_cert = server_path;
    opt.tls_key = key_path;
    return opt;
}

// --- who is let in ---

#define ALPN(...) (const unsigned char *)__VA_ARGS__
static const struct {
    const char *name;
    int first, last;    // protocols
    const char *suites; // of 1.2; NULL: OpenSSL's
    const unsigned char *alpn;
    int alpn_size;
    bool in;
    const char *chosen; // ALPN
} callers[] = {
    {"1.3", TLS1_3_VERSION, TLS1_3_VERSION, NULL, ALPN("\2h2"), 3, true, "h2"},
    {"1.2", TLS1_2_VERSION, TLS1_2_VERSION, NULL, ALPN("\2h2"), 3, true, "h2"},
    {"1.2, ChaCha20", TLS1_2_VERSION, TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305", ALPN("\2h2"),
     3, true, "h2"},
    {"1.1", TLS1_1_VERSION, TLS1_1_VERSION, "ALL:@SECLEVEL=0", ALPN("\2h2"), 3, false, NULL},
    {"1.0 to 1.1", TLS1_VERSION, TLS1_1_VERSION, "ALL:@SECLEVEL=0", ALPN("\2h2"), 3, false, NULL},
    {"1.2, CBC alone", TLS1_2_VERSION, TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA256", ALPN("\2h2"), 3,
     false, NULL},
    {"1.2, no forward secrecy", TLS1_2_VERSION, TLS1_2_VERSION, "AES128-GCM-SHA256", ALPN("\2h2"),
     3, false, NULL},
    {"1.2, no certificate", TLS1_2_VERSION, TLS1_2_VERSION, "aNULL:@SECLEVEL=0", ALPN("\2h2"), 3,
     false, NULL},
    {"no ALPN", TLS1_2_VERSION, TLS1_3_VERSION, NULL, NULL, 0, true, ""},
    {"gRPC's ALPN", TLS1_2_VERSION, TLS1_3_VERSION, NULL, ALPN("\10grpc-exp\2h2"), 12, true, "h2"},
    {"h2 after http/1.1", TLS1_2_VERSION, TLS1_3_VERSION, NULL, ALPN("\10http/1.1\2h2"), 12, true,
     "h2"},
    {"http/1.1 alone", TLS1_2_VERSION, TLS1_3_VERSION, NULL, ALPN("\10http/1.1"), 9, false, NULL},
    {"h2c is not h2", TLS1_3_VERSION, TLS1_3_VERSION, NULL, ALPN("\3h2c"), 4, false, NULL},
};

static void handshakes(void)
{
    struct ls_options opt = options();
    struct ls_tls *tls = open_tls(&opt, "handshakes");

    for (size_t i = 0; i < sizeof callers / sizeof callers[0]; i++) {
        const char *row = callers[i].name;
        SSL_CTX *ctx = certs_client(&ca, NULL);
        const unsigned char *alpn = NULL;
        unsigned alpn_size = 0;
        struct ls_peer peer = {.loopback = true};
        struct pair p;
        bool in;

        SSL_CTX_set_min_proto_version(ctx, callers[i].first);
        SSL_CTX_set_max_proto_version(ctx, callers[i].last);
        if (callers[i].suites)
            CHECK(SSL_CTX_set_cipher_list(ctx, callers[i].suites), row);
        if (callers[i].alpn)
            SSL_CTX_set_alpn_protos(ctx, callers[i].alpn, (unsigned)callers[i].alpn_size);
        pair_open(&p, tls, ctx, row);
        in = pair_shake(&p);
        CHECK(in == callers[i].in, row);
        CHECK(in ? !p.err.code : p.err.code == LS_EAUTH, row);
        if (in && callers[i].in) {
            SSL_get0_alpn_selected(p.client, &alpn, &alpn_size);
            CHECK(alpn_size == strlen(callers[i].chosen) &&
                      !memcmp(alpn ? (const char *)alpn : "", callers[i].chosen, alpn_size),
                  row);
            ls_tls_session_peer(p.session, &peer);
            CHECK(peer.tls && !peer.certified && !peer.certificate[0] && peer.loopback, row);
        }
        pair_close(&p);
        SSL_CTX_free(ctx);
    }
    ls_tls_close(&tls);
}

static const struct {
    const char *name;
    struct test_cert_params params; // ca is filled in
    bool foreign, none;
    const char *names; // --tls-client-names
    bool in;
    const char *certificate; // as known afterwards
} certified[] = {
    {"good",
     {.name = "a", .san = "DNS:a.example", .usage = "clientAuth"},
     .in = true,
     .certificate = "a.example"},
    {"no usage named",
     {.name = "a", .san = "DNS:a.example"},
     .in = true,
     .certificate = "a.example"},
    {"common name only", {.name = "plain"}, .in = true, .certificate = "plain"},
    {"common name with a blank", {.name = "two words"}, .in = true, .certificate = ""},
    {"URI first",
     {.name = "a", .san = "IP:10.0.0.1,URI:spiffe://x/y,DNS:z"},
     .in = true,
     .certificate = "spiffe://x/y"},
    {"none", {.name = "a"}, .none = true},
    {"foreign authority", {.name = "a", .san = "DNS:a.example"}, .foreign = true},
    {"expired", {.name = "a", .from_s = -7200, .to_s = -3600}, .in = false},
    {"not yet", {.name = "a", .from_s = 3600}, .in = false},
    {"a server's", {.name = "a", .usage = "serverAuth"}, .in = false},
    {"right name",
     {.name = "a", .san = "DNS:b.example,DNS:A.example"},
     .names = "x,a.example,y",
     .in = true,
     .certificate = "b.example"},
    {"right URI",
     {.name = "a", .san = "URI:spiffe://x/envoy"},
     .names = "spiffe://x/envoy",
     .in = true,
     .certificate = "spiffe://x/envoy"},
    {"right IP",
     {.name = "a", .san = "IP:10.0.0.1"},
     .names = "10.0.0.1",
     .in = true,
     .certificate = "a"},
    {"wrong name", {.name = "a.example", .san = "DNS:b.example"}, .names = "a.example"},
    {"URI in capitals", {.name = "a", .san = "URI:spiffe://x/ENVOY"}, .names = "spiffe://x/envoy"},
    {"part of a name", {.name = "a", .san = "DNS:a.exam"}, .names = "a.example"},
    {"no names", {.name = "a.example"}, .names = "a.example"},
};

static void mutual_row(size_t i, int protocol)
{
    const char *row = certified[i].name;
    struct test_cert_params params = certified[i].params;
    struct ls_options opt = options();
    struct test_cert own = {.cert = NULL};
    struct ls_peer peer = {.tls = false};
    struct ls_tls *tls;
    struct pair p;
    SSL_CTX *ctx;
    bool in;

    params.ca = certified[i].foreign ? &foreign : &ca;
    own = certs_make(&params);
    opt.tls_client_ca = ca_path;
    opt.tls_client_names = certified[i].names ? certified[i].names : "";
    tls = open_tls(&opt, row);
    CHECK(ls_tls_mutual(tls), row);
    ctx = certs_client(&ca, certified[i].none ? NULL : &own);
    SSL_CTX_set_max_proto_version(ctx, protocol);
    pair_open(&p, tls, ctx, row);
    in = pair_shake(&p);
    CHECK(in == certified[i].in, row);
    if (in && certified[i].in) {
        ls_tls_session_peer(p.session, &peer);
        CHECK(peer.certified && !strcmp(peer.certificate, certified[i].certificate), row);
    } else if (!in) {
        char byte;

        CHECK(p.err.code == LS_EAUTH && p.err.text[0], row);
        // The caller hears an alert (in 1.3 it thinks it is in until then).
        CHECK(SSL_read(p.client, &byte, 1) <= 0 &&
                  SSL_get_error(p.client, 0) != SSL_ERROR_WANT_READ,
              row);
        CHECK(ls_tls_session_read(p.session, &byte, 1, NULL) == LS_EAUTH, row);
        CHECK(ls_tls_session_write(p.session, &byte, 1, NULL) == LS_EAUTH, row);
    }
    ERR_clear_error();
    pair_close(&p);
    SSL_CTX_free(ctx);
    ls_tls_close(&tls);
    certs_free(&own);
}

static void mutual(void)
{
    for (size_t i = 0; i < sizeof certified / sizeof certified[0]; i++) {
        mutual_row(i, TLS1_3_VERSION);
        mutual_row(i, TLS1_2_VERSION);
    }
}

// --- reload ---

static const char *name_of_server(struct ls_tls *tls, struct pair *p, SSL_CTX *ctx)
{
    static char name[64];

    pair_open(p, tls, ctx, "reload");
    name[0] = '\0';
    if (pair_shake(p)) {
        X509 *cert = SSL_get1_peer_certificate(p->client);

        X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, name, sizeof name);
        X509_free(cert);
    }
    return name;
}

static void reload(void)
{
    struct ls_options opt = options();
    SSL_CTX *ctx = certs_client(&ca, NULL);
    struct ls_err err = {0};
    struct pair old, half, new;
    struct ls_tls *tls;

    opt.tls_cert = certs_write("live.pem", server.cert, NULL, NULL, NULL);
    opt.tls_key = certs_write("live.key", NULL, NULL, server.key, NULL);
    tls = open_tls(&opt, "reload");
    CHECK(ls_tls_days_left(tls) == 9, "days left"); // ten, less some seconds
    CHECK(!strcmp(name_of_server(tls, &old, ctx), "first"), "first set");
    pair_open(&half, tls, ctx, "half");
    SSL_do_handshake(half.client); // its hello is on its way
    certs_write("live.pem", other.cert, NULL, NULL, NULL);
    CHECK(ls_tls_reload(tls, &err) == LS_EFIELD && !strcmp(err.field, "tls-key"), "half a set");
    CHECK(!strcmp(name_of_server(tls, &new, ctx), "first"), "the old set stays");
    pair_close(&new);
    certs_write("live.key", NULL, NULL, other.key, NULL);
    CHECK(ls_tls_reload(tls, &err) == 0, "second set");
    CHECK(!strcmp(name_of_server(tls, &new, ctx), "second"), "new sessions get it");
    CHECK(ls_tls_days_left(tls) == 0, "days left of the second");
    CHECK(pair_shake(&half), "a handshake under way goes on");
    CHECK(SSL_write(old.client, "on", 2) == 2 && pair_step(&old) && old.got_size == 2 &&
              !memcmp(old.got, "on", 2),
          "an old session goes on");
    CHECK(ls_tls_session_write(old.session, "yes", 3, NULL) == 0, "in both directions");
    pair_step(&old);
    CHECK(SSL_read(old.client, old.got, 3) == 3 && !memcmp(old.got, "yes", 3), "the client's side");
    pair_close(&old);
    pair_close(&half);
    pair_close(&new);
    SSL_CTX_free(ctx);
    ls_tls_close(&tls);
}

// --- bytes ---

static void broken_bytes(void)
{
    static const char http[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    struct ls_options opt = options();
    struct ls_tls *tls = open_tls(&opt, "broken");
    SSL_CTX *ctx = certs_client(&ca, NULL);
    struct ls_err err = {0};
    char data[4096];
    struct pair p;
    int n;

    pair_open(&p, tls, ctx, "HTTP");
    CHECK(ls_tls_session_feed(p.session, http, sizeof http - 1, NULL) == 0 &&
              ls_tls_session_read(p.session, data, sizeof data, &err) == LS_EAUTH && err.text[0],
          "HTTP in the clear");
    pair_close(&p);
    for (unsigned seed = 1; seed <= 200; seed++) {
        pair_open(&p, tls, ctx, "garbage");
        srand(seed);
        for (n = 0; n < (int)sizeof data; n++)
            data[n] = (char)rand();
        if (seed % 2) // looks like a hello
            memcpy(data, "\x16\x03\x01\x02\x00\x01", 6);
        CHECK(ls_tls_session_feed(p.session, data, sizeof data, NULL) == 0, "garbage");
        CHECK(ls_tls_session_read(p.session, data, sizeof data, &err) == LS_EAUTH, "garbage");
        CHECK(!ls_tls_session_ready(p.session), "garbage is no handshake");
        pair_close(&p);
    }
    // A record whose bytes were changed on the way.
    pair_open(&p, tls, ctx, "changed");
    CHECK(pair_shake(&p), "changed");
    SSL_write(p.client, "hello", 5);
    n = BIO_read(SSL_get_wbio(p.client), data, sizeof data);
    data[n - 1] ^= 1;
    CHECK(ls_tls_session_feed(p.session, data, (size_t)n, NULL) == 0 &&
              ls_tls_session_read(p.session, data, sizeof data, &err) == LS_EAUTH,
          "a changed record");
    CHECK(ls_tls_session_take(p.session, data, sizeof data) > 0, "an alert tells of it");
    pair_close(&p);
    SSL_CTX_free(ctx);
    ls_tls_close(&tls);
}

// One byte at a time, in both directions.
static void cut_records(void)
{
    struct ls_options opt = options();
    struct ls_tls *tls = open_tls(&opt, "cut");
    SSL_CTX *ctx = certs_client(&ca, NULL);
    struct pair p;

    pair_open(&p, tls, ctx, "cut");
    p.cut = 1;
    CHECK(pair_shake(&p), "a handshake byte by byte");
    SSL_write(p.client, "hello", 5);
    while (pair_step(&p))
        ;
    CHECK(p.got_size == 5 && !memcmp(p.got, "hello", 5), "a record byte by byte");
    SSL_write(p.client, "never", 5);
    for (int i = 0; i < 20; i++)
        pair_step(&p); // all but its end
    CHECK(p.got_size == 5 && !p.err.code, "half a record gives nothing");
    pair_close(&p);
    SSL_CTX_free(ctx);
    ls_tls_close(&tls);
}

static void big_writes(int protocol)
{
    enum { SIZE = 3000001 };
    struct ls_options opt = options();
    struct ls_tls *tls = open_tls(&opt, "big");
    SSL_CTX *ctx = certs_client(&ca, NULL);
    unsigned char *data = malloc(SIZE), *got = malloc(SIZE), chunk[30000];
    size_t sent = 0, taken = 0;
    struct pair p;
    int n;

    SSL_CTX_set_max_proto_version(ctx, protocol);
    pair_open(&p, tls, ctx, "big");
    CHECK(pair_shake(&p), "big");
    for (size_t i = 0; i < SIZE; i++)
        data[i] = (unsigned char)(i * 31 + i / 251);
    CHECK(ls_tls_session_write(p.session, data, SIZE, NULL) == 0, "one write of 3 MB");
    while ((n = ls_tls_session_take(p.session, chunk, 1 + rand() % (int)sizeof chunk)) > 0) {
        BIO_write(SSL_get_rbio(p.client), chunk, n);
        while (taken < SIZE && (n = SSL_read(p.client, got + taken, (int)(SIZE - taken))) > 0)
            taken += (size_t)n;
    }
    CHECK(taken == SIZE && !memcmp(data, got, SIZE), "3 MB to the client");
    taken = 0;
    while (taken < SIZE) {
        if (sent < SIZE) {
            n = SSL_write(p.client, data + sent, (int)(SIZE - sent > 70000 ? 70000 : SIZE - sent));
            sent += n > 0 ? (size_t)n : 0;
        }
        n = BIO_read(SSL_get_wbio(p.client), chunk, 1 + rand() % (int)sizeof chunk);
        if (n > 0)
            CHECK(ls_tls_session_feed(p.session, chunk, (size_t)n, NULL) == 0, "feed");
        while (taken < SIZE &&
               (n = ls_tls_session_read(p.session, got + taken, (int)(SIZE - taken), &p.err)) > 0)
            taken += (size_t)n;
        if (!CHECK(n >= 0 || taken == SIZE, "from the client"))
            break;
    }
    CHECK(taken == SIZE && !memcmp(data, got, SIZE), "3 MB from the client");
    free(data);
    free(got);
    pair_close(&p);
    SSL_CTX_free(ctx);
    ls_tls_close(&tls);
}

static void ends(void)
{
    struct ls_options opt = options();
    struct ls_tls *tls = open_tls(&opt, "ends");
    SSL_CTX *ctx = certs_client(&ca, NULL);
    struct ls_err err = {0};
    char byte;
    struct pair p;

    pair_open(&p, tls, ctx, "client ends");
    CHECK(pair_shake(&p), "client ends");
    SSL_write(p.client, "last", 4);
    SSL_shutdown(p.client);
    while (pair_step(&p))
        ;
    CHECK(p.got_size == 4 && ls_tls_session_read(p.session, &byte, 1, &err) == LS_ECANCEL,
          "the client's close_notify");
    pair_close(&p);
    pair_open(&p, tls, ctx, "server ends");
    CHECK(pair_shake(&p), "server ends");
    ls_tls_session_end(p.session);
    pair_step(&p);
    CHECK(SSL_read(p.client, &byte, 1) == 0 && SSL_get_error(p.client, 0) == SSL_ERROR_ZERO_RETURN,
          "our close_notify");
    pair_close(&p);
    // A second handshake in a session of 1.2 is refused, and one key after another is not answered
    // with ever more memory: one answer each.
    SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
    pair_open(&p, tls, ctx, "renegotiation");
    CHECK(pair_shake(&p), "renegotiation");
    SSL_renegotiate(p.client);
    SSL_do_handshake(p.client);
    while (pair_step(&p))
        ;
    CHECK(SSL_do_handshake(p.client) <= 0, "renegotiation is refused");
    ERR_clear_error();
    pair_close(&p);
    SSL_CTX_free(ctx);
    ls_tls_close(&tls);
}

static int session_count;

static int on_session(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    session_count += SSL_SESSION_is_resumable(session);
    return 0;
}

// Tickets only where they cannot outlive a client's right to come in.
static void tickets(int protocol, bool with_certificate, int want, const char *row)
{
    struct test_cert own =
        certs_make(&(struct test_cert_params){.name = "a", .ca = &ca, .usage = "clientAuth"});
    SSL_CTX *ctx = certs_client(&ca, &own);
    struct ls_options opt = options();
    struct ls_tls *tls;
    struct pair p;
    char byte;

    opt.tls_client_ca = with_certificate ? ca_path : "";
    tls = open_tls(&opt, row);
    SSL_CTX_set_max_proto_version(ctx, protocol);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, on_session);
    session_count = 0;
    pair_open(&p, tls, ctx, row);
    CHECK(pair_shake(&p), row);
    SSL_read(p.client, &byte, 1); // takes tickets of 1.3
    CHECK(session_count == want, row);
    pair_close(&p);
    ls_tls_close(&tls);
    SSL_CTX_free(ctx);
    certs_free(&own);
}

int main(void)
{
    ca = certs_make(&(struct test_cert_params){.name = "ca"});
    foreign = certs_make(&(struct test_cert_params){.name = "foreign"});
    server = certs_make(&(struct test_cert_params){
        .name = "first", .san = "DNS:localhost", .ca = &ca, .to_s = 864000 - 5});
    other = certs_make(&(struct test_cert_params){
        .name = "second", .san = "DNS:localhost", .ca = &ca, .to_s = 999});
    server_path = certs_write("server.pem", server.cert, NULL, NULL, NULL);
    key_path = certs_write("server.key", NULL, NULL, server.key, NULL);
    ca_path = certs_write("ca.pem", ca.cert, NULL, NULL, NULL);
    handshakes();
    mutual();
    reload();
    broken_bytes();
    cut_records();
    big_writes(TLS1_3_VERSION);
    big_writes(TLS1_2_VERSION);
    ends();
    tickets(TLS1_3_VERSION, false, 1, "a ticket of 1.3");
    tickets(TLS1_2_VERSION, false, 1, "a ticket of 1.2");
    tickets(TLS1_3_VERSION, true, 0, "no ticket with a client's certificate");
    tickets(TLS1_2_VERSION, true, 0, "no ticket with a client's certificate, 1.2");
    certs_free(&ca);
    certs_free(&foreign);
    certs_free(&server);
    certs_free(&other);
    certs_done();
    return check_done();
}
