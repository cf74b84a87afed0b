#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# docker/ by the programs that will read it: Envoy, hadolint, promtool, systemd-analyze; compose file and manifests by
# their schemas, and names and numbers that must agree (_deploy.py); the unit's system calls by a whole Sync under
# them (_unit_run.py). A program that is not here is skipped by name; a test is passed only if something was checked.
set -euo pipefail

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd)
build=$(readlink -f "${LS_BUILD:-$root/build}")
export LS_BUILD=$build
python=$root/build/venv/bin/python
[ -x "$python" ] || python=python3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0 checked=0

# tool NAME: its path into $tool; says SKIP and fails if it is not here.
tool()
{
    local at
    for at in "$root/build/tools/$1" "$root/build/venv/bin/$1" "$(command -v "$1" || true)"; do
        if [ -n "$at" ] && [ -x "$at" ]; then
            tool=$at
            return 0
        fi
    done
    echo "SKIP: $1 is not installed (docker/deps.sh --test)"
    return 1
}

# check NAME COMMAND...: the command succeeds, or the end of what it said is shown.
check()
{
    local name=$1
    shift
    checked=$((checked + 1))
    if ! "$@" >"$work/out" 2>&1; then
        printf 'FAIL %s\n' "$name"
        tail -c 3000 "$work/out"
        failed=1
    fi
}

fails()
{
    ! "$@"
}

silent()
{
    "$@" >"$work/said" 2>&1 && [ ! -s "$work/said" ] || {
        cat "$work/said"
        return 1
    }
}

# --- Envoy: the very files, in a folder as a test or an operator has it
if tool envoy && command -v openssl >/dev/null; then
    cp "$root"/docker/envoy/*.yaml "$work"
    check "certificates" "$root/docker/envoy/certs.sh" "$work/tls" lipstream.example.com 192.0.2.1
    check "certificates: by their authority" openssl verify -CAfile "$work/tls/ca.pem" \
        "$work"/tls/{front,envoy,lipstreamd,probe,caller}.pem
    check "certificates: names given" openssl x509 -in "$work/tls/front.pem" -noout \
        -checkhost lipstream.example.com -checkip 192.0.2.1
    check "certificates: keys are private" fails grep -q . <(find "$work/tls" -name '*.key' -perm /077)
    cd "$work"
    check "envoy.yaml" "$tool" --mode validate -c envoy.yaml
    cp "$work/out" "$work/validated"
    check "envoy.yaml: nothing deprecated" fails grep -iE 'deprecat|unknown' "$work/validated"
    "$root/docker/envoy/endpoints.sh" localhost 50051 endpoints.yaml 0 >/dev/null
    check "endpoints.sh writes what Envoy reads" grep -q 'port_value: 50051' endpoints.yaml
    check "envoy.yaml with it" "$tool" --mode validate -c envoy.yaml
    # Can this test fail?
    sed 's/lb_endpoints/lb_endpoint/; s/stream_idle_timeout/stream_idle_time/' envoy.yaml >wrong.yaml
    check "a wrong word is found" fails "$tool" --mode validate -c wrong.yaml
    cd "$root"
fi

if tool hadolint; then
    check "Dockerfile" silent "$tool" "$root/docker/Dockerfile"
fi

if tool promtool; then
    cp "$root/docker/prometheus/prometheus.yml" "$root"/docker/grafana/*.yml "$work"
    check "prometheus.yml and its rules" "$tool" check config "$work/prometheus.yml"
fi

# --- systemd: no service manager is needed for these
if tool systemd-analyze; then
    unit=$root/docker/systemd/lipstreamd.service
    check "exposure is measured" fails "$tool" security --offline=true --threshold=1 "$unit"
    check "lipstreamd.service: exposure under 2.0" \
        "$tool" security --offline=true --threshold=20 "$unit"
    mkdir -p "$work/units/lipstreamd.service.d"
    sed "s|/usr/bin/lipstreamd|$build/lipstreamd|" "$unit" >"$work/units/lipstreamd.service"
    check "lipstreamd.service" silent "$tool" verify --man=no "$work/units/lipstreamd.service"
    cp "$root/docker/systemd/lipstreamd-cuda.conf" "$work/units/lipstreamd.service.d/cuda.conf"
    check "with lipstreamd-cuda.conf" silent "$tool" verify --man=no "$work/units/lipstreamd.service"
    check "with lipstreamd-cuda.conf: exposure under 2.0" \
        "$tool" security --offline=true --threshold=20 "$work/units/lipstreamd.service"
    if tool systemd-sysusers; then
        check "lipstream.sysusers" "$tool" --dry-run "$root/docker/systemd/lipstream.sysusers"
    fi
    if [ -x "$build/lipstreamd" ] && [ -z "${LS_SANITIZE:-}" ]; then
        check "lipstreamd.service: a whole Sync with its system calls" \
            "$python" "$root/tests/e2e/_unit_sync.py" "$unit"
        sed '/=@system-service/a SystemCallFilter=~memfd_create' "$unit" >"$work/without"
        check "and one without a call that it needs dies" \
            fails "$python" "$root/tests/e2e/_unit_sync.py" "$work/without"
    fi
fi

# --- schemas, names, ports, times
if [ -x "$build/lipstreamd" ]; then
    status=0
    "$python" "$root/tests/e2e/_deploy.py" || status=$?
    case $status in
    0) checked=$((checked + 1)) ;;
    77) ;;
    *) failed=1 ;;
    esac
else
    echo "SKIP: lipstreamd is not built"
fi

[ $checked -gt 0 ] || exit 77
exit $failed
