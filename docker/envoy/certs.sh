#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes an authority of one's own and the certificates of everybody around Envoy, for tests and for trying
# things out:
#
#   docker/envoy/certs.sh FOLDER [NAME-OR-ADDRESS...]
#
#   ca.pem, ca.key                 the authority
#   front.pem, front.key           Envoy, as callers see it: localhost, 127.0.0.1, ::1 and the names given
#   envoy.pem, envoy.key           Envoy, as the replicas see it: envoy
#   lipstreamd.pem, lipstreamd.key a replica: lipstream, localhost, 127.0.0.1, ::1
#   probe.pem, probe.key           whoever asks a replica for its health: probe
#   caller.pem, caller.key         a caller with a certificate of its own: caller
#
# An authority that is there already is used again, so that running it anew renews the certificates; each file
# is moved into place, which is what Envoy watches for (lipstreamd: SIGHUP). LS_CERT_DAYS: how long they last (90).
set -euo pipefail

[ $# -ge 1 ] || { sed -n '3,16s/^# \{0,1\}//p' "$0" >&2; exit 2; }
folder=$1
shift
days=${LS_CERT_DAYS:-90}
umask 077
mkdir -p "$folder"
cd "$folder"
work=$(mktemp -d .new.XXXXXX)
trap 'rm -rf "$work"' EXIT

key()
{
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null
}

# Runs of the same second must not share a serial number: 16 random bytes each.
serial()
{
    echo "0x$(openssl rand -hex 16)"
}

if [ ! -f ca.key ] || [ ! -f ca.pem ]; then
    key "$work/ca.key"
    openssl req -x509 -new -key "$work/ca.key" -days 3650 -subj "/CN=lipstream test authority" \
        -addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign,cRLSign \
        -out "$work/ca.pem"
    mv "$work/ca.key" "$work/ca.pem" .
fi

# issue FILE USE SAN...: a certificate for serverAuth or clientAuth.
issue()
{
    local file=$1 use=$2 names
    shift 2
    names=$(IFS=,; echo "$*")
    key "$work/$file.key"
    openssl req -new -key "$work/$file.key" -subj "/CN=${1#*:}" -out "$work/$file.csr"
    openssl x509 -req -in "$work/$file.csr" -CA ca.pem -CAkey ca.key -set_serial "$(serial)" -days "$days" \
        -out "$work/$file.pem" -extfile <(printf '%s\n' basicConstraints=critical,CA:FALSE \
        keyUsage=critical,digitalSignature "extendedKeyUsage=$use" "subjectAltName=$names") 2>/dev/null
    # The key first: whoever looks between the two finds a pair that does not fit, and looks again.
    mv "$work/$file.key" "$work/$file.pem" .
}

front=(DNS:localhost IP:127.0.0.1 IP:::1)
for name; do
    if [[ $name =~ ^[0-9.]+$ || $name == *:* ]]; then front+=("IP:$name"); else front+=("DNS:$name"); fi
done
issue front serverAuth "${front[@]}"
issue envoy clientAuth DNS:envoy
issue lipstreamd serverAuth DNS:lipstream DNS:localhost IP:127.0.0.1 IP:::1
issue probe clientAuth DNS:probe
issue caller clientAuth DNS:caller
