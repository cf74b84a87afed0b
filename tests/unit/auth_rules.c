// SPDX-License-Identifier: Apache-2.0
// Who may do what: token files with every fault, what --anonymous, tokens, keys and certificates
// mean together, which starts are refused, reloads. JWTs themselves are in auth.c.
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "server/auth_impl.h"
#include "tests/unit/_check.h"
#include "tests/unit/_jwt.h"

// SHA-256 of "abc" (FIPS 180-2, B.1) and of the empty text.
#define ABC   "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define OTHER "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"

enum { ALL = LS_SCOPE_SYNC | LS_SCOPE_INFO | LS_SCOPE_ADMIN };

static const struct ls_peer near = {.address = "127.0.0.1:9", .loopback = true};
static const struct ls_peer far = {.address = "10.0.0.1:9"};
static const struct ls_peer certified = {
    .address = "10.0.0.1:9", .tls = true, .certified = true, .certificate = "spiffe://a b/c"};
static const struct ls_peer certified_near = {.address = "127.0.0.1:9",
                                              .loopback = true,
                                              .tls = true,
                                              .certified = true,
                                              .certificate = "envoy"};

static int open_tokens(struct ls_auth **out, const char *text, size_t size, int mode,
                       struct ls_err *err)
{
    char *path = jwt_file(text, size, mode);
    struct ls_options opt;
    int r;

    ls_options_init(&opt);
    opt.tokens = path;
    opt.tokens_max = 3;
    r = ls_auth_open(out, &opt, err);
    unlink(path);
    free(path);
    return r;
}

static void bad_files(void)
{
    static const struct {
        const char *name, *text, *says;
        int mode;
    } row[] = {
        {"empty", "", "has no token", 0600},
        {"comments alone", "# a\n\n   # b\n", "has no token", 0600},
        {"readable by others", "a " ABC " sync\n", "others may read", 0644},
        {"writable by others", "a " ABC " sync\n", "others may write", 0602},
        {"a token itself", "a abcdefghijklmnopqrstuvwxyz sync\n", "line 1: the second word", 0600},
        {"hash alone", ABC "\n", "fewer words", 0600},
        {"no scopes", "a " ABC "\n", "fewer words", 0600},
        {"four words", "a " ABC " sync info\n", "more words", 0600},
        {"hash too short", "a " ABC "\na ba7816 sync", "line 1", 0600},
        {"hash not hexadecimal",
         "a xa7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
         " sync",
         "64 hexadecimal", 0600},
        {"hash too long", "a " ABC "0 sync\n", "64 hexadecimal", 0600},
        {"unknown scope", "a " ABC " sync,all\n", "\"sync,all\" is no list", 0600},
        {"empty scope", "a " ABC " sync,\n", "is no list", 0600},
        {"comma alone", "a " ABC " ,\n", "is no list", 0600},
        {"scope in capitals", "a " ABC " SYNC\n", "is no list", 0600},
        {"name too long",
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa " ABC " sync\n",
         "a name is", 0600},
        {"name not ASCII", "\u00e9 " ABC " sync\n", "a name is", 0600},
        {"twice the token", "a " ABC " sync\n# x\nb " ABC " info\n", "line 3: this token", 0600},
        {"too many",
         "a " ABC " sync\nb " EMPTY " info\nc " OTHER " sync\n"
         "d 00"
         "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff sync",
         "line 4: more than 3 tokens", 0600},
    };

    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct ls_auth *auth = NULL;
        struct ls_err err = {0};

        CHECK(open_tokens(&auth, row[i].text, strlen(row[i].text), row[i].mode, &err) ==
                      LS_EFIELD &&
                  !auth && !strcmp(err.field, "tokens"),
              row[i].name);
        if (!CHECK(strstr(err.text, row[i].says) != NULL, row[i].name))
            printf("  %s\n", err.text);
        CHECK(!strstr(err.text, "abcdefghij"), "a token in the file is never repeated");
    }
}

