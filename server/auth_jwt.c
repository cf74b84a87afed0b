// SPDX-License-Identifier: Apache-2.0
// JSON Web Tokens of callers: three parts in base64url, of which the third is a signature over the
// other two (RFC 7515, compact form). Loop thread. Written here because the C libraries that Debian
// keeps know no EdDSA or are archived; it is small because it can do little: three algorithms,
// keys from one file, nothing is ever fetched (jku, x5u) or taken from the token itself (jwk, x5c).
// Claims are looked at only after the signature held.
#include "server/auth_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <jansson.h>

enum { SIGNATURE_BYTES_MAX = 2048 }; // RSA with 16384 bits

// The largest time that is taken, 9999-12-31: beyond, somebody counted milliseconds.
#define TIME_MAX 253402300799.0

struct part {
    const char *text;
    size_t size;
};

static int bad(struct ls_err *err, const char *what)
{
    return ls_fail(err, LS_EAUTH, "the JWT is not accepted: %s", what);
}

bool ls_auth_looks_like_jwt(const char *token, size_t size)
{
    int dots = 0;

    for (size_t i = 0; i < size; i++)
        dots += token[i] == '.';
    return dots == 2;
}

static void split(struct part part[3], const char *token, size_t size)
{
    const char *first = memchr(token, '.', size);
    const char *second = memchr(first + 1, '.', size - (size_t)(first + 1 - token));

    part[0] = (struct part){token, (size_t)(first - token)};
    part[1] = (struct part){first + 1, (size_t)(second - first - 1)};
    part[2] = (struct part){second + 1, size - (size_t)(second + 1 - token)};
}

static json_t *decode(const struct part *part)
{
    uint8_t *data = malloc(part->size + 1);
    json_t *json = NULL;
    int size = -1;

    if (data)
        size = ls_auth_base64url(data, (int)part->size, part->text, part->size);
    if (size > 0)
        json = ls_auth_json((const char *)data, (size_t)size);
    free(data);
    return json;
}

// What stands in typ is an access token, or nothing that says more than JWT (RFC 8725, 3.11).
static bool type_fits(const json_t *header)
{
    static const char *const types[] = {"JWT", "at+jwt", "application/at+jwt", "application/jwt"};
    const json_t *type = json_object_get(header, "typ");

    if (!type)
        return true;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (json_is_string(type) && !strcasecmp(json_string_value(type), types[i]))
            return true;
    return false;
}

static int check_signature(const struct ls_auth_keys *keys, const struct part part[3],
                           struct ls_err *err)
{
    json_t *header = decode(&part[0]);
    const json_t *name = json_object_get(header, "alg"), *kid = json_object_get(header, "kid");
    enum ls_auth_alg alg = json_is_string(name) ? ls_auth_alg(json_string_value(name)) : 0;
    uint8_t signature[SIGNATURE_BYTES_MAX];
    int r = 0, size = ls_auth_base64url(signature, sizeof signature, part[2].text, part[2].size);

    if (!header)
        r = bad(err, "its header is not base64url of a JSON object");
    else if (alg == LS_ALG_NONE)
        r = bad(err, "its alg is none of RS256, ES256, EdDSA");
    else if (json_object_get(header, "crit"))
        r = bad(err, "it has critical extensions (crit), of which none is known here");
    else if (!type_fits(header))
        r = bad(err, "its typ is none of JWT, at+jwt");
    else if (size <= 0 || (kid && !json_is_string(kid)) ||
             !ls_auth_keys_verify(keys, alg, json_string_value(kid), part[0].text,
                                  part[0].size + 1 + part[1].size, signature, (size_t)size))
        r = bad(err, "no key of this server confirms its signature");
    json_decref(header);
    return r;
}

