// SPDX-License-Identifier: Apache-2.0
// What the files of auth*.c share: the two sets of credentials (tokens, keys), and reading of text
// that came from outside. Loop thread only. A set is read whole or not at all and never changes, so
// a reload makes a new one and swaps.
#ifndef LS_AUTH_IMPL_H
#define LS_AUTH_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/err.h"
#include "server/auth.h"
#include "server/options.h"

// --- auth_text.c
// ----------------------------------------------------------------------------------

struct json_t;

// A regular file of at most size_max bytes, malloc'ed and zero-terminated. mode_not: permissions
// that it may not have (S_IROTH); why: the words about them. flag names the option that gave path.
LS_MUST int ls_auth_read_file(char **out, size_t *size, const char *flag, const char *path,
                              size_t size_max, int mode_not, struct ls_err *err);
// Base64url of RFC 4648 without padding, in its one spelling: foreign characters and set bits
// behind the last byte are refused. Returns bytes, or -1 (also when they do not fit).
int ls_auth_base64url(uint8_t *out, int size_max, const char *text, size_t size);
// One JSON object with each name once, at most 16 levels deep; NULL if it is something else.
struct json_t *ls_auth_json(const char *text, size_t size);
// Fit for logs and labels: other than visible ASCII becomes '_', too long is cut.
void ls_auth_name(char out[64], const char *text, size_t size);
// SYNC for "sync", and so on; 0 for what is none.
int ls_auth_scope(const char *word, size_t size);
// "sync,info"; "none" for 0.
const char *ls_auth_scope_names(int scopes, char out[32]);
// A token as HTTP can carry it (token68 of RFC 9110).
bool ls_auth_is_token(const char *text, size_t size);

// --- auth_token.c: bearer tokens
// ------------------------------------------------------------------

struct ls_auth_tokens;

LS_MUST int ls_auth_tokens_read(struct ls_auth_tokens **out, const struct ls_options *opt,
                                struct ls_err *err);
void ls_auth_tokens_free(struct ls_auth_tokens **tokens); // accepts NULL
int ls_auth_tokens_count(const struct ls_auth_tokens *tokens);
// Whose token it is. Takes as long for every token of one size.
bool ls_auth_tokens_find(const struct ls_auth_tokens *tokens, struct ls_identity *out,
                         const char *token, size_t size);

// --- auth_keys.c: public keys of a JWK set (RFC 7517)
// ---------------------------------------------

enum ls_auth_alg { LS_ALG_NONE, LS_ALG_RS256, LS_ALG_ES256, LS_ALG_EDDSA };

struct ls_auth_keys;

LS_MUST int ls_auth_keys_read(struct ls_auth_keys **out, const struct ls_options *opt,
                              struct ls_err *err);
void ls_auth_keys_free(struct ls_auth_keys **keys); // accepts NULL
int ls_auth_keys_count(const struct ls_auth_keys *keys);
// The algorithm of a JWT's header; NONE for all that is not on the list.
enum ls_auth_alg ls_auth_alg(const char *name);
// kid NULL: any key of that algorithm.
bool ls_auth_keys_verify(const struct ls_auth_keys *keys, enum ls_auth_alg alg, const char *kid,
                         const char *text, size_t text_size, const uint8_t *signature,
                         size_t signature_size);

// --- auth_jwt.c: signed JWTs (RFC 7519 in the compact form of RFC 7515)
// ---------------------------

bool ls_auth_looks_like_jwt(const char *token, size_t size); // two dots
// Fills out (name, scopes), or fails with LS_EAUTH and what its owner may know. now_s: Unix time.
LS_MUST int ls_auth_jwt_check(const struct ls_auth_keys *keys, const struct ls_options *opt,
                              int64_t now_s, struct ls_identity *out, const char *token,
                              size_t size, struct ls_err *err);

#endif
