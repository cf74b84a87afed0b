#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Measures our generator beside those of OpenVINO, onnxruntime and torch, and our service beside the original
# program's flow, and writes bench/results/<processor>-x<cores>-peers-<date>.csv and its pictures,
# bench/results/peers-generator.png and peers-service.png. Prints the rows as they come.
#
#   bench/peers/run.sh                 all; on two quiet cores some 25 minutes, 12 of them the generator
#   bench/peers/run.sh --generator     the generator alone (generator.py); rows of the other part that an earlier
#   bench/peers/run.sh --service       run of the same day wrote stay; the whole job alone (whole.py)
#   bench/peers/run.sh --quick ...     batch 4 and 4 s of input, to see that all works; written to build/peers
#
# The first run fetches 800 MB into build/peers-venv and makes 400 MB of files in build/peers. Needs g++ and Python's
# headers for torch.compile; what cannot be done is said by SKIP. The original's flow keeps all frames in memory: 9 GB
# for a minute of 1080p. Rows are bench,case,value,unit; lines with # name machine, commit and date. Nothing else
# should run.
set -euo pipefail

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd)
cd "$root"
build=build/release
venv=build/peers-venv
targets="lipstreamd lipstream lipstream-decode lipstream-calibrate bench_generate bench_wide"
work=build/peers
parts='generator service'
quick=()
for option in "$@"; do
    case $option in
    --quick) quick=(--quick) ;;
    --generator | --service) parts=${option#--} ;;
    *)
        echo "run: unknown option $option; see the head of bench/peers/run.sh" >&2
        exit 2
        ;;
    esac
done

need_venv()
{
    local sum
    sum=$(cat bench/peers/requirements.txt bench/peers/empty_cuda.sh | sha256sum)
    [ -f $work/venv.done ] && [ "$(cat $work/venv.done)" = "$sum" ] && $venv/bin/python -c '' 2>/dev/null && return 0
    echo "run: filling $venv (log: $work/venv.log)" >&2
    rm -rf $venv
    if ! { /usr/bin/python3 -m venv $venv &&
        $venv/bin/pip --disable-pip-version-check install -q --require-hashes --no-deps --only-binary :all: \
            -r bench/peers/requirements.txt &&
        bench/peers/empty_cuda.sh $venv; } >$work/venv.log 2>&1; then
        tail -n 20 $work/venv.log >&2
        return 1
    fi
    echo "$sum" >$work/venv.done
}

rows()
{
    [ ! -f "$2" ] || grep -E "$1" "$2" || true
}

docker/deps.sh --bench
mkdir -p $work bench/results
need_venv
. bench/machine.sh
# shellcheck disable=SC2086
build_programs $targets
if [ ! -s $work/wide.safetensors ]; then
    $build/bench_wide $work/wide.part
    mv $work/wide.part $work/wide.safetensors
fi

batches=1,4,16
[ ${#quick[@]} = 0 ] || batches=4
$venv/bin/python bench/peers/prepare.py $build $batches >$work/prepare.log 2>&1 || { tail -n 20 $work/prepare.log >&2 && exit 1; }

out=bench/results/$slug-x$(nproc)-peers-$(date +%Y-%m-%d).csv
pictures=bench/results
if [ ${#quick[@]} -gt 0 ]; then
    out=$work/quick.csv
    pictures=$work
fi
# Quick rows never stand beside others.
generator=$work/generator${quick:+-quick}.csv
service=$work/service${quick:+-quick}.csv
rows '^(generator|exactness),|^# generator' "$out" >"$generator"
rows '^service,|^# service' "$out" >"$service"
measure()
{
    local script=generator.py
    [ "$1" = generator ] || script=whole.py
    say_machine | sed "1d; s/^# /# $1: /"
    echo "# $1: load before: $(cut -d' ' -f1-3 /proc/loadavg)"
    $venv/bin/python bench/peers/$script --build $build "${quick[@]}"
}
for part in $parts; do
    measure "$part" | tee "$work/part.csv"
    mv "$work/part.csv" "$work/$part${quick:+-quick}.csv"
done
{
    say_machine | sed -n 1p
    grep -hE '^#' "$generator" "$service" || true
    echo "bench,case,value,unit"
    grep -hvE '^#' "$generator" "$service" || true
} >$work/run.csv
mv $work/run.csv "$out"
echo "written: $out" >&2
$venv/bin/python bench/peers/plot.py "$out" "$pictures" >&2
