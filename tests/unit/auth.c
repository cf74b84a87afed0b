// SPDX-License-Identifier: Apache-2.0
// JWTs and the keys that check them: what is accepted, what is refused and with which words, and
// that nothing that was changed by a bit gets through. The rules of who may do what without a JWT
// are in auth_rules.c.
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/hmac.h>
#include <openssl/pem.h>

#include "kernels/splitmix.h"
#include "server/auth_impl.h"
#include "tests/unit/_check.h"
#include "tests/unit/_jwt.h"

enum { NOW = 1000000000 };
enum { RSA2048, EC, ED, RSA_OTHER, RSA_SHORT, EC384, EC_ENC, KEYS };

static EVP_PKEY *key[KEYS];
static struct ls_options opt;
static struct ls_auth_keys *set; // RSA "r1", EC "e1", ED "d1", and some that are left out

#define RS          "{\"alg\":\"RS256\",\"kid\":\"r1\"}"
#define ES          "{\"alg\":\"ES256\",\"kid\":\"e1\"}"
#define EDD         "{\"alg\":\"EdDSA\",\"kid\":\"d1\"}"
#define BASE        "\"iss\":\"https://issuer.test\",\"aud\":\"lipstream\",\"sub\":\"anna\""
#define OK          "{" BASE ",\"exp\":1000000060,\"scope\":\"sync\"}"
#define TIMES(text) "{" BASE "," text "}"
#define EXP         "\"exp\":1000000060"

static const struct {
    const char *name;
    int key;
    const char *header, *claims;
    const char *who;
    int scopes;
} good_rows[] = {
    {"RS256", RSA2048, RS, OK, "anna", LS_SCOPE_SYNC},
    {"ES256", EC, ES, OK, "anna", LS_SCOPE_SYNC},
    {"EdDSA", ED, EDD, OK, "anna", LS_SCOPE_SYNC},
    {"no kid, RSA", RSA2048, "{\"alg\":\"RS256\"}", OK, "anna", LS_SCOPE_SYNC},
    {"no kid, EC", EC, "{\"alg\":\"ES256\"}", OK, "anna", LS_SCOPE_SYNC},
    {"typ at+jwt", ED, "{\"typ\":\"AT+JWT\",\"alg\":\"EdDSA\"}", OK, "anna", LS_SCOPE_SYNC},
    {"no sub", ED, EDD, "{\"iss\":\"https://issuer.test\",\"aud\":\"lipstream\"," EXP "}", "jwt",
     0},
    {"sub cleaned", ED, EDD,
     "{\"iss\":\"https://issuer.test\",\"aud\":\"lipstream\",\"sub\":\"a b\\n\\\"\u00e9\"," EXP "}",
     "a_b____", 0},
    {"all scopes", ED, EDD,
     TIMES(EXP ",\"scope\":\"openid lipstream:sync  info admin lipstream:\""), "anna",
     LS_SCOPE_SYNC | LS_SCOPE_INFO | LS_SCOPE_ADMIN},
    {"words like scopes", ED, EDD,
     TIMES(EXP ",\"scope\":\"sync2 SYNC xsync lipstream:lipstream:sync\""), "anna", 0},
    {"scope as array", ED, EDD, TIMES(EXP ",\"scope\":[\"sync\"]"), "anna", 0},
    {"aud among others", ED, EDD,
     "{\"iss\":\"https://issuer.test\",\"aud\":[\"x\",\"lipstream\"]," EXP "}", "jwt", 0},
    {"jku, jwk and x5c mean nothing", ED,
     "{\"alg\":\"EdDSA\",\"jku\":\"https://evil.test/\",\"jwk\":{\"kty\":\"oct\"},\"x5c\":[\"x\"]}",
     OK, "anna", LS_SCOPE_SYNC},
    {"deep within 16", ED, EDD, TIMES(EXP ",\"x\":[[[[[[[[[[[[[[[\"[[{{\"]]]]]]]]]]]]]]]"), "anna",
     0},
    {"exp with a fraction", ED, EDD, TIMES("\"exp\":1000000000.5"), "anna", 0},
    {"exp within the leeway", ED, EDD, TIMES("\"exp\":999999971"), "anna", 0},
    {"nbf within the leeway", ED, EDD, TIMES(EXP ",\"nbf\":1000000030"), "anna", 0},
    {"iat within the leeway", ED, EDD, TIMES(EXP ",\"iat\":1000000030"), "anna", 0}};

