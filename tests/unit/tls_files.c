// SPDX-License-Identifier: Apache-2.0
// Certificates, keys and authorities that are not in order: each is refused at the start, and the
// error names the flag.
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "server/tls.h"
#include "tests/unit/_certs.h"
#include "tests/unit/_check.h"

static struct test_cert ca, server, other;
static const char *server_path, *key_path, *ca_path;

static struct ls_options options(void)
{
    struct ls_options opt;

    ls_options_init(&opt);
    opt.tls_cert = server_path;
    opt.tls_key = key_path;
    return opt;
}

static void in_order(void)
{
    struct ls_options opt = options();
    struct ls_tls *tls = NULL;

    opt.tls_client_ca = ca_path;
    CHECK(ls_tls_open(&tls, &opt, NULL) == 0 && tls && ls_tls_mutual(tls), "files in order");
    ls_tls_close(&tls);
}

static void refused(const struct ls_options *opt, const char *flag, const char *row)
{
    struct ls_tls *tls = NULL;
    struct ls_err err = {0};
    int r = ls_tls_open(&tls, opt, &err);

    if (!CHECK(r == LS_EFIELD && !tls && !strcmp(err.field, flag) && err.text[0], row))
        printf("  %d %s: %s\n", r, err.field, err.text);
    ls_tls_close(&tls);
}

static void wrong_files(void)
{
    struct test_cert expired =
        certs_make(&(struct test_cert_params){.name = "s", .ca = &ca, .from_s = -99, .to_s = -9});
    struct test_cert future =
        certs_make(&(struct test_cert_params){.name = "s", .ca = &ca, .from_s = 999});
    const char *missing = certs_path("missing.pem");
    const struct {
        const char *name, *flag, *cert, *key, *client_ca, *names;
    } rows[] = {
        {"no key named", "tls-key", server_path, "", "", ""},
        {"no certificate named", "tls-cert", "", key_path, "", ""},
        {"an authority without a certificate", "tls-cert", "", "", ca_path, ""},
        {"names without an authority", "tls-client-ca", server_path, key_path, "", "a"},
        {"missing certificate", "tls-cert", missing, key_path, "", ""},
        {"missing key", "tls-key", server_path, missing, "", ""},
        {"missing authority", "tls-client-ca", server_path, key_path, missing, ""},
        {"another's key", "tls-key", server_path,
         certs_write("other.key", NULL, NULL, other.key, NULL), "", ""},
        {"key with a pass phrase", "tls-key", server_path,
         certs_write("locked.key", NULL, NULL, server.key, "secret"), "", ""},
        {"key in the certificate's place", "tls-cert", key_path, key_path, "", ""},
        {"certificate in the key's place", "tls-key", server_path, server_path, "", ""},
        {"text", "tls-cert", certs_write_text("text.pem", "no certificate\n"), key_path, "", ""},
        {"empty authority", "tls-client-ca", server_path, key_path, certs_write_text("empty", ""),
         ""},
        {"expired", "tls-cert", certs_write("old.pem", expired.cert, NULL, NULL, NULL),
         certs_write("old.key", NULL, NULL, expired.key, NULL), "", ""},
        {"not valid yet", "tls-cert", certs_write("new.pem", future.cert, NULL, NULL, NULL),
         certs_write("new.key", NULL, NULL, future.key, NULL), "", ""},
        {"expired in the chain", "tls-cert",
         certs_write("mixed.pem", server.cert, expired.cert, NULL, NULL), key_path, "", ""},
        {"cut in the chain", "tls-cert", certs_path("cut.pem"), key_path, "", ""},
    };
    struct ls_options opt = options();
    char text[8192] = "";
    FILE *file = fopen(server_path, "r");
    size_t size = fread(text, 1, sizeof text - 64, file);

    fclose(file);
    strcpy(text + size, "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
    certs_write_text("cut.pem", text);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        opt.tls_cert = rows[i].cert;
        opt.tls_key = rows[i].key;
        opt.tls_client_ca = rows[i].client_ca;
        opt.tls_client_names = rows[i].names;
        refused(&opt, rows[i].flag, rows[i].name);
    }
    opt = options();
    chmod(key_path, 0604);
    refused(&opt, "tls-key", "a key that all may read");
    chmod(key_path, 0602);
    refused(&opt, "tls-key", "a key that all may write");
    chmod(key_path, 0600);
    certs_free(&expired);
    certs_free(&future);
}

static void plain(void)
{
    struct ls_tls *tls = NULL;
    struct ls_options opt;

    ls_options_init(&opt);
    CHECK(ls_tls_open(&tls, &opt, NULL) == 0 && !tls, "no certificate: plain");
    ls_tls_close(&tls);
}

int main(void)
{
    ca = certs_make(&(struct test_cert_params){.name = "ca"});
    server = certs_make(&(struct test_cert_params){.name = "server", .ca = &ca});
    other = certs_make(&(struct test_cert_params){.name = "other", .ca = &ca});
    server_path = certs_write("server.pem", server.cert, NULL, NULL, NULL);
    key_path = certs_write("server.key", NULL, NULL, server.key, NULL);
    ca_path = certs_write("ca.pem", ca.cert, NULL, NULL, NULL);
    in_order();
    wrong_files();
    plain();
    certs_free(&ca);
    certs_free(&server);
    certs_free(&other);
    certs_done();
    return check_done();
}
