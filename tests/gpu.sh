#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Everything that wants a GPU, in one command of under ten minutes. The machine with the GPU may lack gRPC,
# FFmpeg and a network: then `pack` gathers, on a machine that builds, what it needs.
#
#   tests/gpu.sh pack         builds (no GPU needed); programs and libraries into build/gpu, with the sources
#                             under 64 MB: copy the tree with build/gpu to the other machine
#   tests/gpu.sh              there: all parts, then bench/gpu.sh; a line for each part in the end
#   tests/gpu.sh check same   only these parts:
#     open       the module opens; the server's own check by each arithmetic
#     golden     the golden networks by each arithmetic: fp32 1e-4; fp16 and tf32 with the demo model
#                2/255 and more than 55 dB
#     check      every operation against ref, formats, and that batches do not change a byte
#     same       the whole service on loopback: the same bytes with 1, 16 and 64 streams, raw frames and
#                H.264, decoded in processes and on the device
#     cache      a start without plans, with them (under 3 s), with a damaged file
#     sanitizer  compute-sanitizer's memcheck and racecheck, where it is at hand
#     bench      bench/gpu.sh: bench/results/<device>-<date>.csv
#     torch      the same network in torch, where it is at hand, in turns with ours; into the same file
#
# Programs: build/gpu if it is there, else build/release. CUDA's libraries (nvrtc, cuDNN 9): build/cuda, else
# those beside Python's torch, else a toolkit's. Each part has a time limit; LS_GPU_SECONDS (570) is all
# of them together. Most of it goes into choosing cuDNN's plans on a device that is new (by all processors: with few
# of them not everything ends in time; then run the parts one by one, plans are kept in $TMPDIR). Logs:
# build/gpu-log. Exit code: 1 if a part failed, 77 if none could be run.
#
# LS_GPU_STAND_IN=1: the host's stand-in for a device (tests/shim) and tiny sizes, to try this script where
# there is no GPU. Results then stay in build/gpu-log.
set -euo pipefail

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
self=$root/tests/gpu.sh
cd "$root"
stand_in=${LS_GPU_STAND_IN:-}
log=$root/build/gpu-log
declare -A limits=([open]=60 [golden]=60 [check]=150 [same]=110 [cache]=60 [sanitizer]=60 [bench]=250 [torch]=240)
order="open golden check same cache sanitizer bench torch"

say()
{
    printf 'gpu: %s\n' "$*"
}

skip()
{
    printf 'SKIP: %s\n' "$*"
}

# --- on a machine that builds ------------------------------------------------------------------------------
pack()
{
    local build=${LS_BUILD:-build/release}
    if [ -z "${LS_BUILD:-}" ]; then
        docker/deps.sh
        docker/cuda.sh
        mkdir -p build/gpu-log
        cmake -S . -B $build -G Ninja -DLS_TESTS=ON -DLS_CUDA=ON >build/gpu-log/pack.log 2>&1 &&
            cmake --build $build -j "$(nproc)" >>build/gpu-log/pack.log 2>&1 || {
            tail -n 30 build/gpu-log/pack.log >&2
            exit 1
        }
    fi
    python3 tests/gpu_pack.py "$build" build/gpu
}

# --- what is at hand ---------------------------------------------------------------------------------------
unpack() # archive, folder
{
    if python3 -c 'import lzma, tarfile' 2>/dev/null; then
        python3 -W ignore -c 'import sys, tarfile; tarfile.open(sys.argv[1], "r:xz").extractall(sys.argv[2])' "$1" "$2"
    elif command -v xz >/dev/null; then
        tar -xJf "$1" -C "$2"
    else
        skip "build/gpu cannot be unpacked: neither a whole python3 nor xz"
        exit 77
    fi
}

