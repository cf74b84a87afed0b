// SPDX-License-Identifier: Apache-2.0
// See _certs.h. Whatever fails here is no failure of what is tested, so it ends the program.
#include "tests/unit/_certs.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

enum { FILES = 32, PATH_SIZE = 256 };

static char folder[128];
static char paths[FILES][PATH_SIZE];
static int path_count;

static void must(int ok, const char *what)
{
    if (ok)
        return;
    printf("certificates for the test: %s\n", what);
    ERR_print_errors_fp(stdout);
    exit(1);
}

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *extension;

    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    must(extension && X509_add_ext(cert, extension, -1), value);
    X509_EXTENSION_free(extension);
}

struct test_cert certs_make(const struct test_cert_params *p)
{
    static long serial = 1;
    struct test_cert c = {X509_new(), EVP_EC_gen("P-256")};
    const struct test_cert *ca = p->ca ? p->ca : &c;
    X509_NAME *name;

    must(c.cert && c.key, p->name);
    X509_set_version(c.cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(c.cert), serial++);
    X509_gmtime_adj(X509_getm_notBefore(c.cert), p->from_s ? p->from_s : -60);
    X509_gmtime_adj(X509_getm_notAfter(c.cert), p->to_s ? p->to_s : 86400);
    X509_set_pubkey(c.cert, c.key);
    name = X509_get_subject_name(c.cert);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)p->name, -1, -1, 0);
    X509_set_issuer_name(c.cert, X509_get_subject_name(ca->cert));
    add_extension(c.cert, ca->cert, NID_basic_constraints,
                  p->ca ? "critical,CA:FALSE" : "critical,CA:TRUE");
    if (p->san)
        add_extension(c.cert, ca->cert, NID_subject_alt_name, p->san);
    if (p->usage)
        add_extension(c.cert, ca->cert, NID_ext_key_usage, p->usage);
    must(X509_sign(c.cert, ca->key, EVP_sha256()), p->name);
    return c;
}

void certs_free(struct test_cert *c)
{
    X509_free(c->cert);
    EVP_PKEY_free(c->key);
    *c = (struct test_cert){.cert = NULL};
}

const char *certs_path(const char *file)
{
    const char *base = getenv("TMPDIR");

    if (!folder[0]) {
        snprintf(folder, sizeof folder, "%s/lipstream-certs-XXXXXX", base ? base : "/tmp");
        must(mkdtemp(folder) != NULL, folder);
    }
    for (int i = 0; i < path_count; i++)
        if (!strcmp(strrchr(paths[i], '/') + 1, file))
            return paths[i];
    must(path_count < FILES, "too many files");
    snprintf(paths[path_count], PATH_SIZE, "%s/%s", folder, file);
    return paths[path_count++];
}

const char *certs_write(const char *file, const X509 *cert, const X509 *chain, EVP_PKEY *key,
                        const char *password)
{
    const char *path = certs_path(file);
    FILE *to = fopen(path, "w");

    must(to != NULL, path);
    must(!cert || PEM_write_X509(to, cert), path);
    must(!chain || PEM_write_X509(to, chain), path);
    must(!key || PEM_write_PKCS8PrivateKey(to, key, password ? EVP_aes_128_cbc() : NULL, password,
                                           password ? (int)strlen(password) : 0, NULL, NULL),
         path);
    fclose(to);
    chmod(path, 0600);
    return path;
}

const char *certs_write_text(const char *file, const char *text)
{
    const char *path = certs_path(file);
    FILE *to = fopen(path, "w");

    must(to != NULL, path);
    fputs(text, to);
    fclose(to);
    chmod(path, 0600);
    return path;
}

void certs_done(void)
{
    for (int i = 0; i < path_count; i++)
        unlink(paths[i]);
    if (folder[0])
        rmdir(folder);
    path_count = 0;
    folder[0] = '\0';
}

SSL_CTX *certs_client(const struct test_cert *ca, const struct test_cert *cert)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    must(ctx && X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), ca->cert), "client");
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
    must(X509_VERIFY_PARAM_set1_host(SSL_CTX_get0_param(ctx), "localhost", 0), "client's name");
    if (cert)
        must(SSL_CTX_use_certificate(ctx, cert->cert) && SSL_CTX_use_PrivateKey(ctx, cert->key),
             "client's certificate");
    return ctx;
}
