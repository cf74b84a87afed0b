#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# grpcurl without any .proto file: list, describe, GetServerInfo, health, and a whole Sync by the two
# scripts of client/, as README shows. The server is started and stopped by tests/e2e/_serve.py.
set -euo pipefail

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd)
build=${LS_BUILD:-$root/build}
python=$root/build/venv/bin/python
[ -x "$python" ] || python=python3
grpcurl=$root/build/tools/grpcurl
[ -x "$grpcurl" ] || grpcurl=$(command -v grpcurl || true)
if [ -z "$grpcurl" ]; then
    echo "SKIP: grpcurl is not installed (docker/deps.sh --test builds it)"
    exit 77
fi
if [ ! -x "$build/lipstreamd" ]; then
    echo "SKIP: lipstreamd is not built"
    exit 77
fi

work=$(mktemp -d)
failed=0
coproc serve { exec "$python" "$root/tests/e2e/_serve.py"; }
serve_pid=$serve_PID
finish() {
    exec {serve[1]}>&- || true
    wait "$serve_pid" || failed=1
    rm -rf "$work"
    exit $failed
}
trap finish EXIT
read -r address face voice <&"${serve[0]}" || { failed=1; exit; }

# check NAME PATTERN COMMAND…: the command succeeds and prints the pattern.
check() {
    local name=$1 pattern=$2
    shift 2
    if ! "$@" >"$work/out" 2>&1 || ! grep -Eq "$pattern" "$work/out"; then
        printf 'FAIL %s\n' "$name"
        head -c 2000 "$work/out"
        failed=1
    fi
}
call() { "$grpcurl" -plaintext "$@"; }
sync() {
    "$python" "$root/client/grpcurl_request.py" "$face" "$voice" "${@:2}" |
        call -d @ "$address" lipstream.v1.LipSync/Sync | "$python" "$root/client/grpcurl_output.py" "$1"
}
refused() { sync "$work/refused.mp4" "$work/config.json" || return 0; }

check "list" '^lipstream\.v1\.LipSync$' call "$address" list
check "list: health" '^grpc\.health\.v1\.Health$' call "$address" list
check "list methods" 'lipstream\.v1\.LipSync\.GetServerInfo' call "$address" list lipstream.v1.LipSync
check "describe service" 'rpc Sync \( stream .lipstream.v1.SyncRequest' \
    call "$address" describe lipstream.v1.LipSync
check "describe message" 'FloatValue feather_px = 2' call "$address" describe lipstream.v1.Paste
check "GetServerInfo" '"name": "sessions-max"' call "$address" lipstream.v1.LipSync/GetServerInfo
check "health" '"SERVING"' call "$address" grpc.health.v1.Health/Check
check "health of the service" '"SERVING"' \
    call -d '{"service": "lipstream.v1.LipSync"}' "$address" grpc.health.v1.Health/Check
check "Sync" ': 50 frames' sync "$work/out.mp4"
check "Sync: the video" 'h264,50' ffprobe -v error -count_frames -show_entries \
    stream=codec_name,nb_read_frames -of csv=p=0 "$work/out.mp4"
printf '{"audio": {"container": {}}, "video": {"container": {}}, "output": {"crf": 99}}' >"$work/config.json"
check "Sync: a violation" 'config\.output\.crf' refused