static void odd_files(void)
{
    static const char zero[] = "a " ABC " sync\0\n";
    static const char loose[] = "\t a \t" ABC "  sync,info # \r\n\r\nb " EMPTY " admin";
    static char big[4096];
    struct ls_auth *auth = NULL;
    struct ls_options opt;
    struct ls_err err = {0};

    CHECK(open_tokens(&auth, zero, sizeof zero - 1, 0600, &err) == LS_EFIELD &&
              strstr(err.text, "zero byte"),
          "zero byte");
    memset(big, '#', sizeof big);
    CHECK(open_tokens(&auth, big, sizeof big, 0600, &err) == LS_EFIELD &&
              strstr(err.text, "4096 bytes; at most 1536"),
          "too large");
    CHECK(open_tokens(&auth, loose, sizeof loose - 1, 0640, &err) == 0, err.text);
    ls_auth_close(&auth);
    ls_options_init(&opt);
    opt.tokens = "/nonexistent/tokens";
    CHECK(ls_auth_open(&auth, &opt, &err) == LS_EFIELD && strstr(err.text, "No such file"),
          "no file");
    opt.tokens = "/";
    CHECK(ls_auth_open(&auth, &opt, &err) == LS_EFIELD && strstr(err.text, "no regular file"),
          "a folder");
    opt.tokens = "/dev/zero";
    CHECK(ls_auth_open(&auth, &opt, &err) == LS_EFIELD && strstr(err.text, "no regular file"),
          "a device");
}

// Which starts are refused, by the flag that is to blame.
static void starts(void)
{
    static const struct {
        const char *name, *listen, *anonymous, *jwks, *issuer, *audience, *cert, *ca;
        const char *field; // NULL: it starts
    } row[] = {
        {"loopback", "127.0.0.1:0", "auto", "", "", "", "", "", NULL},
        {"loopback of its own", "127.9.9.9:0", "auto", "", "", "", "", "", NULL},
        {"loopback v6", "[::1]:0", "auto", "", "", "", "", "", NULL},
        {"loopback mapped", "[::ffff:127.0.0.1]:0", "auto", "", "", "", "", "", NULL},
        {"mapped, not loopback", "[::ffff:10.0.0.1]:0", "auto", "", "", "", "", "", "listen"},
        {"localhost", "localhost:0", "never", "", "", "", "", "", NULL},
        {"all addresses", "0.0.0.0:0", "auto", "", "", "", "", "", "listen"},
        {"all, v6", "[::]:0", "auto", "", "", "", "", "", "listen"},
        {"all, no host", ":50051", "auto", "", "", "", "", "", "listen"},
        {"a name", "lipstream.test:1", "loopback", "", "", "", "", "", "listen"},
        {"a name like loopback", "127.0.0.1.test:1", "auto", "", "", "", "", "", "listen"},
        {"loopback as number", "2130706433:1", "auto", "", "", "", "", "", "listen"},
        {"never, to all", "0.0.0.0:0", "never", "", "", "", "", "", "listen"},
        {"always, to all", "0.0.0.0:0", "always", "", "", "", "", "", NULL},
        {"TLS alone tells nobody", "0.0.0.0:0", "auto", "", "", "", "c", "", "listen"},
        {"mutual TLS", "0.0.0.0:0", "auto", "", "", "", "c", "a", NULL},
        {"authorities without TLS", "0.0.0.0:0", "auto", "", "", "", "", "a", "listen"},
        {"keys without issuer", "127.0.0.1:0", "auto", "/x", "", "b", "", "", "jwks"},
        {"keys without audience", "127.0.0.1:0", "auto", "/x", "a", "", "", "", "jwks"},
        {"issuer without keys", "127.0.0.1:0", "auto", "", "a", "", "", "", "jwt-issuer"},
        {"audience without keys", "127.0.0.1:0", "auto", "", "", "b", "", "", "jwt-audience"},
        {"no such keys", "127.0.0.1:0", "auto", "/nonexistent/x", "a", "b", "", "", "jwks"},
    };

    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct ls_auth *auth = NULL;
        struct ls_options opt;
        struct ls_err err = {0};
        int r;

        ls_options_init(&opt);
        opt.listen = row[i].listen;
        opt.anonymous = row[i].anonymous;
        opt.jwks = row[i].jwks;
        opt.jwt_issuer = row[i].issuer;
        opt.jwt_audience = row[i].audience;
        opt.tls_cert = row[i].cert;
        opt.tls_client_ca = row[i].ca;
        r = ls_auth_open(&auth, &opt, &err);
        CHECK(row[i].field ? r == LS_EFIELD && !auth && !strcmp(err.field, row[i].field)
                           : r == 0 && auth,
              row[i].name);
        ls_auth_close(&auth);
    }
}

