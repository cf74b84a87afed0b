// SPDX-License-Identifier: Apache-2.0
// Makes what an issuer of JWTs makes (see _jwt.h): RS256, ES256 with r and s as 64 bytes, EdDSA.
#include "tests/unit/_jwt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>

static void must(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "test helper: %s failed\n", what);
    exit(1);
}

EVP_PKEY *jwt_key(const char *type, int bits)
{
    EVP_PKEY *key = NULL;

    if (!strcmp(type, "RSA"))
        key = EVP_PKEY_Q_keygen(NULL, NULL, type, (size_t)bits);
    else if (!strcmp(type, "EC"))
        key = EVP_PKEY_Q_keygen(NULL, NULL, type, bits == 256 ? "P-256" : "P-384");
    else
        key = EVP_PKEY_Q_keygen(NULL, NULL, type);
    must(key != NULL, "making a key");
    return key;
}

char *jwt_base64url(const void *data, size_t size)
{
    char *text = malloc(size / 3 * 4 + 8);
    int length;

    must(text != NULL, "malloc");
    length = EVP_EncodeBlock((unsigned char *)text, data, (int)size);
    while (length > 0 && text[length - 1] == '=')
        length--;
    text[length] = '\0';
    for (char *p = text; *p; p++)
        *p = *p == '+' ? '-' : *p == '/' ? '_' : *p;
    return text;
}

static char *number(EVP_PKEY *key, const char *name, int size_min)
{
    uint8_t bytes[2048];
    BIGNUM *n = NULL;
    char *text;
    int size;

    must(EVP_PKEY_get_bn_param(key, name, &n), name);
    size = BN_num_bytes(n) > size_min ? BN_num_bytes(n) : size_min;
    must(BN_bn2binpad(n, bytes, size) == size, "a number");
    text = jwt_base64url(bytes, (size_t)size);
    BN_free(n);
    return text;
}

char *jwt_jwk(EVP_PKEY *key, const char *more)
{
    char *text = NULL, *first, *second = NULL;
    uint8_t raw[32];
    size_t size = sizeof raw;
    int r;

    if (EVP_PKEY_is_a(key, "RSA")) {
        first = number(key, OSSL_PKEY_PARAM_RSA_N, 0);
        second = number(key, OSSL_PKEY_PARAM_RSA_E, 0);
        r = asprintf(&text, "{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"%s}", first, second, more);
    } else if (EVP_PKEY_is_a(key, "EC")) {
        int bits = EVP_PKEY_get_bits(key);

        first = number(key, OSSL_PKEY_PARAM_EC_PUB_X, bits / 8);
        second = number(key, OSSL_PKEY_PARAM_EC_PUB_Y, bits / 8);
        r = asprintf(&text, "{\"kty\":\"EC\",\"crv\":\"P-%d\",\"x\":\"%s\",\"y\":\"%s\"%s}", bits,
                     first, second, more);
    } else {
        must(EVP_PKEY_get_raw_public_key(key, raw, &size), "the raw key");
        first = jwt_base64url(raw, size);
        r = asprintf(&text, "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%s\"%s}", first, more);
    }
    must(r > 0, "asprintf");
    free(first);
    free(second);
    return text;
}

char *jwt_join(const char *header, const char *claims, const void *signature, size_t size)
{
    char *head = jwt_base64url(header, strlen(header)), *body, *tail, *text = NULL;

    body = jwt_base64url(claims, strlen(claims));
    tail = jwt_base64url(signature, size);
    must(asprintf(&text, "%s.%s.%s", head, body, tail) > 0, "asprintf");
    free(head);
    free(body);
    free(tail);
    return text;
}

static size_t raw_pair(uint8_t *signature, size_t size)
{
    const uint8_t *der = signature;
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &der, (long)size);
    uint8_t raw[64];

    must(pair && BN_bn2binpad(ECDSA_SIG_get0_r(pair), raw, 32) == 32 &&
             BN_bn2binpad(ECDSA_SIG_get0_s(pair), raw + 32, 32) == 32,
         "r and s");
    memcpy(signature, raw, sizeof raw);
    ECDSA_SIG_free(pair);
    return sizeof raw;
}

char *jwt_sign(EVP_PKEY *key, const char *header, const char *claims)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    char *text = jwt_join(header, claims, "", 0);
    uint8_t signature[2048];
    size_t size = sizeof signature, signed_size = strlen(text) - 1; // without the last dot
    const EVP_MD *digest = EVP_PKEY_is_a(key, "ED25519") ? NULL : EVP_sha256();

    must(EVP_DigestSignInit(ctx, NULL, digest, NULL, key) == 1 &&
             EVP_DigestSign(ctx, signature, &size, (uint8_t *)text, signed_size) == 1,
         "signing");
    EVP_MD_CTX_free(ctx);
    free(text);
    if (EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_bits(key) == 256)
        size = raw_pair(signature, size);
    return jwt_join(header, claims, signature, size);
}

char *jwt_file(const void *text, size_t size, int mode)
{
    const char *folder = getenv("TMPDIR");
    char *path = NULL;
    int fd;

    must(asprintf(&path, "%s/lipstream-auth-XXXXXX", folder && *folder ? folder : "/tmp") > 0,
         "asprintf");
    fd = mkstemp(path);
    must(fd >= 0 && write(fd, text, size) == (ssize_t)size && !fchmod(fd, (mode_t)mode),
         "a temporary file");
    close(fd);
    return path;
}
