// SPDX-License-Identifier: Apache-2.0
// The JWK set of --jwks (RFC 7517, 7518 section 6, 8037): which keys sign accepted JWTs, and the
// checking of a signature with them. Loop thread (and main, before it). A key says itself what it
// is for: its type fixes one algorithm, and alg, use and key_ops may only agree; so a JWT can never
// choose how a key is used (RFC 8725, 2.1). Issuers publish sets with keys for other purposes:
// those are left out with a warning.
#include "server/auth_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

#include "server/log.h"

enum {
    KEY_BYTES = 16384,       // of a key in the file, with the certificates that some add
    NUMBER_BYTES_MAX = 2048, // of an RSA modulus: 16384 bits, OpenSSL's own limit
    RSA_BITS_MIN = 2048,     // RFC 7518, 3.3
    ES256_HALF = 32,
};

struct key {
    enum ls_auth_alg alg;
    EVP_PKEY *pkey;
    char *kid; // NULL: none
};

struct ls_auth_keys {
    int count;
    struct key key[];
};

static const struct {
    const char *name, *type, *curve; // of the key
    enum ls_auth_alg alg;
} algs[] = {{"RS256", "RSA", NULL, LS_ALG_RS256},
            {"ES256", "EC", "P-256", LS_ALG_ES256},
            {"EdDSA", "OKP", "Ed25519", LS_ALG_EDDSA}};
enum { ALGS = sizeof algs / sizeof algs[0] };

enum ls_auth_alg ls_auth_alg(const char *name)
{
    for (int i = 0; i < ALGS; i++)
        if (!strcmp(algs[i].name, name))
            return algs[i].alg;
    return LS_ALG_NONE;
}

static const char *text_of(const json_t *jwk, const char *name)
{
    return json_string_value(json_object_get(jwk, name)); // NULL if it is none
}

static int bytes_of(const json_t *jwk, const char *name, uint8_t *out, int size_max)
{
    const json_t *value = json_object_get(jwk, name);

    if (!json_is_string(value))
        return -1;
    return ls_auth_base64url(out, size_max, json_string_value(value), json_string_length(value));
}

static EVP_PKEY *from_params(const char *type, OSSL_PARAM_BLD *build)
{
    OSSL_PARAM *params = build ? OSSL_PARAM_BLD_to_param(build) : NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY *pkey = NULL;

    if (!params || !ctx || EVP_PKEY_fromdata_init(ctx) <= 0 ||
        EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) <= 0)
        pkey = NULL;
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return pkey;
}

static EVP_PKEY *rsa_key(const json_t *jwk, const char **why)
{
    uint8_t number[2][NUMBER_BYTES_MAX];
    int n_size = bytes_of(jwk, "n", number[0], NUMBER_BYTES_MAX);
    int e_size = bytes_of(jwk, "e", number[1], NUMBER_BYTES_MAX);
    BIGNUM *n = n_size > 0 ? BN_bin2bn(number[0], n_size, NULL) : NULL;
    BIGNUM *e = e_size > 0 ? BN_bin2bn(number[1], e_size, NULL) : NULL;
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY *pkey = NULL;

    *why = "its n or e is not a number";
    if (n && BN_num_bits(n) < RSA_BITS_MIN)
        *why = "it has fewer than 2048 bits";
    else if (n && e && (!BN_is_odd(e) || BN_is_one(e)))
        *why = "its e is no exponent"; // with 1, the signature would be the text itself
    else if (n && e && build && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) &&
             OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e))
        pkey = from_params("RSA", build);
    OSSL_PARAM_BLD_free(build);
    BN_free(n);
    BN_free(e);
    return pkey;
}

static EVP_PKEY *ec_key(const json_t *jwk, const char **why)
{
    uint8_t point[1 + 2 * ES256_HALF] = {POINT_CONVERSION_UNCOMPRESSED};
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY *pkey = NULL;

    *why = "its x and y are no point of the curve";
    // Both in full length (RFC 7518, 6.2.1.2).
    if (build && bytes_of(jwk, "x", point + 1, ES256_HALF) == ES256_HALF &&
        bytes_of(jwk, "y", point + 1 + ES256_HALF, ES256_HALF) == ES256_HALF &&
        OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) &&
        OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point))
        pkey = from_params("EC", build);
    OSSL_PARAM_BLD_free(build);
    return pkey;
}