// NumericDate (RFC 7519, 2): seconds, perhaps with a fraction. 1: there, 0: not there, -1: no time.
static int time_of(const json_t *claims, const char *name, double *out)
{
    const json_t *value = json_object_get(claims, name);
    double seconds = json_number_value(value);

    if (!value)
        return 0;
    if (!json_is_number(value) || !(seconds >= 0 && seconds <= TIME_MAX))
        return -1;
    *out = seconds;
    return 1;
}

static int check_times(const json_t *claims, double now, double leeway, struct ls_err *err)
{
    double exp = 0, nbf = 0, iat = 0;
    int has_exp = time_of(claims, "exp", &exp), has_nbf = time_of(claims, "nbf", &nbf),
        has_iat = time_of(claims, "iat", &iat);

    if (has_exp == 0)
        return bad(err, "it has no exp");
    if (has_exp < 0 || has_nbf < 0 || has_iat < 0)
        return bad(err, "its exp, nbf or iat is not a time in seconds");
    if (now >= exp + leeway)
        return ls_fail(err, LS_EAUTH, "the JWT expired %.0f s ago", now - exp);
    if (has_nbf && nbf > now + leeway)
        return ls_fail(err, LS_EAUTH, "the JWT is not valid before %.0f s from now (nbf)",
                       nbf - now);
    if (has_iat && iat > now + leeway)
        return ls_fail(err, LS_EAUTH, "the JWT was issued %.0f s from now (iat): clocks differ",
                       iat - now);
    return 0;
}

static bool is_text(const json_t *value, const char *text)
{
    return json_is_string(value) && !strcmp(json_string_value(value), text);
}

static bool names_audience(const json_t *aud, const char *audience)
{
    const json_t *one;
    size_t i;

    json_array_foreach(aud, i, one)
    {
        if (is_text(one, audience))
            return true;
    }
    return is_text(aud, audience);
}

// The words of scope (RFC 8693, 4.2) that this server knows, with or without its name before them.
static int scopes_of(const json_t *claims)
{
    static const char prefix[] = "lipstream:";
    const char *word = json_string_value(json_object_get(claims, "scope"));
    int scopes = 0;

    while (word && *word) {
        size_t size = strcspn(word, " "), skip = sizeof prefix - 1;

        skip = size > skip && !memcmp(word, prefix, skip) ? skip : 0;
        scopes |= ls_auth_scope(word + skip, size - skip);
        word += size + (word[size] == ' ');
    }
    return scopes;
}

static int check_claims(const json_t *claims, const struct ls_options *opt, int64_t now_s,
                        struct ls_err *err)
{
    if (!claims)
        return bad(err, "its claims are not base64url of a JSON object");
    if (!is_text(json_object_get(claims, "iss"), opt->jwt_issuer))
        return bad(err, "another issuer (iss)");
    if (!names_audience(json_object_get(claims, "aud"), opt->jwt_audience))
        return bad(err, "it is for another audience (aud)");
    return check_times(claims, (double)now_s, (double)opt->jwt_leeway_s, err);
}

int ls_auth_jwt_check(const struct ls_auth_keys *keys, const struct ls_options *opt, int64_t now_s,
                      struct ls_identity *out, const char *token, size_t size, struct ls_err *err)
{
    const json_t *subject;
    struct part part[3];
    json_t *claims;
    int r;

    if (size > (size_t)opt->metadata_bytes_max || !ls_auth_looks_like_jwt(token, size))
        return bad(err, "it is not three parts with dots between, or too long");
    split(part, token, size);
    r = check_signature(keys, part, err);
    if (r < 0)
        return r;
    claims = decode(&part[1]);
    r = check_claims(claims, opt, now_s, err);
    if (r == 0) {
        subject = json_object_get(claims, "sub");
        if (json_string_length(subject) > 0)
            ls_auth_name(out->name, json_string_value(subject), json_string_length(subject));
        else
            snprintf(out->name, sizeof out->name, "jwt");
        out->scopes = scopes_of(claims);
    }
    json_decref(claims);
    return r;
}