// Scopes that a caller gets; 0: LS_EAUTH.
static int granted(const struct ls_auth *auth, const struct ls_peer *peer, const char *header)
{
    int scopes = 0;

    for (int scope = 1; scope <= LS_SCOPE_ADMIN; scope *= 2) {
        struct ls_identity who;
        struct ls_err err = {0};
        char *exact = header ? malloc(strlen(header) + 1) : NULL; // not zero-terminated
        int r, size = header ? (int)strlen(header) : 0;

        if (header)
            memcpy(exact, header, (size_t)size);
        r = ls_auth_check(auth, &who, peer, exact, size, (enum ls_scope)scope, &err);
        free(exact);
        CHECK(r == 0 || r == LS_EAUTH || r == LS_ESCOPE, "the three answers");
        CHECK((r == 0) == ((who.scopes & scope) != 0), "the identity says the same");
        scopes |= r == 0 ? scope : 0;
    }
    return scopes;
}

static void anonymous(void)
{
    // Scopes of: near, far, certified, certified and near.
    static const struct {
        const char *how;
        bool tokens, mutual;
        int nobody[4];
    } row[] = {
        {"auto", false, false, {ALL, 0, 3, 3}},
        {"auto", true, false, {0, 0, 0, 0}},
        {"auto", false, true, {ALL, 0, 3, 3}}, // near without TLS: that is the admin port
        {"auto", true, true, {0, 0, 0, 0}},
        {"loopback", false, false, {ALL, 0, 3, ALL}},
        {"loopback", true, false, {ALL, 0, 0, ALL}},
        {"loopback", true, true, {ALL, 0, 0, ALL}},
        {"always", false, false, {ALL, ALL, ALL, ALL}},
        {"always", true, true, {ALL, ALL, ALL, ALL}},
        {"never", false, false, {0, 0, 3, 3}},
        {"never", true, true, {0, 0, 0, 0}},
    };

    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        const struct ls_peer *peer[] = {&near, &far, &certified, &certified_near};
        char *path = jwt_file("a " ABC " info\n", strlen("a " ABC " info\n"), 0600);
        struct ls_auth *auth = NULL;
        struct ls_options opt;
        struct ls_err err = {0};

        ls_options_init(&opt);
        opt.anonymous = row[i].how;
        opt.tokens = row[i].tokens ? path : "";
        opt.tls_cert = opt.tls_client_ca = row[i].mutual ? "x" : "";
        CHECK(ls_auth_open(&auth, &opt, &err) == 0, err.text);
        for (int k = 0; auth && k < 4; k++) {
            int want = row[i].nobody[k];

            if (!CHECK(granted(auth, peer[k], NULL) == want, row[i].how))
                printf("  row %zu, peer %d\n", i, k);
            // With tokens, only they count once one came; without, they are not looked at.
            if (!CHECK(granted(auth, peer[k], "Bearer abc") ==
                           (row[i].tokens ? LS_SCOPE_INFO : want),
                       row[i].how))
                printf("  row %zu, peer %d, a token\n", i, k);
            if (row[i].tokens)
                CHECK(granted(auth, peer[k], "Bearer abd") == 0, "a bad token is never nobody");
        }
        ls_auth_close(&auth);
        unlink(path);
        free(path);
    }
}