static const struct {
    const char *name;
    int key;
    const char *header, *claims;
    const char *says;
} bad_rows[] = {
    {"alg none", ED, "{\"alg\":\"none\"}", OK, "alg is none of"},
    {"alg None", ED, "{\"alg\":\"None\"}", OK, "alg is none of"},
    {"alg empty", ED, "{\"alg\":\"\"}", OK, "alg is none of"},
    {"alg missing", ED, "{\"kid\":\"d1\"}", OK, "alg is none of"},
    {"alg a number", ED, "{\"alg\":5}", OK, "alg is none of"},
    {"alg HS256", ED, "{\"alg\":\"HS256\"}", OK, "alg is none of"},
    {"alg RS512", RSA2048, "{\"alg\":\"RS512\"}", OK, "alg is none of"},
    {"alg PS256", RSA2048, "{\"alg\":\"PS256\"}", OK, "alg is none of"},
    {"alg in another case", RSA2048, "{\"alg\":\"rs256\"}", OK, "alg is none of"},
    {"alg of another key", EC, RS, OK, "no key"},
    {"kid of another kind", EC, "{\"alg\":\"ES256\",\"kid\":\"r1\"}", OK, "no key"},
    {"RS256 by kid of the EC key", RSA2048, "{\"alg\":\"RS256\",\"kid\":\"e1\"}", OK, "no key"},
    {"RS256, but all else is the EC key's", EC, "{\"alg\":\"RS256\",\"kid\":\"e1\"}", OK, "no key"},
    {"ES256, but signed as EdDSA", ED, "{\"alg\":\"ES256\"}", OK, "no key"},
    {"kid unknown", RSA2048, "{\"alg\":\"RS256\",\"kid\":\"r9\"}", OK, "no key"},
    {"kid empty", RSA2048, "{\"alg\":\"RS256\",\"kid\":\"\"}", OK, "no key"},
    {"kid a number", RSA2048, "{\"alg\":\"RS256\",\"kid\":1}", OK, "no key"},
    {"key of another issuer", RSA_OTHER, RS, OK, "no key"},
    {"the same without kid", RSA_OTHER, "{\"alg\":\"RS256\"}", OK, "no key"},
    {"key too short to be in the set", RSA_SHORT, "{\"alg\":\"RS256\"}", OK, "no key"},
    {"key for encryption", EC_ENC, "{\"alg\":\"ES256\"}", OK, "no key"},
    {"P-384 for ES256", EC384, "{\"alg\":\"ES256\"}", OK, "no key"},
    {"crit", ED, "{\"alg\":\"EdDSA\",\"crit\":[\"b64\"],\"b64\":true}", OK, "crit"},
    {"crit null", ED, "{\"alg\":\"EdDSA\",\"crit\":null}", OK, "crit"},
    {"typ of something else", ED, "{\"alg\":\"EdDSA\",\"typ\":\"dpop+jwt\"}", OK, "typ"},
    {"typ a number", ED, "{\"alg\":\"EdDSA\",\"typ\":1}", OK, "typ"},
    {"header twice alg", ED, "{\"alg\":\"none\",\"alg\":\"EdDSA\"}", OK, "header"},
    {"header no object", ED, "[\"EdDSA\"]", OK, "header"},
    {"header empty", ED, "", OK, "header"},
    {"header with more behind", ED, EDD " {}", OK, "header"},
    {"header nests", ED, "{\"alg\":\"EdDSA\",\"x\":[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]}", OK,
     "header"},
    {"claims empty", ED, EDD, "", "claims"},
    {"claims no JSON", ED, EDD, "exp", "claims"},
    {"claims null", ED, EDD, "null", "claims"},
    {"claims an array", ED, EDD, "[" OK "]", "claims"},
    {"claims cut", ED, EDD, "{" BASE ",\"exp\":1000000060", "claims"},
    {"twice exp", ED, EDD, TIMES("\"exp\":1,\"exp\":1000000060"), "claims"},
    {"twice aud", ED, EDD, TIMES(EXP ",\"aud\":\"lipstream\""), "claims"},
    {"zero character", ED, EDD, TIMES(EXP ",\"x\":\"\\u0000\""), "claims"},
    {"not UTF-8", ED, EDD, TIMES(EXP ",\"x\":\"\xff\""), "claims"},
    {"number beyond 64 bit", ED, EDD, TIMES("\"exp\":99999999999999999999"), "claims"},
    {"number beyond double", ED, EDD, TIMES("\"exp\":1e999"), "claims"},
    {"NaN", ED, EDD, TIMES("\"exp\":NaN"), "claims"},
    {"deep", ED, EDD, TIMES(EXP ",\"x\":{\"x\":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}"), "claims"},
    {"no exp", ED, EDD, "{" BASE "}", "no exp"},
    {"exp a text", ED, EDD, TIMES("\"exp\":\"1000000060\""), "time in seconds"},
    {"exp null", ED, EDD, TIMES("\"exp\":null"), "time in seconds"},
    {"exp true", ED, EDD, TIMES("\"exp\":true"), "time in seconds"},
    {"exp negative", ED, EDD, TIMES("\"exp\":-1"), "time in seconds"},
    {"exp in milliseconds", ED, EDD, TIMES("\"exp\":1000000060000"), "time in seconds"},
    {"exp huge", ED, EDD, TIMES("\"exp\":9223372036854775807"), "time in seconds"},
    {"exp 1e300", ED, EDD, TIMES("\"exp\":1e300"), "time in seconds"},
    {"exp at its end", ED, EDD, TIMES("\"exp\":999999970"), "expired 30 s ago"},
    {"exp long ago", ED, EDD, TIMES("\"exp\":0"), "expired 1000000000 s ago"},
    {"nbf beyond", ED, EDD, TIMES(EXP ",\"nbf\":1000000031"), "not valid before 31 s"},
    {"nbf a text", ED, EDD, TIMES(EXP ",\"nbf\":\"0\""), "time in seconds"},
    {"iat beyond", ED, EDD, TIMES(EXP ",\"iat\":1000000031"), "issued 31 s from now"},
    {"iat a list", ED, EDD, TIMES(EXP ",\"iat\":[]"), "time in seconds"},
    {"no iss", ED, EDD, "{\"aud\":\"lipstream\"," EXP "}", "iss"},
    {"another iss", ED, EDD, "{\"iss\":\"https://issuer.test/\",\"aud\":\"lipstream\"," EXP "}",
     "iss"},
    {"iss a list", ED, EDD, "{\"iss\":[\"https://issuer.test\"],\"aud\":\"lipstream\"," EXP "}",
     "iss"},
    {"no aud", ED, EDD, "{\"iss\":\"https://issuer.test\"," EXP "}", "aud"},
    {"another aud", ED, EDD, "{\"iss\":\"https://issuer.test\",\"aud\":\"lipstream2\"," EXP "}",
     "aud"},
    {"aud empty list", ED, EDD, "{\"iss\":\"https://issuer.test\",\"aud\":[]," EXP "}", "aud"},
    {"aud list without", ED, EDD, "{\"iss\":\"https://issuer.test\",\"aud\":[1,null]," EXP "}",
     "aud"},
    {"aud an object", ED, EDD,
     "{\"iss\":\"https://issuer.test\",\"aud\":{\"lipstream\":\"lipstream\"}," EXP "}", "aud"}};

