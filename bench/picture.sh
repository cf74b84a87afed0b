#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Measures the picture that the whole service makes: sync, closures, stillness, seam, sharpness, jitter, mouth error,
# and what becomes of hard inputs; each beside the original's paste on the same generator. Writes
# bench/results/<processor>-picture-<date>-<commit>.csv and a page with contact sheets, build/picture/index.html.
#
#   bench/picture.sh                      everything; a quarter of an hour on two busy cores
#   bench/picture.sh --quick              fewer faces and voices, no CSV in bench/results; three minutes
#   bench/picture.sh --weights FILE       another checkpoint, no CSV in bench/results
#   bench/picture.sh --out FOLDER         page and picture.csv there
#   bench/picture.sh --build FOLDER       the programs of that folder as they are (an older commit's, say)
#   bench/picture.sh --only PARTS         of known_voices,grid_people,stillness,pastes,moving,jitter,mouth_error,
#                                         robust,exact,checkpoints
#
# Rows are bench,case,value,unit; lines with # name machine, commit and date. Definitions stand in picture_judge.py and
# at the page's end. Needs ../shared/media (or $LS_SHARED/media); what is missing there is named and left out.
set -euo pipefail

here=$PWD
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
from_here()
{
    case $1 in
    /*) printf '%s' "$1" ;;
    *) printf '%s' "$here/$1" ;;
    esac
}

programs=$root/build/release
build=$programs
weights=$root/kernels/demo/lipstream_demo_fp16.safetensors
out=$root/build/picture
options=()
keep=yes
while [ $# -gt 0 ]; do
    case $1 in
    --quick) options+=(--quick) keep=no ;;
    --weights) weights=$(from_here "$2") keep=no && shift ;;
    --out) out=$(from_here "$2") keep=no && shift ;;
    --build) build=$(from_here "$2") keep=no && shift ;;
    --only) options+=(--only "$2") keep=no && shift ;;
    *)
        echo "picture: unknown option $1; see the head of bench/picture.sh" >&2
        exit 2
        ;;
    esac
    shift
done
cd "$root"

docker/deps.sh --picture
mkdir -p "$out"
[ -d "${LS_SHARED:-../shared}/media" ] || echo "SKIP: no ../shared/media: next to nothing can be measured" >&2
targets=(bench_picture_faces bench_wide lipstream-decode test_unit_exact test_golden_{paste,crop,net})
[ "$build" != "$programs" ] || targets+=(lipstreamd lipstream)
if ! { { [ -f $programs/build.ninja ] || cmake -S . -B $programs -G Ninja -DLS_TESTS=ON; } &&
    cmake --build $programs -j "$(nproc)" --target "${targets[@]}"; } >"$out/build.log" 2>&1; then
    tail -n 20 "$out/build.log" >&2
    exit 1
fi

. bench/machine.sh
measure()
{
    say_machine
    echo "# weights: ${weights##*/}, sha256 $(sha256sum "$weights" | cut -c1-16)"
    echo "bench,case,value,unit"
    TF_CPP_MIN_LOG_LEVEL=2 build/picture-venv/bin/python bench/picture_run.py --build "$build" \
        --programs "$programs" --weights "$weights" --mesh build/picture/face_landmark.tflite --out "$out" \
        --commit "$commit" "${options[@]}"
}
measure | tee "$out/picture.csv"
echo "page: $out/index.html" >&2
if [ $keep = yes ]; then
    result=$(result_file picture)
    cp "$out/picture.csv" "$result"
    echo "written: $result" >&2
fi