static void headers(void)
{
    static const struct {
        const char *header;
        int scopes;
    } row[] = {{"Bearer abc", LS_SCOPE_SYNC},
               {"bearer abc", LS_SCOPE_SYNC},
               {"BEARER   abc", LS_SCOPE_SYNC},
               {"Bearer abc \t", LS_SCOPE_SYNC},
               {"", 0},
               {"Bearer", 0},
               {"Bearer ", 0},
               {"Bearer    ", 0}, // SHA-256 of nothing is in the file
               {"Bearerabc", 0},
               {"Bearer\tabc", 0},
               {"Basic abc", 0},
               {"abc", 0},
               {"Bearer abc,Bearer abc", 0},
               {"Bearer abc abc", 0},
               {"Bearer ab", 0},
               {"Bearer abc=", 0},
               {"Bearer Abc", 0},
               {"Bearer " ABC, 0},
               {"Bearer =abc", 0},
               {"Bearer a.b.c", 0},
               {"Bearer \xc3\xa9", 0}};
    static const char file[] = "a " ABC " sync\nb " EMPTY " info,admin\n";
    struct ls_auth *auth = NULL;
    struct ls_identity who;
    struct ls_err err = {0};

    CHECK(open_tokens(&auth, file, sizeof file - 1, 0600, &err) == 0, err.text);
    if (!auth)
        return;
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        CHECK(granted(auth, &near, row[i].header) == row[i].scopes, row[i].header);

    CHECK(ls_auth_check(auth, &who, &near, "Bearer abc", 10, LS_SCOPE_ADMIN, &err) == LS_ESCOPE &&
              !strcmp(who.name, "a") && strstr(err.text, "needs the scope admin") &&
              strstr(err.text, "of a have sync"),
          "the missing scope is named");
    CHECK(ls_auth_check(auth, &who, &near, "Bearer xyz12", 12, LS_SCOPE_SYNC, &err) == LS_EAUTH &&
              !strstr(err.text, "xyz12") && !who.name[0] && !who.scopes,
          "a token is not repeated");
    CHECK(ls_auth_check(auth, &who, &far, NULL, 0, LS_SCOPE_NONE, &err) == 0 && !who.name[0],
          "health is open");
    CHECK(ls_auth_check(auth, &who, &far, "Bearer bad", 10, LS_SCOPE_NONE, &err) == 0,
          "health is open with a bad token");
    CHECK(ls_auth_check(auth, &who, &certified, "Bearer abc", 10, LS_SCOPE_SYNC, &err) == 0 &&
              !strcmp(who.name, "a"),
          "the token names the caller, not the certificate");
    ls_auth_close(&auth);
}

static void names(void)
{
    struct ls_auth *auth = NULL;
    struct ls_options opt;
    struct ls_identity who;

    ls_options_init(&opt);
    opt.tls_cert = opt.tls_client_ca = "x";
    CHECK(ls_auth_open(&auth, &opt, NULL) == 0, "mutual TLS alone");
    CHECK(ls_auth_check(auth, &who, &certified, NULL, 0, LS_SCOPE_SYNC, NULL) == 0 &&
              !strcmp(who.name, "spiffe://a_b/c"),
          "the certificate's name, fit for a log");
    CHECK(ls_auth_check(auth, &who, &certified, NULL, 0, LS_SCOPE_ADMIN, NULL) == LS_ESCOPE,
          "a certificate is no administrator");
    ls_auth_close(&auth);
}

static void write_over(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    if (f) {
        fputs(text, f);
        fclose(f);
    }
}