static int check_text(const char *token, size_t size, struct ls_identity *who, struct ls_err *err)
{
    char *exact = malloc(size ? size : 1); // so that a byte too far is seen
    int r;

    memcpy(exact, token, size);
    r = ls_auth_jwt_check(set, &opt, NOW, who, exact, size, err);
    free(exact);
    return r;
}

static void tables(void)
{
    for (size_t i = 0; i < sizeof good_rows / sizeof good_rows[0]; i++) {
        char *token = jwt_sign(key[good_rows[i].key], good_rows[i].header, good_rows[i].claims);
        struct ls_identity who = {.scopes = 0};
        struct ls_err err = {0};

        CHECK(check_text(token, strlen(token), &who, &err) == 0, good_rows[i].name);
        CHECK(!strcmp(who.name, good_rows[i].who), good_rows[i].name);
        CHECK(who.scopes == good_rows[i].scopes, good_rows[i].name);
        free(token);
    }
    for (size_t i = 0; i < sizeof bad_rows / sizeof bad_rows[0]; i++) {
        char *token = jwt_sign(key[bad_rows[i].key], bad_rows[i].header, bad_rows[i].claims);
        struct ls_identity who = {.scopes = 0};
        struct ls_err err = {0};

        CHECK(check_text(token, strlen(token), &who, &err) == LS_EAUTH, bad_rows[i].name);
        CHECK(strstr(err.text, bad_rows[i].says) && !who.scopes && !*who.name, bad_rows[i].name);
        CHECK(!strstr(err.text, token), "a token is never repeated");
        free(token);
    }
}

