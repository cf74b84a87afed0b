#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Measures everything and writes bench/results/<processor>-<date>.csv: the operations of the arithmetic
# (bench/kernels.sh), encoding and decoding alone (bench_encode, bench_decode), and the whole service with
# the full-size network and the demo model (service.py). Prints the rows as they come.
#
#   bench/run.sh             inputs of 10 s and 60 s; about ten minutes on two cores
#   bench/run.sh --quick     inputs of 10 s
#   bench/run.sh --long      also 10 minutes of input, one stream
#
# Rows are bench,case,value,unit; lines with # name machine, commit and date. Nothing else should run.
# bench/plot.py FILE.csv... draws them.
set -euo pipefail

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
cd "$root"
build=build/release
seconds=10,60
long=no
for option in "$@"; do
    case $option in
    --quick) seconds=10 ;;
    --long) long=yes ;;
    *)
        echo "run: unknown option $option; see the head of bench/run.sh" >&2
        exit 2
        ;;
    esac
done

docker/deps.sh --bench
mkdir -p build/bench bench/results
if ! { cmake -S . -B $build -G Ninja -DLS_TESTS=ON && cmake --build $build -j "$(nproc)"; } >build/bench/build.log 2>&1; then
    tail -n 20 build/bench/build.log >&2
    exit 1
fi

. bench/machine.sh
out=bench/results/$slug-x$(nproc)-$(date +%Y-%m-%d).csv
detector=build/blazeface.safetensors
yunet=${LS_SHARED:-../shared}/models/yunet/face_detection_yunet_2023mar.onnx
[ ! -f "$yunet" ] || detector=$yunet
wide=build/bench/wide.safetensors
[ -s $wide ] || $build/bench_wide $wide

measure()
{
    say_machine
    echo "# load before: $(cut -d' ' -f1-3 /proc/loadavg)"
    echo "# detector: ${detector##*/}"
    echo "bench,case,value,unit"
    LS_BUILD=$build bench/kernels.sh | grep -vE "^(#|bench,)"
    $build/bench_encode
    $build/bench_decode
    bench/service.py --build $build --detector "$detector" --model $wide --label wide --seconds $seconds --streams 1,4
    bench/service.py --build $build --detector "$detector" --label demo --seconds $seconds --streams 1,4
    [ $long = no ] || bench/service.py --build $build --detector "$detector" --model $wide --label wide --seconds 600 --streams 1
}
measure | tee build/bench/run.csv
mv build/bench/run.csv "$out"
echo "written: $out" >&2