find_programs()
{
    local sum at=${TMPDIR:-/tmp}
    if [ -f build/gpu/programs.tar.xz ] && [ -z "${LS_BUILD:-}" ]; then
        sum=$(cat build/gpu/*.tar.xz | sha256sum | cut -c1-12)
        at=$at/lipstream-gpu-$sum
        if [ ! -f "$at/whole" ]; then
            rm -rf "$at"
            mkdir -p "$at/bin" "$at/lib"
            unpack build/gpu/programs.tar.xz "$at/bin"
            unpack build/gpu/libraries.tar.xz "$at/lib"
            touch "$at/whole"
        fi
        programs=$at/bin
        libraries=$at/lib
        LD_LIBRARY_PATH=$libraries ldd "$programs/lipstreamd" 2>&1 | grep -qE '(stdc|gcc_s).*not found' &&
            libraries=$libraries:$libraries/cxx
        say "programs and libraries: build/gpu, in $at"
    else
        at=${LS_BUILD:-build/release}
        [ -x "$at/lipstreamd" ] || {
            skip "no programs: neither build/gpu (tests/gpu.sh pack) nor $at"
            exit 77
        }
        programs=$(readlink -f "$at")
        libraries=
        say "programs: $at"
    fi
    export LS_GPU_PROGRAMS=$programs
}

# Folders with CUDA's libraries, one a line, the likeliest first.
cuda_folders()
{
    local at
    for at in build/cuda/nvidia/{cu13,cudnn_jit}/lib; do
        [ ! -d $at ] || readlink -f $at
    done
    python3 - <<'END' 2>/dev/null || true
import glob, importlib.util, os
spec = importlib.util.find_spec("nvidia")
for folder in spec.submodule_search_locations if spec else []:
    print(*glob.glob(os.path.join(folder, "*", "lib")), sep="\n")
END
    ls -d /usr/local/cuda*/lib64 /usr/local/cuda*/targets/x86_64-linux/lib /usr/lib/x86_64-linux-gnu \
        /usr/local/lib 2>/dev/null || true
}

# CUDA's libraries under one short path (the decode process gets no more than 500 bytes of it), the first
# found of each name.
find_cuda()
{
    local folder file
    cuda=$work/cuda
    rm -rf "$cuda"
    mkdir -p "$cuda"
    while read -r folder; do
        for file in "$folder"/lib{cudnn,nvrtc,cublas,nvJitLink}*.so*; do
            [ ! -e "$file" ] || [ -e "$cuda/${file##*/}" ] || ln -s "$file" "$cuda/${file##*/}"
        done
    done < <(cuda_folders)
    for file in "$cuda"/libcudnn.so.9 "$cuda"/libnvrtc.so.*; do
        [ ! -e "$file" ] || say "$(basename "$file"): $(readlink -f "$file")"
    done
}

prepare()
{
    work=${TMPDIR:-/tmp}/lipstream-gpu-work
    mkdir -p "$work" "$log"
    find_programs
    export LS_GPU_WORK=$work LS_GPU_MODULE=$programs/liblipstream_cuda.so
    if [ -n "$stand_in" ]; then
        export LS_GPU_TINY=1
        LS_GPU_MODULE=$(ls "$programs"/{,tests/}liblipstream_cuda_shim.so 2>/dev/null | head -n 1 || true)
        say "stand-in for a device: $LS_GPU_MODULE"
        export LS_GPU_LIBRARIES=$libraries
        return
    fi
    find_cuda
    export LS_GPU_LIBRARIES=$libraries${libraries:+:}$cuda${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
}

# Reasons why nothing can be run, one a line.
obstacles()
{
    local missing
    [ -z "$stand_in" ] || return 0
    [ -e /dev/nvidiactl ] || [ -e /dev/dxg ] || command -v nvidia-smi >/dev/null || echo "no NVIDIA GPU"
    [ -f "$LS_GPU_MODULE" ] || echo "no $LS_GPU_MODULE"
    missing=$(LD_LIBRARY_PATH=$LS_GPU_LIBRARIES ldd "$LS_GPU_MODULE" "$programs/lipstreamd" 2>&1 |
        sed -nE 's/^[ \t]*(\S+) => not found.*/\1/p; s/^.*(version .* not found).*/\1/p' | sort -u | tr '\n' ' ')
    [ -z "$missing" ] || echo "libraries missing: $missing"
}

at_hand()
{
    local tool
    say "$(uname -srm), $(nproc) processors, $(sed -nE 's/^PRETTY_NAME="(.*)"/\1/p' /etc/os-release)"
    if [ -z "$stand_in" ] && command -v nvidia-smi >/dev/null; then
        nvidia-smi --query-gpu=name,driver_version,memory.total,memory.used,clocks.max.sm --format=csv || true
    fi
    for tool in python3 compute-sanitizer nvidia-smi ffmpeg; do
        command -v $tool >/dev/null && say "$tool: $(command -v $tool)" || say "$tool: not there"
    done
    if command -v python3 >/dev/null; then
        python3 - <<'END' || true
import importlib.util
for name in ("torch", "grpc", "numpy"):
    print("gpu: Python's %s: %s" % (name, "there" if importlib.util.find_spec(name) else "not there"))
END
    fi
}

# Of a program or test of ours.
path_of()
{
    [ -x "$programs/$1" ] && echo "$programs/$1" || echo "$programs/tests/$1"
}

ours()
{
    local program
    program=$(path_of "$1")
    shift
    LD_LIBRARY_PATH=$LS_GPU_LIBRARIES "$program" "$@"
}

# The path of a face detector; fails if there is none.
detector()
{
    ls "$programs"/blazeface.safetensors build/blazeface.safetensors 2>/dev/null | head -n 1 | grep .
}

need_python()
{
    command -v python3 >/dev/null || {
        skip "no python3"
        exit 77
    }
}

# --- parts: each in a process of its own ---------------------------------------------------------------------
part_open()
{
    local arithmetic model=kernels/demo/lipstream_demo_fp16.safetensors failed=0
    for arithmetic in fp16 tf32 fp32; do
        printf '%s: ' $arithmetic
        ours lipstreamd --backend cuda --cuda-module "$LS_GPU_MODULE" --arithmetic $arithmetic --model $model \
            --plan-cache none --check && echo "the server's check passes" || failed=1
    done
    return $failed
}

part_golden()
{
    local case failed=0 cases=("fp16 net_model" "tf32 net_model" "fp32 net_model" "fp32 net_demo" "fp32 net_wide"
        "fp16 net_wide")
    [ -z "$stand_in" ] || cases=("${cases[@]:0:3}")
    for case in "${cases[@]}"; do
        ours test_golden_net --backend cuda --module "$LS_GPU_MODULE" --arithmetic ${case% *} --only ${case#* } ||
            failed=1
    done
    return $failed
}

part_check()
{
    local subject status left passed=0 failed=0 end=$((SECONDS + LS_GPU_LIMIT - 8))
    if [ -n "$stand_in" ]; then
        skip "that is what the test kernels/check does with the stand-in"
        return 77
    fi
    LS_DETECTOR=$(detector) && export LS_DETECTOR
    for subject in "demo fp16" "demo fp32" "seeded wide fp16" "demo tf32" "seeded small fp32" "seeded wide fp32" \
        "seeded wide tf32"; do
        status=0
        left=$((end - SECONDS))
        [ $left -gt 3 ] || {
            skip "$subject: no time is left"
            continue
        }
        LD_LIBRARY_PATH=$LS_GPU_LIBRARIES timeout --kill-after=2 $left "$(path_of test_kernels_check)" \
            --backend cuda --module "$LS_GPU_MODULE" --only "$subject" || status=$?
        case $status in
        0) echo "ok   $subject" && passed=$((passed + 1)) ;;
        124 | 137) skip "$subject: not done in $left s" ;;
        *) echo "FAIL $subject: exit code $status" && failed=1 ;;
        esac
    done
    [ $passed -gt 0 ] || failed=1
    return $failed
}