static void refused(const char *name, const char *token)
{
    struct ls_identity who = {.scopes = 0};

    CHECK(check_text(token, strlen(token), &who, NULL) == LS_EAUTH && !who.scopes, name);
}

// The set is public, so anybody can use its keys as the secret of an HMAC.
static void confusion(void)
{
    BIO *pem = BIO_new(BIO_s_mem());
    uint8_t mac[32];
    char *secret, *token, *text;
    long size;

    PEM_write_bio_PUBKEY(pem, key[RSA2048]);
    size = BIO_get_mem_data(pem, &secret);
    for (int i = 0; i < 2; i++) {
        const char *header = i ? RS : "{\"alg\":\"HS256\",\"kid\":\"r1\"}";

        text = jwt_join(header, OK, "", 0);
        HMAC(EVP_sha256(), secret, (int)size, (uint8_t *)text, strlen(text) - 1, mac, NULL);
        token = jwt_join(header, OK, mac, sizeof mac);
        refused(i ? "an HMAC as RS256" : "HS256 with the public key", token);
        free(text);
        free(token);
    }
    BIO_free(pem);
}

// What stands between and behind the three parts.
static void shapes(void)
{
    char *good = jwt_sign(key[EC], ES, OK), *text, *tail = strrchr(good, '.');
    struct ls_identity who = {.scopes = 0};
    size_t size = strlen(good);

    for (size_t cut = 0; cut < size; cut++)
        CHECK(check_text(good, cut, &who, NULL) == LS_EAUTH, "cut short");
    text = malloc(size + 8);
    for (const char *more = "=.\n A"; *more; more++) {
        snprintf(text, size + 8, "%s%c", good, *more);
        refused("a character more", text);
        snprintf(text, size + 8, "%c%s", *more, good);
        refused("a character before", text);
        snprintf(text, size + 8, "%.*s%c%s", (int)(tail - good), good, *more, tail);
        refused("a character between", text);
    }
    free(text);
    refused("nothing", "");
    refused("dots", "..");
    refused("four parts", "e30.e30.e30.e30");
    text = jwt_join(EDD, OK, "", 0);
    refused("no signature", text);
    free(text);
    text = jwt_join("{\"alg\":\"none\"}", OK, "", 0);
    refused("alg none, no signature", text);
    free(text);
    text = jwt_join(ES, OK, (uint8_t[64]){0}, 64);
    refused("r and s zero", text); // CVE-2022-21449
    free(text);
    free(good);
}

static void flips(void)
{
    static const struct {
        const char *name, *header;
        int key;
    } kinds[] = {{"a bit of RS256", RS, RSA2048}, {"of ES256", ES, EC}, {"of EdDSA", EDD, ED}};

    for (int k = 0; k < 3; k++) {
        char *good = jwt_sign(key[kinds[k].key], kinds[k].header, OK);
        uint8_t signature[256];
        int size = ls_auth_base64url(signature, sizeof signature, strrchr(good, '.') + 1,
                                     strlen(strrchr(good, '.') + 1));

        for (int bit = 0; bit < size * 8; bit++) {
            char *bad;

            signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
            bad = jwt_join(kinds[k].header, OK, signature, (size_t)size);
            refused(kinds[k].name, bad);
            signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
            free(bad);
        }
        // The last character of a part has bits that mean nothing: each has one spelling.
        for (size_t i = 0, n = strlen(good); i < n; i++) {
            char was = good[i];

            good[i] = was == 'A' ? 'B' : was == 'B' ? 'A' : (char)(was ^ 1);
            refused("a character", good);
            good[i] = was;
        }
        free(good);
    }
}

static size_t mutate(char *text, size_t size, size_t room, uint64_t *seed)
{
    for (uint64_t n = 1 + ls_splitmix_next(seed) % 3; n && size; n--) {
        size_t at = ls_splitmix_next(seed) % size, to = ls_splitmix_next(seed) % size;

        switch (ls_splitmix_next(seed) % 5) {
        case 0:
            text[at] = (char)ls_splitmix_next(seed);
            break;
        case 1:
            text[at] = text[to];
            break;
        case 2:
            memmove(text + at, text + at + 1, size - at - 1);
            size--;
            break;
        case 3:
            if (size == room)
                break;
            memmove(text + at + 1, text + at, size - at);
            size++;
            break;
        default:
            size = at + (size - at) * (ls_splitmix_next(seed) % 16 != 0);
        }
    }
    return size;
}

