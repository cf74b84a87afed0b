#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Measures everything and writes bench/results/<processor>-x<cores>-<date>-<commit>.csv (machine.sh): the operations
# of the arithmetic (bench/kernels.sh), encoding and decoding alone (bench_encode, bench_decode), and the whole
# service with the full-size network and the demo model (service.py). Before, in the middle and after, fixed work says
# how fast the machine just is (bench_yardstick). Prints the rows as they come, in the end what bench/compare.py says
# of them beside the newest earlier result of this machine.
#
#   bench/run.sh             inputs of 10 s and 60 s; a quarter of an hour on two cores
#   bench/run.sh --quick     inputs of 10 s
#   bench/run.sh --long      also 10 minutes of input, one stream
#   bench/run.sh --repeat 3  all of it as often: medians, and the spread of every case, without which a comparison
#                            takes noise for news
#
# Rows are bench,case,value,unit; lines with # name machine, commit and date. Nothing else should run.
# bench/plot.py FILE.csv... draws them, bench/compare.py OLD.csv NEW.csv compares two.
set -euo pipefail

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
cd "$root"
build=build/release
seconds=10,60
long=no
repeat=1
while [ $# -gt 0 ]; do
    case $1 in
    --quick) seconds=10 ;;
    --long) long=yes ;;
    --repeat)
        repeat=${2-}
        [[ $repeat =~ ^[1-9][0-9]?$ ]] || {
            echo "run: --repeat takes 1 to 99" >&2
            exit 2
        }
        shift
        ;;
    *)
        echo "run: unknown option $1; see the head of bench/run.sh" >&2
        exit 2
        ;;
    esac
    shift
done

docker/deps.sh --bench
. bench/machine.sh
build_programs

out=$(result_file)
detector=build/blazeface.safetensors
yunet=${LS_SHARED:-../shared}/models/yunet/face_detection_yunet_2023mar.onnx
[ ! -f "$yunet" ] || detector=$yunet
wide=build/bench/wide.safetensors
[ -s $wide ] || $build/bench_wide $wide
# The largest size in each arithmetic that this processor has.
arithmetics=fp32
! grep -qw avx512_bf16 /proc/cpuinfo || arithmetics=fp32,bf16
! grep -qwE "avx512_vnni|avx_vnni" /proc/cpuinfo || arithmetics=$arithmetics,int8

service()
{
    bench/service.py --build $build --detector "$detector" "$@"
}

measure()
{
    say_machine
    echo "# load before: $(cut -d' ' -f1-3 /proc/loadavg)"
    echo "# detector: ${detector##*/}"
    echo "bench,case,value,unit"
    $build/bench_yardstick before
    LS_BUILD=$build bench/kernels.sh | grep -vE "^(#|bench,)"
    $build/bench_encode
    $build/bench_decode
    $build/bench_yardstick middle
    service --model $wide --label wide --seconds ${seconds%%,*} --streams 1,4
    service --label demo --seconds $seconds --streams 1,4
    service --model $wide --label wide --seconds ${seconds##*,} --streams 1 --size 720p,1080p --arithmetic $arithmetics
    service --model $wide --label wide --seconds ${seconds%%,*} --loop 4 --streams 1,2,3,4 --arithmetic $arithmetics
    [ $long = no ] || service --model $wide --label wide --seconds 600 --streams 1
    $build/bench_yardstick after
}
runs=()
for ((i = 1; i <= repeat; i++)); do
    runs+=("build/bench/run-$i.csv")
    measure | tee "${runs[-1]}"
done
if [ "$repeat" = 1 ]; then
    cp "${runs[0]}" "$out"
else
    bench/compare.py --merge "${runs[@]}" >build/bench/run.csv
    mv build/bench/run.csv "$out"
fi
echo "written: $out" >&2
bench/compare.py --no-ask "$out" >&2 || true # what it says is for people; who wants its status calls it
