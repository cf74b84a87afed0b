#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Installs what the tests need, builds, and runs every test; ends with ctest's summary and its exit code.
#
#   tests/run.sh             three builds: release (everything), AddressSanitizer + UBSan (arithmetic,
#                            units, hostile input), ThreadSanitizer (whatever has threads or the loop,
#                            and races between the threads of a CUDA kernel)
#   tests/run.sh --quick     release only
#   tests/run.sh --long      also the tests labelled long
#   tests/run.sh -R mel      further arguments go to ctest
#
# All builds' tests run in one ctest, so that there is one summary. A test whose media or tools are not
# at hand is skipped by name; the reasons stand right before the summary.
set -euo pipefail

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
builds="release asan tsan"
long=no
args=()
while [ $# -gt 0 ]; do
    case $1 in
    --quick) builds=release ;;
    --long) long=yes ;;
    *) args+=("$1") ;;
    esac
    shift
done
[ $long = yes ] || args+=(-LE '^long$')

# What each build tests, and how it is compiled. Warnings are errors here, not in other people's builds.
# The module for NVIDIA devices is compiled once, for all of them; its kernels run under the sanitizers as
# compiled for the host (tests/shim).
asan_tests='^(unit|kernels|golden)/|^e2e/(bad_input|survive)'
tsan_tests='^unit/(session|device|decode|encode|engine|loop|front|tls|metrics|log|batch|pool)|^kernels/(known_faces|cuda_(shim|elements|mel|pictures|conv|detect))'
declare -A options=(
    [release]="-DLS_TESTS=ON -DLS_CUDA=ON"
    [asan]="-DLS_CUDA=OFF -DLS_SANITIZE=address,undefined -DLS_TEST_PREFIX=asan: -DLS_TEST_ONLY=$asan_tests"
    [tsan]="-DLS_CUDA=OFF -DLS_SANITIZE=thread -DLS_TEST_PREFIX=tsan: -DLS_TEST_ONLY=$tsan_tests"
)
export ASAN_OPTIONS=detect_leaks=1
export UBSAN_OPTIONS=print_stacktrace=1
export LSAN_OPTIONS=suppressions=$root/tests/lsan.supp:print_suppressions=0
# libgrpc, FFmpeg and oneDNN are not instrumented: what happens inside them is not seen and not judged.
export TSAN_OPTIONS=ignore_noninstrumented_modules=1:suppressions=$root/tests/tsan.supp:second_deadlock_stack=1

jobs=$(nproc)
"$root/docker/deps.sh" --test
"$root/docker/cuda.sh"
cd "$root"
rm -rf build/all
mkdir -p build/all
for b in $builds; do
    started=$SECONDS
    mkdir -p build/$b
    read -ra flags <<<"${options[$b]}"
    if ! { cmake -S . -B build/$b -G Ninja -DCMAKE_COMPILE_WARNING_AS_ERROR=ON "${flags[@]}" &&
        cmake --build build/$b -j "$jobs"; } >build/$b/run.log 2>&1; then
        grep -E 'error|warning|FAILED' build/$b/run.log | head -n 40 || tail -n 40 build/$b/run.log
        printf 'run: build/%s did not build (whole log: build/%s/run.log)\n' $b $b >&2
        exit 1
    fi
    printf 'run: build/%s built in %d s\n' $b $((SECONDS - started))
    echo "subdirs(\"$root/build/$b\")" >>build/all/CTestTestfile.cmake
done

# The summary is held back until the reasons of the skipped tests are printed.
status=0
ctest --test-dir build/all --no-tests=error --output-on-failure -j "$jobs" "${args[@]}" 2>&1 </dev/null |
    tee build/all/run.log | sed -u '/% tests passed, /,$d' || status=${PIPESTATUS[0]}
# A clip each would be a long list on a machine without the shared media: they are counted together.
skipped=$(grep -hE '^SKIP: ' build/all/Testing/Temporary/LastTest.log |
    sed -E 's|^SKIP: [a-z]+/[^ ]+ is not there$|SKIP: a clip of ../shared/media is not there|' |
    sort | uniq -c || true)
[ -z "$skipped" ] || printf '\nSkipped, and why:\n%s\n' "$skipped"
printf '\n'
sed -n '/% tests passed, /,$p' build/all/run.log
exit "$status"
