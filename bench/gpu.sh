#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Measures a GPU and writes bench/results/<device>-<date>.csv, rows bench,case,value,unit as bench/run.sh's.
# tests/gpu.sh calls it as its part "bench" (`tests/gpu.sh bench` for this alone) and says with LS_GPU_...
# where programs and libraries are. The full-size network has random weights; time does not depend on them.
#
#   device     the module's parts alone: generator by batch and cut, by arithmetic; kernels; convolutions;
#              shares of the matrix peak (torch's matrix product where it is at hand, else the data sheet's)
#              and of a copy's rate
#   service    starts without and with plans; live streams at 25 frames/s, 720p and 1080p, raw frames and H.264
#              out, by number of streams: latency, device memory, until they are not held. Callers and encoders share
#              the processors with the server
#   kernels    every operation through the table that the service calls (tests/kernels/check.c)
#   torch      of tests/gpu.sh torch
#
#   bench/gpu.sh --write     only writes the file from the logs that are there
#
# Cases that an earlier run of the same day has in the file and this one has not stay in it.
set -euo pipefail

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
cd "$root"
if [ -z "${LS_GPU_PROGRAMS:-}" ]; then
    exec tests/gpu.sh bench
fi
work=$LS_GPU_WORK
log=build/gpu-log/bench
tiny=${LS_GPU_TINY:-}
mkdir -p "$log" "$work"
end=$((SECONDS + ${LS_GPU_LIMIT:-270} - 5))
failed=0

# fp16 TFLOP/s of data sheets, dense, with sums in float.
data_sheet()
{
    case $1 in
    *H100*PCIe*) echo 756 ;;
    *H100* | *H200* | *GH200*) echo 989 ;;
    *B200*) echo 2250 ;;
    *A100* | *A800*) echo 312 ;;
    *L40S*) echo 362 ;;
    *L40*) echo 181 ;;
    *L4*) echo 121 ;;
    *A10G*) echo 70 ;;
    *A10*) echo 125 ;;
    *T4*) echo 65 ;;
    *V100*) echo 125 ;;
    *4090*) echo 165 ;;
    *3090*) echo 71 ;;
    *3080*) echo 60 ;;
    *3060*) echo 25 ;;
    *) echo 0 ;;
    esac
}

name_of_device()
{
    if [ -n "$tiny" ]; then
        echo stand-in
    else
        nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1 || echo device
    fi
}

# Rows of all logs, these and those of other parts of tests/gpu.sh, under a head that names things.
write_file()
{
    local name slug out commit
    name=$(name_of_device)
    slug=$(printf '%s' "$name" | tr 'A-Z' 'a-z' | sed -E 's/[^a-z0-9]+/-/g; s/^-|-$//g')
    out=bench/results/$slug-$(date +%Y-%m-%d).csv
    [ -z "$tiny" ] || out=build/gpu-log/stand-in.csv
    commit=$(cat build/gpu/commit 2>/dev/null || git rev-parse --short HEAD 2>/dev/null || echo unknown)
    mkdir -p "$(dirname "$out")"
    {
        echo "# machine: $name, $(sed -nE 's/^model name\s*: //p' /proc/cpuinfo | head -n 1), $(nproc) processors"
        [ -n "$tiny" ] || echo "# driver: $(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -n 1)"
        echo "# commit: $commit"
        echo "# date: $(date -u +%Y-%m-%dT%H:%MZ)"
        [ ! -s "$work/peak.txt" ] || echo "# matrix peak, TFLOP/s: $(cat "$work/peak.txt")"
        sed -nE '/^# (device|generator|torch)/p' "$log"/*.log 2>/dev/null || true
        echo "bench,case,value,unit"
        { rows "$log"/*.log build/gpu-log/{same,cache,torch}.log && rows "$out"; } | awk -F, '!seen[$1 "," $2]++'
    } >"$work/results.csv"
    mv "$work/results.csv" "$out"
    echo "written: $out ($(grep -cvE '^#|^bench,' "$out" || true) rows)"
}

# Rows of those files that are there.
rows()
{
    local file
    for file in "$@"; do
        [ ! -f "$file" ] || sed -nE '/^(device|service|kernels|torch),[^,]+,[0-9.e+-]+,[^,]+$/p' "$file"
    done
}

# One measurement: name, seconds at most, command...
step()
{
    local name=$1 limit=$2 left=$((end - SECONDS)) status=0
    shift 2
    [ $limit -le $left ] || limit=$left
    if [ $limit -lt 5 ]; then
        echo "SKIP: $name: no time is left"
        return
    fi
    timeout --kill-after=5 $limit "$@" >"$log/$name.log" 2> >(tee "$log/$name.err" >&2) || status=$?
    grep -E '^(SKIP|#)|^(device|service|kernels|torch),' "$log/$name.log" || true
    case $status in
    0 | 77) ;;
    124 | 137) echo "SKIP: $name: the rest; $limit s were not enough" ;;
    *)
        echo "FAIL $name: exit code $status"
        failed=1
        ;;
    esac
}

ours()
{
    local program=$LS_GPU_PROGRAMS/$1
    [ -x "$program" ] || program=$LS_GPU_PROGRAMS/tests/$1
    shift
    LD_LIBRARY_PATH=$LS_GPU_LIBRARIES "$program" "$@"
}
export -f ours

find_peak()
{
    local name
    step peak 45 python3 bench/gpu_torch.py peak
    sed -nE 's/^torch,matrix product (\S+) .*,([0-9.]+),TFLOP.*/\1=\2/p' "$log/peak.log" | paste -sd, - |
        { grep . || true; } >"$work/peak.txt"
    if [ ! -s "$work/peak.txt" ]; then
        name=$(data_sheet "$(name_of_device)")
        [ "$name" = 0 ] || echo "fp16=$name" >"$work/peak.txt"
        echo "SKIP: the matrix peak was not measured; the data sheet has: $(cat "$work/peak.txt")"
    fi
}

main()
{
    local detector model=$work/wide.safetensors plans=$work/plans-wide.bin shim='' arguments=()
    if [ "${1-}" = --write ]; then
        write_file
        return
    fi
    rm -f "$log"/*.log "$log"/*.err
    trap write_file EXIT
    trap 'exit 143' TERM
    find_peak
    detector=$(ls "$LS_GPU_PROGRAMS"/blazeface.safetensors build/blazeface.safetensors 2>/dev/null | head -n 1 || true)
    arguments=(${detector:+--detector "$detector"} --peak "$(cat "$work/peak.txt")" --plans "$plans")
    if [ -n "$tiny" ]; then
        shim=_shim
        model=kernels/demo/lipstream_demo_fp16.safetensors
        arguments+=(--tiny)
    else
        step model 30 bash -c 'ours bench_wide "$1.part" && mv "$1.part" "$1"' _ "$model"
    fi
    step starts 110 python3 bench/gpu_service.py starts --model "$model" --label wide --plans "$plans"
    step device 80 bash -c 'ours "$@"' _ bench_device$shim --arithmetic fp16,tf32,fp32 "${arguments[@]}"
    step live 130 python3 bench/gpu_service.py live --model "$model" --label wide --plans "$plans" --limit \
        $((end - SECONDS < 130 ? end - SECONDS - 5 : 120))
    [ -n "$tiny" ] || step kernels 60 bash -c 'ours "$@"' _ test_kernels_check --bench --csv --backend cuda \
        --module "$LS_GPU_MODULE"
    return $failed
}

main "$@"
