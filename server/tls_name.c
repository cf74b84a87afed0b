// SPDX-License-Identifier: Apache-2.0
// Names in a client's certificate. They come from a peer whose authority signed them, and are still
// handled as strangers' bytes: one with a zero or a control character, or longer than its place,
// counts as no name (a cut name could be another one's). Front's thread.
#include "server/tls_impl.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include <openssl/x509v3.h>

enum { NAME_SIZE = 256 };

static bool copy_name(char *out, size_t size, const unsigned char *data, int length)
{
    if (length <= 0 || (size_t)length >= size)
        return false;
    for (int i = 0; i < length; i++)
        if (data[i] <= ' ' || data[i] >= 0x7f)
            return false;
    memcpy(out, data, (size_t)length);
    out[length] = '\0';
    return true;
}

static bool copy_general(char *out, size_t size, const GENERAL_NAME *name)
{
    const ASN1_STRING *text = NULL;

    switch (name->type) {
    case GEN_DNS:
        text = name->d.dNSName;
        break;
    case GEN_URI:
        text = name->d.uniformResourceIdentifier;
        break;
    case GEN_EMAIL:
        text = name->d.rfc822Name;
        break;
    case GEN_IPADD:
        text = name->d.iPAddress;
        return inet_ntop(ASN1_STRING_length(text) == 4 ? AF_INET : AF_INET6,
                         ASN1_STRING_get0_data(text), out, (socklen_t)size) &&
               (ASN1_STRING_length(text) == 4 || ASN1_STRING_length(text) == 16);
    default:
        return false;
    }
    return copy_name(out, size, ASN1_STRING_get0_data(text), ASN1_STRING_length(text));
}

static bool listed(const char *names, const char *name, bool any_case)
{
    size_t size = strlen(name);

    for (const char *at = names; *at;) {
        size_t length = strcspn(at, ",");

        if (length == size && !(any_case ? strncasecmp(at, name, size) : strncmp(at, name, size)))
            return true;
        at += length + (at[length] == ',');
    }
    return false;
}

bool ls_tls_name_matches(X509 *cert, const char *names)
{
    GENERAL_NAMES *all = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    char text[NAME_SIZE];
    bool found = false;

    for (int i = 0; !found && i < sk_GENERAL_NAME_num(all); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(all, i);

        found = copy_general(text, sizeof text, name) && listed(names, text, name->type == GEN_DNS);
    }
    GENERAL_NAMES_free(all);
    return found;
}

static bool common_name(X509 *cert, char *out, size_t size)
{
    X509_NAME *subject = X509_get_subject_name(cert);
    int i = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    const ASN1_STRING *text =
        i < 0 ? NULL : X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, i));

    return text && copy_name(out, size, ASN1_STRING_get0_data(text), ASN1_STRING_length(text));
}

void ls_tls_name_first(X509 *cert, char *out, size_t size)
{
    GENERAL_NAMES *all = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    bool found = false;

    for (int i = 0; !found && i < sk_GENERAL_NAME_num(all); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(all, i);

        found = name->type != GEN_IPADD && copy_general(out, size, name);
    }
    GENERAL_NAMES_free(all);
    if (!found && !common_name(cert, out, size))
        out[0] = '\0';
}
