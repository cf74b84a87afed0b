#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Keeps endpoints.yaml up to date from a name of DNS (a compose service, a headless service of Kubernetes), so that
# Envoy's configuration is the same everywhere:
#
#   docker/envoy/endpoints.sh NAME PORT FILE [SECONDS]      SECONDS between looks (2); 0: once
#
# A name that cannot be found leaves the file as it is: a failing DNS takes no replica away.
set -euo pipefail

[ $# -ge 3 ] || { sed -n '3,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
name=$1 port=$2 file=$3 pause=${4:-2}

write()
{
    cat <<EOF
resources:
  - "@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
    cluster_name: lipstream
    endpoints:
      - lb_endpoints:
EOF
    printf '          - {endpoint: {address: {socket_address: {address: "%s", port_value: '"$port"'}}}}\n' "$@"
}

last=
while :; do
    # Every address once; the same ones in another order are no news.
    found=$({ getent ahosts "$name" || true; } | awk '{print $1}' | sort -u)
    if [ -n "$found" ] && [ "$found" != "$last" ]; then
        mapfile -t addresses <<<"$found"
        write "${addresses[@]}" >"$file.part"
        mv "$file.part" "$file"
        printf 'endpoints: %s is %s\n' "$name" "${addresses[*]}"
        last=$found
    fi
    [ "$pause" != 0 ] || break
    sleep "$pause"
done