// 100,000 tokens that are almost good.
static void mutations(void)
{
    char *good[] = {jwt_sign(key[RSA2048], RS, OK), jwt_sign(key[EC], ES, OK),
                    jwt_sign(key[ED], EDD, OK)};
    uint64_t seed = 5;
    int same = 0;

    for (int i = 0; i < 100000; i++) {
        const char *from = good[i % 10 == 0   ? 1
                                : i % 10 == 1 ? 2
                                              : 0]; // RSA's check is the fastest
        struct ls_identity who = {.scopes = 0};
        char text[2048];
        size_t size = strlen(from);

        memcpy(text, from, size);
        size = mutate(text, size, sizeof text, &seed);
        if (size == strlen(from) && !memcmp(text, from, size)) {
            same++;
            continue;
        }
        if (!CHECK(check_text(text, size, &who, NULL) == LS_EAUTH && !who.scopes, "a mutation"))
            printf("  %.*s\n", (int)size, text);
    }
    CHECK(same < 10000, "mutations change something");
    for (int i = 0; i < 3; i++)
        free(good[i]);
}

// The same behind a good signature: any claims at all may come from an issuer.
static void claim_mutations(void)
{
    static const char good[] = "{" BASE ",\"exp\":1000000060,\"nbf\":1.5e2,\"scope\":\"sync info\","
                               "\"x\":{\"y\":[true,null,\"\\u00e9\"]}}";
    uint64_t seed = 6;
    int accepted = 0;

    for (int i = 0; i < 5000; i++) {
        struct ls_identity who = {.scopes = 0};
        char text[512], *token;
        size_t size =
            mutate(memcpy(text, good, sizeof good), sizeof good - 1, sizeof text - 1, &seed);

        text[size] = '\0';
        token = jwt_sign(key[ED], EDD, text);
        accepted += check_text(token, strlen(token), &who, NULL) == 0;
        free(token);
    }
    CHECK(accepted > 50 && accepted < 4000, "some claims are still good");
}

static char *join_set(char *one[], int count)
{
    char *text = malloc(1 << 16);
    size_t at = (size_t)sprintf(text, "{\"keys\":[");

    for (int i = 0; i < count; i++) {
        at += (size_t)sprintf(text + at, "%s%s", i ? "," : "", one[i]);
        free(one[i]);
    }
    sprintf(text + at, "]}");
    return text;
}

static int read_set(struct ls_auth_keys **out, const char *text, size_t size, struct ls_err *err)
{
    char *path = jwt_file(text, size, 0644);
    int r;

    opt.jwks = path;
    r = ls_auth_keys_read(out, &opt, err);
    unlink(path);
    free(path);
    opt.jwks = "";
    return r;
}

static void open_set(void)
{
    char *one[] = {jwt_jwk(key[RSA2048], ",\"kid\":\"r1\",\"alg\":\"RS256\",\"use\":\"sig\""),
                   jwt_jwk(key[EC], ",\"kid\":\"e1\",\"key_ops\":[\"sign\",\"verify\"]"),
                   jwt_jwk(key[ED], ",\"kid\":\"d1\",\"alg\":\"EdDSA\",\"x5u\":\"https://a.test\""),
                   jwt_jwk(key[RSA_SHORT], ",\"kid\":\"short\""),
                   jwt_jwk(key[EC384], ",\"kid\":\"p384\""),
                   jwt_jwk(key[EC_ENC], ",\"use\":\"enc\""),
                   strdup("{\"kty\":\"new\"}"),
                   strdup("5")};
    char *text = join_set(one, 8);
    struct ls_err err = {0};

    CHECK(read_set(&set, text, strlen(text), &err) == 0, err.text);
    CHECK(ls_auth_keys_count(set) == 3, "three of eight keys are usable");
    free(text);
}