part_same()
{
    need_python
    python3 bench/gpu_service.py same --plans "$work/plans-demo.bin"
}

part_cache()
{
    need_python
    python3 bench/gpu_service.py cache --plans "$work/plans-demo.bin"
}

# One tool on one program: an error is one, no end in time is none.
sanitize() # tool, seconds, program, arguments...
{
    local tool=$1 seconds=$2 status=0 program
    shift 2
    program=$(path_of "$1")
    shift
    LD_LIBRARY_PATH=$LS_GPU_LIBRARIES timeout --kill-after=5 "$seconds" "$sanitizer" --tool "$tool" \
        --error-exitcode 9 "$program" "$@" >"$work/sanitizer.log" 2>&1 || status=$?
    if grep -qE '(ERROR|RACECHECK) SUMMARY: [1-9]|= (Invalid|Error|Race|Warning: Race)' "$work/sanitizer.log"; then
        grep -E '^=========' "$work/sanitizer.log" | head -n 60
        echo "FAIL $tool ${program##*/} $*"
        return 1
    fi
    case $status in
    0) echo "ok   $tool ${program##*/} $*: $(grep -E 'SUMMARY' "$work/sanitizer.log" | head -n 1)" ;;
    124 | 137) skip "$tool ${program##*/} $*: not done in $seconds s; nothing was found until then" ;;
    *)
        head -n 30 "$work/sanitizer.log"
        echo "FAIL $tool ${program##*/} $*: exit code $status"
        return 1
        ;;
    esac
}

