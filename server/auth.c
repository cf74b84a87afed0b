// SPDX-License-Identifier: Apache-2.0
// Who may call (see auth.h): puts together what a caller shows (a token, a JWT, a certificate,
// where it comes from) and what the operator allows. Loop thread. One rule to remember: where
// tokens or keys are configured, a certificate alone opens nothing; it only says which machine
// calls.
#include "server/auth.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "server/auth_impl.h"
#include "server/log.h"

enum { ALL_SCOPES = LS_SCOPE_SYNC | LS_SCOPE_INFO | LS_SCOPE_ADMIN };

struct ls_auth {
    struct ls_options opt;
    struct ls_auth_tokens *tokens; // NULL: none configured
    struct ls_auth_keys *keys;     // the same
};

// The machine's own address, by the text of --listen: "127.0.0.1:1", "[::1]:1", "localhost:1".
static bool is_loopback(const char *listen)
{
    const char *colon = strrchr(listen, ':');
    size_t size = colon ? (size_t)(colon - listen) : strlen(listen);
    char host[64];
    struct in6_addr v6;
    struct in_addr v4;

    if (size >= 2 && listen[0] == '[' && listen[size - 1] == ']') {
        listen++;
        size -= 2;
    }
    if (size >= sizeof host)
        return false;
    memcpy(host, listen, size);
    host[size] = '\0';
    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, host, &v6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
    return !strcasecmp(host, "localhost");
}

static bool is_mutual(const struct ls_options *opt)
{
    return *opt->tls_cert && *opt->tls_client_ca;
}

static int check_options(const struct ls_options *opt, struct ls_err *err)
{
    if (*opt->jwks && (!*opt->jwt_issuer || !*opt->jwt_audience))
        return ls_fail_field(err, LS_EFIELD, "jwks",
                             "--jwks needs --jwt-issuer and --jwt-audience: a JWT that was made "
                             "for another service must not count here");
    if (!*opt->jwks && (*opt->jwt_issuer || *opt->jwt_audience))
        return ls_fail_field(err, LS_EFIELD, *opt->jwt_issuer ? "jwt-issuer" : "jwt-audience",
                             "--jwt-issuer and --jwt-audience mean nothing without --jwks");
    if (!is_loopback(opt->listen) && !*opt->tokens && !*opt->jwks && !is_mutual(opt) &&
        strcmp(opt->anonymous, "always"))
        return ls_fail_field(err, LS_EFIELD, "listen",
                             "--listen %s is open to other machines, and nothing tells who calls: "
                             "give --tokens, --jwks or --tls-client-ca, or --anonymous always",
                             opt->listen);
    return 0;
}

static int read_both(struct ls_auth_tokens **tokens, struct ls_auth_keys **keys,
                     const struct ls_options *opt, struct ls_err *err)
{
    struct ls_log_field field[2];
    int r = 0;

    if (*opt->tokens)
        r = ls_auth_tokens_read(tokens, opt, err);
    if (r == 0 && *opt->jwks)
        r = ls_auth_keys_read(keys, opt, err);
    if (r < 0) {
        ls_auth_tokens_free(tokens);
        return r;
    }
    field[0] = (struct ls_log_field){"tokens", NULL, ls_auth_tokens_count(*tokens)};
    field[1] = (struct ls_log_field){"keys", NULL, ls_auth_keys_count(*keys)};
    if (*tokens || *keys)
        ls_log(LS_LOG_INFO, "auth", field, 2, "read");
    return 0;
}

int ls_auth_open(struct ls_auth **out, const struct ls_options *opt, struct ls_err *err)
{
    struct ls_auth *auth;
    int r = check_options(opt, err);

    if (r < 0)
        return r;
    auth = calloc(1, sizeof *auth);
    if (!auth)
        return ls_fail(err, LS_ENOMEM, "the credentials");
    auth->opt = *opt;
    r = read_both(&auth->tokens, &auth->keys, opt, err);
    if (r < 0) {
        ls_auth_close(&auth);
        return r;
    }
    if ((auth->tokens || auth->keys) && !*opt->tls_cert && !is_loopback(opt->listen))
        ls_log(LS_LOG_WARN, "auth", NULL, 0,
               "tokens come in over connections that are not encrypted; --tls-cert and --tls-key, "
               "or a proxy on this machine, change that");
    *out = auth;
    return 0;
}