static EVP_PKEY *ed25519_key(const json_t *jwk, const char **why)
{
    uint8_t x[32];

    *why = "its x is not 32 bytes";
    if (bytes_of(jwk, "x", x, sizeof x) != sizeof x)
        return NULL;
    return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x, sizeof x);
}

// use and key_ops, where they stand, say that the key checks signatures (RFC 7517, 4.2 and 4.3).
static bool for_signatures(const json_t *jwk)
{
    const json_t *use = json_object_get(jwk, "use"), *ops = json_object_get(jwk, "key_ops"), *op;
    size_t i;

    if (use && (!json_is_string(use) || strcmp(json_string_value(use), "sig")))
        return false;
    if (!ops)
        return true;
    json_array_foreach(ops, i, op)
    {
        if (json_is_string(op) && !strcmp(json_string_value(op), "verify"))
            return true;
    }
    return false;
}

// Its algorithm, or NONE with why it is left out.
static enum ls_auth_alg alg_of(const json_t *jwk, const char **why)
{
    const char *type = text_of(jwk, "kty"), *curve = text_of(jwk, "crv");
    const json_t *alg = json_object_get(jwk, "alg");

    for (int i = 0; type && i < ALGS; i++) {
        if (strcmp(type, algs[i].type) ||
            (algs[i].curve && (!curve || strcmp(curve, algs[i].curve))))
            continue;
        *why = "its alg is another than RS256, ES256 and EdDSA, or does not fit its kty";
        if (alg && (!json_is_string(alg) || strcmp(json_string_value(alg), algs[i].name)))
            return LS_ALG_NONE;
        *why = "its use or key_ops is not for signatures";
        return for_signatures(jwk) ? algs[i].alg : LS_ALG_NONE;
    }
    *why = "its kty or crv is another than RSA, EC P-256 and OKP Ed25519";
    return LS_ALG_NONE;
}

// OpenSSL's own look at the key: a point on the curve, a modulus that is none.
static bool is_sound(EVP_PKEY *pkey)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    bool sound = ctx && EVP_PKEY_public_check(ctx) == 1;

    EVP_PKEY_CTX_free(ctx);
    return sound;
}

// False: it is left out.
static bool take_key(struct key *out, const json_t *jwk, const char **why)
{
    const json_t *kid = json_object_get(jwk, "kid");
    struct key key = {.alg = alg_of(jwk, why)};

    if (key.alg == LS_ALG_NONE)
        return false;
    if (kid && !json_is_string(kid)) {
        *why = "its kid is not a text";
        return false;
    }
    key.pkey = key.alg == LS_ALG_RS256   ? rsa_key(jwk, why)
               : key.alg == LS_ALG_ES256 ? ec_key(jwk, why)
                                         : ed25519_key(jwk, why);
    if (key.pkey && !is_sound(key.pkey)) {
        *why = "OpenSSL finds it unsound";
        EVP_PKEY_free(key.pkey);
        key.pkey = NULL;
    }
    if (key.pkey && kid)
        key.kid = strdup(json_string_value(kid));
    ERR_clear_error();
    *out = key;
    return key.pkey && (!kid || key.kid);
}

static void warn(const struct ls_options *opt, size_t i, const json_t *jwk, const char *why)
{
    const char *kid = text_of(jwk, "kid");
    char name[64] = "";

    if (kid)
        ls_auth_name(name, kid, strlen(kid));
    ls_log(LS_LOG_WARN, "auth", NULL, 0, "%s: key %zu%s%s%s is left out: %s", opt->jwks, i + 1,
           kid ? " (" : "", name, kid ? ")" : "", why);
}

static int take_keys(struct ls_auth_keys *keys, const json_t *set, const struct ls_options *opt,
                     struct ls_err *err)
{
    const json_t *jwk;
    size_t i;

    json_array_foreach(set, i, jwk)
    {
        const char *why = "";
        struct key key = {.alg = LS_ALG_NONE};

        // A leaked key is worth a start that fails.
        if (json_object_get(jwk, "d") || json_object_get(jwk, "k"))
            return ls_fail(err, LS_EFIELD,
                           "key %zu is a private or shared key; the set is for "
                           "public keys alone",
                           i + 1);
        if (!take_key(&key, jwk, &why)) {
            warn(opt, i, jwk, why);
            EVP_PKEY_free(key.pkey);
            continue;
        }
        keys->key[keys->count++] = key;
    }
    if (!keys->count)
        return ls_fail(err, LS_EFIELD, "has no key for RS256, ES256 or EdDSA signatures");
    return 0;
}

