#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# House rules that a compiler does not check: who may include whom (DESIGN's table, in server/README.md),
# headers that compile alone, sizes of files and functions, first lines, words that promise something for
# later, paths and hosts of one machine, formatting. Of the build folder only generated headers are used.
set -u
shopt -s nullglob globstar
failures=0
LS_BUILD=${LS_BUILD:-build/release}
fail()
{
    printf 'FAIL %s\n' "$*"
    failures=$((failures + 1))
}

code=({kernels,tests}/**/*.{c,h,cu,cc} {server,client,bench}/*.[ch])
texts=("${code[@]}" {kernels,server,client,bench,tests,docker}/**/*.{sh,py,go} proto/**/*.{proto,yaml}
    CMakeLists.txt {kernels,tests}/**/CMakeLists.txt .ci/run .github/**/*.yml docker/Dockerfile)
[ ${#code[@]} -gt 50 ] || fail "only ${#code[@]} files found; run from the root of the repository"

# --- who includes whom --------------------------------------------------------------------------------
libc='(assert|ctype|dirent|dlfcn|errno|fcntl|fenv|float|getopt|inttypes|limits|locale|malloc|math|netdb|poll|pthread|sched|setjmp|signal|spawn|stdalign|stdarg|stdatomic|stdbool|stddef|stdint|stdio|stdlib|string|strings|termios|time|unistd|wchar|sys/[a-z]+|arpa/inet|netinet/[a-z]+|linux/[a-z]+|cpuid|immintrin)\.h'

# What a file may include besides libc: a pattern over the text between <> or "". Headers are public, and
# show no third party, unless their name says to which part they belong (rpc*, worker*, session_state, decode_impl).
allowed()
{
    local ours= av='lib(av|sw)[a-z]+/[a-z0-9_]+\.h' uv='uv\.h'
    local grpc='grpc/[a-z0-9_/]+\.h' proto='([a-z0-9_/]+\.pb-c|protobuf-c/protobuf-c)\.h'
    local kernels='kernels/[a-z0-9_]+\.h' server='(server/)?[a-z0-9_]+\.h' client='(client/)?[a-z0-9_]+\.h'
    case $1 in
    kernels/cpu/*) ours="(\.\./)?(ref/)?[a-z0-9_]+\.h|oneapi/dnnl/dnnl\.h" ;;
    kernels/cuda/*) ours="(\.\./)?(ref/)?[a-z0-9_]+\.h|cuda_(runtime|runtime_api|fp16)\.h|cudnn[a-z_]*\.h" ;;
    kernels/ref/*) ours='(\.\./)?[a-z0-9_]+\.h' ;;
    kernels/*) ours='([a-z]+/)?[a-z0-9_]+\.h' ;;
    server/rpc_message.c) ours="$kernels|$server|$grpc|$proto|zlib\.h" ;;
    server/rpc*) ours="$kernels|$server|$grpc|$proto|$uv" ;;
    server/worker_jail.c) ours="$kernels|$server|seccomp\.h" ;;
    server/tls*.c | server/tls_impl.h) ours="$kernels|$server|openssl/[a-z0-9_]+\.h" ;;
    server/auth*.[ch]) ours="$kernels|$server|openssl/[a-z0-9_]+\.h|jansson\.h" ;;
    server/admin*.c) ours="$kernels|$server|$uv|microhttpd\.h" ;;
    server/worker* | server/encode*.c | server/mux*.c | server/digest.c | server/video_*.c) ours="$kernels|$server|$av" ;;
    server/session_state.h | server/decode_impl.h) ours="$kernels|$server|$uv" ;;
    server/*.h) ours="$kernels|$server" ;;
    server/main.c | server/calibrate.c | server/loop*.c | server/engine*.c | server/session*.c | server/decode*.c | \
        server/batch.c | server/infer.c | server/front*.c | server/pool.c | server/admit.c | server/notify.c) ours="$kernels|$server|$uv" ;;
    server/*) ours="$kernels|$server" ;;
    client/*.h) ours="$client|$proto" ;;
    client/*) ours="$client|$proto|$grpc" ;;
    esac
    echo "$ours"
}

# Third parties have headers at the top of the include path too: such a name passes only where it is meant.
third='uv zlib dnnl x264 jansson microhttpd seccomp'
for f in kernels/**/*.{c,h,cu} server/*.[ch] client/*.[ch]; do
    may=$(allowed "$f")
    while read -r included; do
        [[ $included =~ ^$libc$ ]] && continue
        bare=${included%.h}
        if ! [[ $included =~ ^($may)$ ]] || { [[ " $third " = *" $bare "* ]] && [[ $may != *"$bare\.h"* ]]; }; then
            fail "$f includes $included"
        fi
    done < <(sed -nE 's/^[ \t]*#[ \t]*include[ \t]*[<"]([^>"]+)[>"].*/\1/p' "$f")
done

# --- headers compile alone ------------------------------------------------------------------------------
# Those of kernels/cuda with the shim's words of CUDA, and as C++ where kernels are written in them; cuDNN's
# with
# the toolkit's.
toolkit=()
for folder in build/cuda/nvidia/{cudnn_jit,cu13}/include /usr/local/{cuda/,}include; do
    [ ! -d "$folder" ] || toolkit+=(-isystem "$folder")
done
for f in kernels/**/*.h server/*.h client/*.h; do
    as=(cc -std=c11 -x c)
    [[ $f != kernels/cuda/* ]] || as+=(-I tests/shim)
    if [ "$f" = kernels/cuda/launch.h ] || grep -q '^#include "launch\.h"' "$f"; then
        as=(c++ -std=c++17 -I tests/shim -x c++)
    elif [[ $f = kernels/cuda/graph* ]]; then
        as=(cc -std=c11 -x c "${toolkit[@]}")
        echo '#include <cudnn_graph.h>' | "${as[@]}" -fsyntax-only - 2>/dev/null ||
            { echo "SKIP: $f needs cuDNN's headers, which are not here" && continue; }
    fi
    printf '#include "%s"\n' "$f" |
        "${as[@]}" -D_GNU_SOURCE -I. -isystem "$LS_BUILD/pb" -Wall -Wextra -Werror -Wno-unused-function -fsyntax-only - ||
        fail "$f does not compile alone"
done

# --- sizes and first lines ------------------------------------------------------------------------------
for f in "${texts[@]}"; do
    lines=$(wc -l <"$f")
    [ "$lines" -le 600 ] || fail "$f has $lines lines; 600 is the most"
    head -n 2 "$f" | grep -q 'SPDX-License-Identifier: Apache-2.0' || fail "$f: no SPDX line at the top"
done
while read -r line; do
    fail "$line"
done < <(awk '
    FNR == 1 { open = 0 }
    /^{$/ { open = FNR }
    /^}/ && open { if (FNR - open + 1 > 70) print FILENAME ":" open ": a function of " FNR - open + 1 " lines; 70 is the most"
                   open = 0 }' "${code[@]}")

# --- words, paths, hosts --------------------------------------------------------------------------------
words='TODO|FIXME|\bXXX\b|[Nn]ot implemented|\b[Ff]or now\b|[Pp]laceholder'
hosts='pypi\.org|pythonhosted|proxy\.golang|deb\.debian|npmjs\.(org|com)|crates\.io|snapshot\.debian'
paths='/(work|root|home)/[a-z]'
all=("${texts[@]}" **/README.md **/requirements*.txt)
while read -r line; do
    fail "$line"
done < <(grep -nHE "$words|$hosts|$paths" "${all[@]}" | grep -v '^tests/e2e/layers\.sh:')

# --- formatting -----------------------------------------------------------------------------------------
if command -v clang-format-14 >/dev/null; then
    while read -r f; do
        fail "$f: clang-format-14 would change it"
    done < <(clang-format-14 --dry-run "${code[@]}" 2>&1 | sed -nE 's/^([^:]+):[0-9]+:.*(warning|error):.*/\1/p' | sort -u)
else
    echo "SKIP: clang-format-14 is not installed; formatting not compared"
fi

[ $failures = 0 ]
