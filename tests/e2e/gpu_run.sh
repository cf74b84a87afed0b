#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/gpu.sh and bench/gpu.sh themselves, where there is no GPU: with the stand-in for a device their parts
# run and rows come out; without it every part is skipped by name, with the exit code of a skip.
set -u
export LS_BUILD=${LS_BUILD:-build/release} TMPDIR
TMPDIR=$(mktemp -d)
trap 'rm -rf "$TMPDIR"' EXIT
PATH=$PWD/build/venv/bin:$PATH
failures=0
fail()
{
    printf 'FAIL %s\n' "$*"
    failures=$((failures + 1))
}

rm -f build/gpu-log/stand-in.csv
LS_GPU_STAND_IN=1 tests/gpu.sh open golden cache bench >"$TMPDIR/log" 2>&1 || fail "with the stand-in: $?"
for part in open golden cache bench; do
    grep -q "^ok   $part," "$TMPDIR/log" || fail "no word of part $part"
done
for row in 'service,start demo without plans,' 'service,start wide with plans,' 'device,copy on the device: moves,' \
    'device,generator fp16 mouth batch 2: frames,' 'device,prepare batch 2: time,' \
    'service,live wide tiny raw out x1: frame latency p99,'; do
    grep -qE "^$row[0-9.e+-]+," build/gpu-log/stand-in.csv || fail "no row \"$row\""
done
[ $failures = 0 ] || cat "$TMPDIR/log"

if [ -e /dev/nvidiactl ] || command -v nvidia-smi >/dev/null; then
    echo "SKIP: an NVIDIA GPU is here; how the run does without one was not tried"
else
    tests/gpu.sh >"$TMPDIR/log" 2>&1
    [ $? = 77 ] || fail "without a GPU: not 77"
    [ "$(grep -cE '^SKIP [a-z]+: .*no NVIDIA GPU' "$TMPDIR/log")" = 8 ] || fail "without a GPU: not every part is skipped"
fi
[ $failures = 0 ]