int ls_auth_keys_read(struct ls_auth_keys **out, const struct ls_options *opt, struct ls_err *err)
{
    int count_max = (int)opt->jwks_keys_max, r;
    struct ls_auth_keys *keys = NULL;
    json_t *json = NULL, *set;
    char *text = NULL;
    size_t size = 0;

    r = ls_auth_read_file(&text, &size, "jwks", opt->jwks, (size_t)count_max * KEY_BYTES, S_IWOTH,
                          err);
    if (r < 0)
        return r;
    json = ls_auth_json(text, size);
    set = json_object_get(json, "keys");
    if (!json_is_array(set))
        r = ls_fail(err, LS_EFIELD, "is not a JWK set: {\"keys\": [...]}, each name once");
    else if (json_array_size(set) > (size_t)count_max)
        r = ls_fail(err, LS_EFIELD, "has %zu keys; at most %d are read (--jwks-keys-max)",
                    json_array_size(set), count_max);
    else
        keys = calloc(1, sizeof *keys + (size_t)count_max * sizeof keys->key[0]);
    if (r == 0)
        r = keys ? take_keys(keys, set, opt, err) : ls_fail(err, LS_ENOMEM, "%d keys", count_max);
    json_decref(json);
    free(text);
    if (r < 0) {
        ls_fail_prefix(err, "%s", opt->jwks);
        if (err && r == LS_EFIELD)
            snprintf(err->field, sizeof err->field, "jwks");
        ls_auth_keys_free(&keys);
        return r;
    }
    *out = keys;
    return 0;
}

void ls_auth_keys_free(struct ls_auth_keys **pointer)
{
    struct ls_auth_keys *keys = *pointer;

    *pointer = NULL;
    for (int i = 0; keys && i < keys->count; i++) {
        EVP_PKEY_free(keys->key[i].pkey);
        free(keys->key[i].kid);
    }
    free(keys);
}

int ls_auth_keys_count(const struct ls_auth_keys *keys)
{
    return keys ? keys->count : 0;
}

// JWS has r and s as 64 bytes (RFC 7518, 3.4), OpenSSL wants them as DER. Bytes, or -1.
static int to_der(uint8_t out[80], const uint8_t *raw, size_t size)
{
    ECDSA_SIG *pair = size == 2 * ES256_HALF ? ECDSA_SIG_new() : NULL;
    BIGNUM *r = pair ? BN_bin2bn(raw, ES256_HALF, NULL) : NULL;
    BIGNUM *s = pair ? BN_bin2bn(raw + ES256_HALF, ES256_HALF, NULL) : NULL;
    int count = -1;

    if (r && s && ECDSA_SIG_set0(pair, r, s)) {
        r = s = NULL;
        count = i2d_ECDSA_SIG(pair, &out); // 72 bytes at most
    }
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(pair);
    return count;
}

static bool verify(const struct key *key, const char *text, size_t text_size,
                   const uint8_t *signature, size_t signature_size)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    const EVP_MD *digest = key->alg == LS_ALG_EDDSA ? NULL : EVP_sha256();
    uint8_t der[80];
    bool holds = ctx != NULL;

    if (key->alg == LS_ALG_ES256) {
        int size = to_der(der, signature, signature_size);

        holds = holds && size > 0;
        signature = der;
        signature_size = size > 0 ? (size_t)size : 0;
    }
    // RSA: PKCS #1 v1.5 is OpenSSL's default, which is what RS256 means.
    holds = holds && EVP_DigestVerifyInit(ctx, NULL, digest, NULL, key->pkey) == 1 &&
            EVP_DigestVerify(ctx, signature, signature_size, (const uint8_t *)text, text_size) == 1;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return holds;
}

bool ls_auth_keys_verify(const struct ls_auth_keys *keys, enum ls_auth_alg alg, const char *kid,
                         const char *text, size_t text_size, const uint8_t *signature,
                         size_t signature_size)
{
    for (int i = 0; i < keys->count; i++) {
        const struct key *key = &keys->key[i];

        if (key->alg != alg || (kid && (!key->kid || strcmp(key->kid, kid))))
            continue;
        if (verify(key, text, text_size, signature, signature_size))
            return true;
    }
    return false;
}
