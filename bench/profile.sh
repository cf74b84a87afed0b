#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Where the processor time of the service goes: one stream of the full-size network with random weights (bench_wide)
# through the real server, by stage and by function. Prints a table, writes build/bench/profile.csv
# (bench/profile_run.py says how samples find their stage). A run for itself: perf costs a few percent.
#
#   bench/profile.sh                          a minute of 1080p and of 720p at 25 frames/s; three minutes
#   bench/profile.sh --seconds 20 --size 720p --rate 30
#   bench/profile.sh --arithmetic fp32,bf16   one after the other
#   bench/profile.sh --model FILE --label NAME    another checkpoint
#   bench/profile.sh --functions 50 --out FILE.csv
#
# Needs perf (Debian: apt-get install linux-perf) and the right to use it: root, or kernel.perf_event_paranoid of 1 or
# less. A clock samples, so a virtual machine without hardware counters does. Without perf stages alone are told.
set -euo pipefail

here=$PWD
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
cd "$root"
build=build/release
out=build/bench/profile.csv
options=()
model=
while [ $# -gt 0 ]; do
    case $1 in
    --seconds | --size | --rate | --arithmetic | --functions | --label | --model | --out)
        [ $# -gt 1 ] || {
            echo "profile: $1 needs a value" >&2
            exit 2
        }
        value=$2
        case $1 in
        --model | --out) [[ $value = /* ]] || value=$here/$value ;;
        esac
        case $1 in
        --out) out=$value ;;
        --model) model=$value ;;
        *) options+=("$1" "$value") ;;
        esac
        shift
        ;;
    *)
        echo "profile: unknown option $1; see the head of bench/profile.sh" >&2
        exit 2
        ;;
    esac
    shift
done

docker/deps.sh --bench
. bench/machine.sh
build_programs lipstreamd lipstream-decode lipstream bench_wide
detector=build/blazeface.safetensors
yunet=${LS_SHARED:-../shared}/models/yunet/face_detection_yunet_2023mar.onnx
[ ! -f "$yunet" ] || detector=$yunet
if [ -z "$model" ]; then
    model=build/bench/wide.safetensors
    [ -s $model ] || $build/bench_wide $model
fi

{
    say_machine
    echo "# load before: $(cut -d' ' -f1-3 /proc/loadavg)"
    echo "# detector: ${detector##*/}"
    echo "bench,case,value,unit"
} >"$out"
bench/profile_run.py --build $build --detector "$detector" --model "$model" --out "$out" "${options[@]}"
echo "written: $out" >&2