// Sets that are refused. %s is a good Ed25519 key, so that only what is named is wrong.
static void bad_sets(void)
{
    static const struct {
        const char *name, *text, *says;
    } bad[] = {
        {"empty file", "", "is not a JWK set"},
        {"no set", "{}", "is not a JWK set"},
        {"keys no list", "{\"keys\":{}}", "is not a JWK set"},
        {"no key", "{\"keys\":[]}", "no key for"},
        {"twice keys", "{\"keys\":[],\"keys\":[%s]}", "is not a JWK set"},
        {"more behind", "{\"keys\":[%s]}x", "is not a JWK set"},
        {"shared secret", "{\"keys\":[%s,{\"kty\":\"oct\",\"k\":\"AAAA\"}]}", "private or shared"},
        {"private key", "{\"keys\":[%s,{\"kty\":\"OKP\",\"d\":\"AAAA\"}]}", "private or shared"},
        {"point off the curve",
         "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":"
         "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE\",\"y\":"
         "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE\"}]}",
         "no key for"},
        {"short x", "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}]}",
         "no key for"},
        {"X25519",
         "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":"
         "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE\"}]}",
         "no key for"},
        {"n with padding", "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AAAA==\",\"e\":\"AQAB\"}]}",
         "no key for"},
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char *good = jwt_jwk(key[ED], ""), text[1024];
        struct ls_auth_keys *keys = NULL;
        struct ls_err err = {0};
        const char *mark = strstr(bad[i].text, "%s");

        snprintf(text, sizeof text, "%.*s%s%s", mark ? (int)(mark - bad[i].text) : 1024,
                 bad[i].text, mark ? good : "", mark ? mark + 2 : "");
        CHECK(read_set(&keys, text, strlen(text), &err) == LS_EFIELD && !keys &&
                  !strcmp(err.field, "jwks") && strstr(err.text, bad[i].says),
              bad[i].name);
        free(good);
    }
}

// Members that decide about a key, one at a time.
static void key_members(void)
{
    static const struct {
        const char *more;
        bool usable;
    } member[] = {{"", true},
                  {",\"alg\":\"EdDSA\"", true},
                  {",\"alg\":\"ES256\"", false},
                  {",\"alg\":null", false},
                  {",\"use\":\"sig\"", true},
                  {",\"use\":\"enc\"", false},
                  {",\"use\":[\"sig\"]", false},
                  {",\"key_ops\":[\"verify\"]", true},
                  {",\"key_ops\":[]", false},
                  {",\"key_ops\":[\"sign\"]", false},
                  {",\"key_ops\":\"verify\"", false},
                  {",\"kid\":7", false}};

    for (size_t i = 0; i < sizeof member / sizeof member[0]; i++) {
        char *one[] = {jwt_jwk(key[ED], member[i].more)}, *text = join_set(one, 1);
        struct ls_auth_keys *keys = NULL;
        int r = read_set(&keys, text, strlen(text), NULL);

        CHECK(r == (member[i].usable ? 0 : LS_EFIELD), member[i].more);
        ls_auth_keys_free(&keys);
        free(text);
    }
}

static void set_mutations(void)
{
    char *one[] = {jwt_jwk(key[EC], ",\"kid\":\"e1\",\"use\":\"sig\""),
                   jwt_jwk(key[ED], ",\"kid\":\"d1\",\"key_ops\":[\"verify\"]")};
    char *good = join_set(one, 2), text[2048];
    uint64_t seed = 7;
    int usable = 0;

    for (int i = 0; i < 1000; i++) {
        struct ls_auth_keys *keys = NULL;
        size_t size = strlen(good);

        size = mutate(memcpy(text, good, size), size, sizeof text, &seed);
        if (read_set(&keys, text, size, NULL) == 0)
            usable++;
        ls_auth_keys_free(&keys);
    }
    CHECK(usable > 30 && usable < 970, "some sets are still good");
    free(good);
}

int main(void)
{
    ls_options_init(&opt);
    opt.jwt_issuer = "https://issuer.test";
    opt.jwt_audience = "lipstream";
    key[RSA2048] = jwt_key("RSA", 2048);
    key[EC] = jwt_key("EC", 256);
    key[ED] = jwt_key("ED25519", 0);
    key[RSA_OTHER] = jwt_key("RSA", 2048);
    key[RSA_SHORT] = jwt_key("RSA", 1024);
    key[EC384] = jwt_key("EC", 384);
    key[EC_ENC] = jwt_key("EC", 256);
    open_set();
    if (set) {
        tables();
        confusion();
        shapes();
        flips();
        mutations();
        claim_mutations();
    }
    bad_sets();
    key_members();
    set_mutations();
    ls_auth_keys_free(&set);
    for (int i = 0; i < KEYS; i++)
        EVP_PKEY_free(key[i]);
    return check_done();
}
