// SPDX-License-Identifier: Apache-2.0
// Keys, JWK sets and signed JWTs made by OpenSSL, for tests of what checks them. Every text is
// malloc'ed and the caller's. One thread; a failure of OpenSSL ends the program.
#ifndef LS_TEST_JWT_H
#define LS_TEST_JWT_H

#include <stddef.h>
#include <stdint.h>

#include <openssl/evp.h>

EVP_PKEY *jwt_key(const char *type, int bits); // "RSA" with bits; "EC" (256, 384), "ED25519"
char *jwt_base64url(const void *data, size_t size);
// The public part as a JWK. more: further members, each with a comma before it; may be "".
char *jwt_jwk(EVP_PKEY *key, const char *more);
// header and claims (JSON as it stands) and the signature that fits the key's type.
char *jwt_sign(EVP_PKEY *key, const char *header, const char *claims);
// The same with a signature of the caller's.
char *jwt_join(const char *header, const char *claims, const void *signature, size_t size);
// A new file in the folder of temporary ones, with this text and mode; its path.
char *jwt_file(const void *text, size_t size, int mode);

#endif
