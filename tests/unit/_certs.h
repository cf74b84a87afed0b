// SPDX-License-Identifier: Apache-2.0
// Certificates for tests, made by OpenSSL when they are needed: authorities, and certificates that
// are right or wrong in one thing. Keys are P-256. Files lie in a folder that check_certs_done
// removes. One thread.
#ifndef LS_TEST_CERTS_H
#define LS_TEST_CERTS_H

#include <openssl/ssl.h>

struct test_cert {
    X509 *cert;
    EVP_PKEY *key;
};

struct test_cert_params {
    const char *name;           // common name
    const char *san;            // "DNS:localhost,URI:spiffe://x/y"; NULL: none
    const char *usage;          // "serverAuth", "clientAuth"; NULL: none
    long from_s, to_s;          // from now; to 0: a day
    const struct test_cert *ca; // NULL: signs itself, and is an authority
};

struct test_cert certs_make(const struct test_cert_params *params);
void certs_free(struct test_cert *c);

// Into a new folder under TMPDIR; the path is good until certs_done.
const char *certs_path(const char *file);
// cert and key may be NULL; chain follows the certificate. Replaces the file. Mode 0600.
const char *certs_write(const char *file, const X509 *cert, const X509 *chain, EVP_PKEY *key,
                        const char *password);
const char *certs_write_text(const char *file, const char *text);
void certs_done(void); // removes all files

// A client of a port that is called localhost; cert may be NULL. Checks the server's name.
SSL_CTX *certs_client(const struct test_cert *ca, const struct test_cert *cert);

#endif
