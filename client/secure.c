// SPDX-License-Identifier: Apache-2.0
// Reads certificates and the token (see secure.h). The authorities of the system are looked for
// here and not left to gRPC, which would take a bundle of its own that nobody on the machine looks
// after.
#include "client/secure.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES_MAX = 4 << 20 }; // a bundle of all authorities has 0.2 MB

// Bundles of Debian, Fedora, Alpine; the first that is there.
static const char *const bundles[] = {"/etc/ssl/certs/ca-certificates.crt",
                                      "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"};

// A whole file, zero-terminated; NULL with a fault. fault NULL: it need not be there.
static char *read_file(const char *path, const char *option, struct ls_fault *fault)
{
    FILE *f = fopen(path, "re");
    char *data = f ? malloc(FILE_BYTES_MAX + 1) : NULL, *whole;
    size_t size = data ? fread(data, 1, FILE_BYTES_MAX + 1, f) : 0;
    bool good = data && !ferror(f) && size <= FILE_BYTES_MAX;

    if (good)
        data[size] = '\0';
    else if (fault)
        ls_fault_set(fault, LS_EXIT_LOCAL, "%s %s: %s", option, path,
                     size > FILE_BYTES_MAX ? "is too large to be one" : strerror(errno));
    if (f)
        fclose(f);
    whole = good ? realloc(data, size + 1) : NULL;
    if (!whole)
        free(data);
    return whole;
}

// One that holds PEM of this kind.
static char *read_pem(const char *path, const char *option, const char *kind,
                      struct ls_fault *fault)
{
    char *text = read_file(path, option, fault);

    if (text && !strstr(text, kind)) {
        ls_fault_set(fault, LS_EXIT_LOCAL, "%s %s: has no %s in PEM", option, path, kind);
        free(text);
        text = NULL;
    }
    return text;
}

static char *system_roots(struct ls_fault *fault)
{
    const char *named = getenv("SSL_CERT_FILE");

    if (named && *named)
        return read_pem(named, "$SSL_CERT_FILE", "CERTIFICATE", fault);
    for (size_t i = 0; i < sizeof(bundles) / sizeof(bundles[0]); i++) {
        char *text = read_file(bundles[i], "", NULL);

        if (text)
            return text;
    }
    ls_fault_set(fault, LS_EXIT_LOCAL,
                 "this system has no bundle of authorities (looked for %s); "
                 "name yours with --ca",
                 bundles[0]);
    return NULL;
}

static int load_tls(struct ls_secure *s, const struct ls_client_options *opt,
                    struct ls_fault *fault)
{
    s->roots = opt->ca ? read_pem(opt->ca, "--ca", "CERTIFICATE", fault) : system_roots(fault);
    if (!s->roots)
        return -1;
    if (!opt->cert)
        return 0;
    s->cert = read_pem(opt->cert, "--cert", "CERTIFICATE", fault);
    s->key = s->cert ? read_pem(opt->key, "--key", "PRIVATE KEY", fault) : NULL;
    return s->key ? 0 : -1;
}

// The first line; what a header cannot carry would end the process inside gRPC.
static int load_token(struct ls_secure *s, const struct ls_client_options *opt,
                      struct ls_fault *fault)
{
    const char *given = getenv("LIPSTREAM_TOKEN");
    const char *from = opt->token_file ? opt->token_file : "$LIPSTREAM_TOKEN";

    if (opt->token_file)
        s->token = read_file(opt->token_file, "--token-file", fault);
    else if (given && *given)
        s->token = strdup(given);
    else
        return 0;
    if (!s->token)
        return ls_fault_set(fault, LS_EXIT_LOCAL, "out of memory");
    s->token[strcspn(s->token, "\r\n")] = '\0';
    for (const char *p = s->token; *p; p++)
        if (*p <= ' ' || *p > '~')
            return ls_fault_set(fault, LS_EXIT_LOCAL,
                                "%s: is no token: it has other characters "
                                "than visible ASCII",
                                from);
    if (!*s->token)
        return ls_fault_set(fault, LS_EXIT_LOCAL, "%s: is empty", from);
    return 0;
}

// This machine's own, by the forms of an address that gRPC takes.
static bool stays_here(const char *server)
{
    static const char *const starts[] = {"127.", "localhost:", "[::1]:", "unix:", "unix-abstract:"};

    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++)
        if (strncmp(server, starts[i], strlen(starts[i])) == 0)
            return true;
    return false;
}

int ls_secure_load(struct ls_secure *out, const struct ls_client_options *opt,
                   struct ls_fault *fault)
{
    struct ls_secure s = {.server_name = opt->server_name};

    s.tls = opt->tls || opt->ca || opt->cert || opt->server_name;
    if ((s.tls && load_tls(&s, opt, fault) < 0) || load_token(&s, opt, fault) < 0) {
        ls_secure_free(&s);
        return -1;
    }
    if (s.token && !s.tls && !stays_here(opt->server))
        fputs("lipstream: warning: the token is sent unencrypted; --tls changes that\n", stderr);
    *out = s;
    return 0;
}

void ls_secure_free(struct ls_secure *s)
{
    free(s->roots);
    free(s->cert);
    free(s->key);
    free(s->token);
    memset(s, 0, sizeof(*s));
}
