#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# liblipstream_cuda.so as it was built: the service does not link CUDA and runs without it; the module shows
# one symbol, holds code for every device that is promised, and where there is no driver it is refused with
# one line, or, by "auto", left alone with the reason in the log. A device makes the last part pointless.
set -u
build=${LS_BUILD:-build/release}
module=$build/liblipstream_cuda.so
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$work"' EXIT
failures=0
fail()
{
    printf 'FAIL %s\n' "$*"
    failures=$((failures + 1))
}

for program in lipstreamd lipstream-decode lipstream; do
    ldd "$build/$program" | grep -iE 'lib(cuda|cudart|cudnn|nvrtc|nvidia)' && fail "$program links CUDA"
done

# Refused with one line that says what, and nothing else: reason, then what the line must hold.
refused()
{
    local want=$1
    shift
    "$build/lipstreamd" --backend cuda "$@" --check >"$work/out" 2>&1 && fail "$want: --check passes"
    [ "$(wc -l <"$work/out")" = 1 ] || { fail "$want: not one line"; cat "$work/out"; }
    grep -q "DEVICE_FAILED.*$want" "$work/out" || { fail "no word of \"$want\""; cat "$work/out"; }
}

head -c 5000 /dev/urandom >"$work/noise.so"
refused 'No such file' --cuda-module "$work/none.so"
refused 'not a shared library' --cuda-module "$work/noise.so"
refused 'no module of lipstream' --cuda-module "$(ldd "$build/lipstreamd" | awk '/libz.so/ { print $3 }')"

if [ ! -f "$module" ]; then
    echo "SKIP: $module is not built; only refusals without it were tried"
    [ $failures = 0 ] && exit 77
    exit 1
fi
shown=$(nm -D --defined-only "$module" | awk '{ print $3 }')
[ "$shown" = ls_cuda_module ] || fail "the module shows $shown"
head -c $(($(stat -c %s "$module") - 4096)) "$module" >"$work/short.so"
refused 'cut short' --cuda-module "$work/short.so"

# Every device that is promised, and PTX for those to come, in each of the .cu files: the heads of their fat
# binaries tell (a magic, its head's size, the whole's size; then parts: kind 1 PTX, 2 code, and the device).
python3 - "$module" <<'END' || fail "some device has no code"
import struct, sys
data, at, found = open(sys.argv[1], "rb").read(), 0, []
while (at := data.find(b"\x50\xed\x55\xba", at)) >= 0:
    _, _, head, size = struct.unpack_from("<IHHQ", data, at)
    part, at, parts = at + head, at + head + size, set()
    while part < at:
        kind, _, head, size = struct.unpack_from("<HHIQ", data, part)
        parts.add((kind, struct.unpack_from("<I", data, part + 28)[0]))
        part += head + size
    found.append(parts)
want = {(2, arch) for arch in (75, 80, 86, 89, 90, 100, 120)} | {(1, 120)}
print(f"{len(found)} fat binaries, {len(data) / 1e6:.1f} MB in all")
for parts in found:
    if parts != want:
        print(f"lacks {sorted(want - parts)}, has {sorted(parts - want)} too (1: PTX, 2: code)")
sys.exit(not found or any(parts != want for parts in found))
END

if ldconfig -p | grep -q 'libcuda\.so\.1'; then
    echo "SKIP: an NVIDIA driver is here; how the module does without one was not tried"
    [ $failures = 0 ] && exit 77
    exit 1
fi
refused 'driver'
"$build/lipstreamd" --listen 127.0.0.1:0 --admin-listen none >"$work/log" 2>&1 &
server=$!
for _ in $(seq 100); do
    grep -q ' start .*listening on' "$work/log" && break
    sleep 0.1
done
grep -qE ' start .*backend=cpu .*no_device=.*driver.*listening on' "$work/log" || { fail "auto does not say why"; cat "$work/log"; }
kill "$server" && wait "$server" || fail "the server ended with $?"
server=
[ $failures = 0 ]