part_sanitizer()
{
    local failed=0 faces=()
    sanitizer=$({
        command -v compute-sanitizer ||
            ls /usr/local/cuda*/bin/compute-sanitizer build/cuda-sanitizer/nvidia/*/bin/compute-sanitizer 2>/dev/null
    } | head -n 1 || true)
    [ -n "$sanitizer" ] || {
        skip "compute-sanitizer is not at hand"
        return 77
    }
    if [ -n "$stand_in" ]; then
        skip "compute-sanitizer knows devices only"
        return 77
    fi
    ! detector >/dev/null || faces=(--detector "$(detector)")
    sanitize memcheck 18 bench_device --tiny --arithmetic fp32 "${faces[@]}" || failed=1
    sanitize racecheck 18 bench_device --tiny --arithmetic fp32 "${faces[@]}" || failed=1
    sanitize memcheck 20 bench_device --tiny --brief --arithmetic fp16 || failed=1
    return $failed
}

part_bench()
{
    need_python
    bench/gpu.sh
}

part_torch()
{
    need_python
    [ -z "$stand_in" ] || {
        skip "torch knows devices only"
        return 77
    }
    local status=0
    python3 bench/gpu_torch.py compare --limit $((LS_GPU_LIMIT - 15)) \
        --ours "$programs/bench_device --brief --arithmetic fp16 --plans $work/plans-wide.bin" || status=$?
    [ $status != 0 ] || bench/gpu.sh --write
    return $status
}

# --- all of them ---------------------------------------------------------------------------------------------
run_part()
{
    local name=$1 limit=${limits[$1]} status=0 started=$SECONDS left
    left=$((deadline - SECONDS))
    [ $limit -le $left ] || limit=$left
    if [ $limit -lt 5 ]; then
        skip "$name: no time is left"
        summary+=("SKIP $name: no time was left")
        return 0
    fi
    printf '\n=== %s (at most %d s)\n' "$name" $limit
    LS_GPU_LIMIT=$limit timeout --kill-after=10 $limit \
        bash "$self" _part "$name" 2>&1 | tee "$log/$name.log" || status=${PIPESTATUS[0]}
    case $status in
    0) summary+=("ok   $name, $((SECONDS - started)) s") && ran=yes ;;
    77) summary+=("SKIP $name: $(sed -nE 's/^SKIP: //p' "$log/$name.log" | head -n 1)") ;;
    124 | 137) summary+=("FAIL $name: not done in $limit s") && failed=yes ;;
    *) summary+=("FAIL $name, $((SECONDS - started)) s") && failed=yes ;;
    esac
}

main()
{
    local part reasons reason
    case ${1-} in
    pack) pack && exit ;;
    -h | --help) sed -n '3,/^set /{/^set /!p}' "$self" && exit ;;
    _part)
        programs=$LS_GPU_PROGRAMS work=$LS_GPU_WORK
        "part_$2"
        exit
        ;;
    esac
    for part in "$@"; do
        [ -n "${limits[$part]:-}" ] || {
            echo "gpu: unknown part $part; see the head of tests/gpu.sh" >&2
            exit 2
        }
    done
    deadline=$((SECONDS + ${LS_GPU_SECONDS:-570}))
    summary=() failed=no ran=no
    prepare
    at_hand
    reasons=$(obstacles)
    for part in ${*:-$order}; do
        if [ -n "$reasons" ]; then
            reason=$(tr '\n' ';' <<<"$reasons")
            skip "$part: ${reason%;}"
            summary+=("SKIP $part: ${reason%;}")
        else
            run_part "$part"
        fi
    done
    printf '\n=== %d s\n' $SECONDS
    printf '%s\n' "${summary[@]}" | tee "$log/summary.txt"
    [ $failed = no ] || exit 1
    [ $ran = yes ] || exit 77
}

main "$@"