// A JWT through the whole door, beside tokens, and reloads of both files.
static void reloads(void)
{
    EVP_PKEY *key = jwt_key("ED25519", 0), *other = jwt_key("ED25519", 0);
    char *jwk = jwt_jwk(key, ""), *jwk_other = jwt_jwk(other, ""), set[512], claims[256], text[512];
    char *tokens = jwt_file("a " ABC " sync\n", strlen("a " ABC " sync\n"), 0600), *jwks, *jwt;
    struct ls_auth *auth = NULL;
    struct ls_options opt;
    struct ls_err err = {0};

    snprintf(set, sizeof set, "{\"keys\":[%s]}", jwk);
    jwks = jwt_file(set, strlen(set), 0644);
    snprintf(claims, sizeof claims, "{\"iss\":\"i\",\"aud\":\"a\",\"scope\":\"info\",\"exp\":%lld}",
             (long long)time(NULL) + 60);
    jwt = jwt_sign(key, "{\"alg\":\"EdDSA\"}", claims);
    snprintf(text, sizeof text, "Bearer %s", jwt);
    ls_options_init(&opt);
    opt.tokens = tokens;
    opt.jwks = jwks;
    opt.jwt_issuer = "i";
    opt.jwt_audience = "a";
    CHECK(ls_auth_open(&auth, &opt, &err) == 0, err.text);
    if (!auth)
        return;
    CHECK(granted(auth, &far, "Bearer abc") == LS_SCOPE_SYNC, "a token beside keys");
    CHECK(granted(auth, &far, text) == LS_SCOPE_INFO, "a JWT beside tokens");

    write_over(tokens, "a " ABC " nonsense\n");
    CHECK(ls_auth_reload(auth, &err) == LS_EFIELD && strstr(err.text, "line 1"), "a bad reload");
    CHECK(granted(auth, &far, "Bearer abc") == LS_SCOPE_SYNC &&
              granted(auth, &far, text) == LS_SCOPE_INFO,
          "the old sets stay");
    write_over(tokens, "a " ABC " admin\n");
    write_over(jwks, "{");
    CHECK(ls_auth_reload(auth, &err) == LS_EFIELD && !strcmp(err.field, "jwks"), "bad keys");
    CHECK(granted(auth, &far, "Bearer abc") == LS_SCOPE_SYNC, "good tokens beside bad keys wait");
    snprintf(set, sizeof set, "{\"keys\":[%s]}", jwk_other);
    write_over(jwks, set);
    CHECK(ls_auth_reload(auth, &err) == 0, err.text);
    CHECK(granted(auth, &far, "Bearer abc") == LS_SCOPE_ADMIN && granted(auth, &far, text) == 0,
          "the new sets count");
    unlink(tokens);
    CHECK(ls_auth_reload(auth, &err) == LS_EFIELD &&
              granted(auth, &far, "Bearer abc") == LS_SCOPE_ADMIN,
          "a file that is gone revokes nothing");
    ls_auth_close(&auth);
    ls_auth_close(&auth);
    unlink(jwks);
    free(tokens);
    free(jwks);
    free(jwt);
    free(jwk);
    free(jwk_other);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
}

// --hash-token in a child: its input, its output, its exit code.
static int hash(const char *input, char *out, int size)
{
    int in[2], to[2], status = 0;
    ssize_t got;
    pid_t child;

    if (pipe(in) < 0 || pipe(to) < 0)
        return -1;
    fflush(stdout);
    child = fork();
    if (child == 0) {
        dup2(in[0], 0);
        dup2(to[1], 1);
        close(in[1]);
        _exit(ls_auth_hash_token());
    }
    close(in[0]);
    close(to[1]);
    got = write(in[1], input, strlen(input));
    close(in[1]);
    got = read(to[0], out, (size_t)size - 1);
    out[got > 0 ? got : 0] = '\0';
    close(to[0]);
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void hashing(void)
{
    static const char token[] = "abcdbcdecdefdefgefghfghighijhijk";
    struct ls_auth *auth = NULL;
    struct ls_err err = {0};
    char out[256], header[64];

    CHECK(hash("abcdbcdecdefdefgefghfghighijhijk\r\n", out, sizeof out) == 0, "a line is printed");
    CHECK(open_tokens(&auth, out, strlen(out), 0600, &err) == 0, err.text);
    snprintf(header, sizeof header, "Bearer %s", token);
    CHECK(auth && granted(auth, &far, header) == (LS_SCOPE_SYNC | LS_SCOPE_INFO), "and fits");
    ls_auth_close(&auth);
    CHECK(hash("abcdbcdecdefdefgefghfghighijhijk", out, sizeof out) == 0, "without an end of line");
    CHECK(hash("", out, sizeof out) == 1 && !*out, "nothing");
    CHECK(hash("\n", out, sizeof out) == 1 && !*out, "an empty line");
    CHECK(hash("abcdbcdecdefdefgefg\n", out, sizeof out) == 1 && !*out, "19 characters");
    CHECK(hash("abcdbcdecdef defgefghfgh\n", out, sizeof out) == 1 && !*out, "a blank within");
    CHECK(hash("=abcdbcdecdefdefgefghfgh\n", out, sizeof out) == 1 && !*out, "= in front");
}

int main(void)
{
    bad_files();
    odd_files();
    starts();
    anonymous();
    headers();
    names();
    reloads();
    hashing();
    return check_done();
}