int ls_auth_reload(struct ls_auth *auth, struct ls_err *err)
{
    struct ls_auth_tokens *tokens = NULL;
    struct ls_auth_keys *keys = NULL;
    int r = read_both(&tokens, &keys, &auth->opt, err);

    if (r < 0)
        return r;
    ls_auth_tokens_free(&auth->tokens);
    ls_auth_keys_free(&auth->keys);
    auth->tokens = tokens;
    auth->keys = keys;
    return 0;
}

void ls_auth_close(struct ls_auth **auth)
{
    if (!*auth)
        return;
    ls_auth_tokens_free(&(*auth)->tokens);
    ls_auth_keys_free(&(*auth)->keys);
    free(*auth);
    *auth = NULL;
}

// Whether a caller may be nobody. auto: on a machine of one owner, as long as nothing else tells
// callers apart. The admin port has no TLS, so there a client certificate is no such thing.
static bool nobody_may(const struct ls_auth *auth, const struct ls_peer *peer)
{
    const char *how = auth->opt.anonymous;

    if (!strcmp(how, "always"))
        return true;
    if (!strcmp(how, "loopback"))
        return peer->loopback;
    if (!strcmp(how, "auto"))
        return peer->loopback && !auth->tokens && !auth->keys && !peer->certified;
    return false;
}

// The token behind "Bearer " (RFC 6750, 2.1; the scheme's case does not matter: RFC 9110, 11.1).
static bool take_bearer(const char **token, size_t *size, const char *header, size_t header_size)
{
    static const char scheme[] = "bearer ";
    size_t at = sizeof scheme - 1;

    if (header_size < at || strncasecmp(header, scheme, at))
        return false;
    while (at < header_size && header[at] == ' ')
        at++;
    while (header_size > at && (header[header_size - 1] == ' ' || header[header_size - 1] == '\t'))
        header_size--;
    *token = header + at;
    *size = header_size - at;
    return ls_auth_is_token(*token, *size);
}

static int check_bearer(const struct ls_auth *auth, struct ls_identity *out, const char *header,
                        size_t header_size, struct ls_err *err)
{
    const char *token;
    size_t size;

    if (!take_bearer(&token, &size, header, header_size))
        return ls_fail(err, LS_EAUTH, "the metadata authorization must be \"Bearer TOKEN\"");
    if (auth->tokens && ls_auth_tokens_find(auth->tokens, out, token, size))
        return 0;
    if (auth->keys && (!auth->tokens || ls_auth_looks_like_jwt(token, size)))
        return ls_auth_jwt_check(auth->keys, &auth->opt, (int64_t)time(NULL), out, token, size,
                                 err);
    return ls_fail(err, LS_EAUTH, "the token is not known here");
}

int ls_auth_check(const struct ls_auth *auth, struct ls_identity *out, const struct ls_peer *peer,
                  const char *authorization, int size, enum ls_scope scope, struct ls_err *err)
{
    bool wants_token = auth->tokens || auth->keys;
    char has[32], lacks[32];
    int r;

    memset(out, 0, sizeof *out);
    if (peer->certified)
        ls_auth_name(out->name, peer->certificate, strlen(peer->certificate));
    if (scope == LS_SCOPE_NONE)
        return 0;
    if (wants_token && authorization) {
        // A bad token is refused where nobody would be let in: its owner meant to be somebody.
        r = check_bearer(auth, out, authorization, (size_t)size, err);
        if (r < 0)
            return r;
    } else if (nobody_may(auth, peer)) {
        out->scopes = ALL_SCOPES;
    } else if (!wants_token && peer->certified) {
        out->scopes = LS_SCOPE_SYNC | LS_SCOPE_INFO;
    } else {
        return ls_fail(err, LS_EAUTH, "%s",
                       wants_token ? "no token came: this server wants the metadata authorization, "
                                     "\"Bearer TOKEN\""
                                   : "callers without credentials are not let in from there");
    }
    if (out->scopes & (int)scope)
        return 0;
    return ls_fail(err, LS_ESCOPE, "this needs the scope %s; the credentials of %s have %s",
                   ls_auth_scope_names((int)scope, lacks), *out->name ? out->name : "this caller",
                   ls_auth_scope_names(out->scopes, has));
}
