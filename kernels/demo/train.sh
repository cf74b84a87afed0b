#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes the demo model from nothing, in one command: what it needs (PyTorch and the like in a virtual environment of
# their own; synthetic voices and the face mesh that labels are made with, by docker/deps.sh), the material, the teacher,
# the generator, the weights. What was finished is not done again, and the generator goes on where it was stopped. Needs
# ../shared/media/grid, ../shared/models/yunet and 12 GB in build/demo-train.
#
#   kernels/demo/train.sh [hours]     of generator training, 10 if not said; again: so much longer
#   START=kernels/demo/lipstream_demo_fp16.safetensors kernels/demo/train.sh 2     begin with these weights
#   BATCH=512 kernels/demo/train.sh 1             on a GPU (each core makes pairs then, and holds 7 GB)
#
# Ends with build/demo-train/lipstream_demo_fp16.safetensors; bench/picture.sh --weights judges it.
set -euo pipefail

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd)
here=$root/kernels/demo work=$root/build/demo-train
hours=${1:-10}
python=$work/venv/bin/python

# Big tensors come and go at every step: without these the C library gives each back to the system and asks anew, which
# made a step ten times slower. Threads that sleep between a step's hundreds of layers wake too slowly: 284 ms, not 198.
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_TOP_PAD_=268435456 OMP_WAIT_POLICY=ACTIVE
export PYTHONUNBUFFERED=1 FACE_MESH=$root/build/picture/face_landmark.tflite

say()
{
    printf '%s train: %s\n' "$(date +%H:%M:%S)" "$*"
}

die()
{
    say "$*" >&2
    exit 1
}

step()
{
    "$python" "$here/$1.py" "${@:2}" || die "$1.py ended with status $?; what was finished is kept, run this again"
}

[[ $hours =~ ^[0-9]+(\.[0-9]+)?$ && $hours =~ [1-9] ]] || {
    echo "usage: kernels/demo/train.sh [hours]" >&2
    exit 2
}
for needed in media/grid models/yunet/face_detection_yunet_2023mar.onnx; do
    [ -e "$root/../shared/$needed" ] || {
        echo "SKIP: training needs ../shared/$needed"
        exit 77
    }
done
"$root/docker/deps.sh" --picture
mkdir -p "$work"
exec 9>"$work/lock"
flock -n 9 || die "another training is at work in $work"
if ! cmp -s "$here/requirements.txt" "$work/installed.txt"; then
    say "installing PyTorch (6 GB)"
    /usr/bin/python3 -m venv "$work/venv" # Debian's, whatever is in PATH: the hashes are those of its wheels
    "$work/venv/bin/pip" install -q --require-hashes -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$work/installed.txt"
fi
say "material"
count=$(nproc) parts=() failed=0
trap '[ ${#parts[@]} = 0 ] || kill "${parts[@]}" 2>/dev/null || true' EXIT # they would not hear of Ctrl-C
for ((i = 0; i < count; i++)); do
    "$python" "$here/material.py" "$work/material" "$i" "$count" &
    parts+=($!)
done
for part in "${parts[@]}"; do
    wait "$part" || failed=$?
done
parts=()
[ $failed = 0 ] || die "material.py ended with status $failed; what was finished is kept, run this again"
compgen -G "$work/material/*.npz" >/dev/null || die "no clip of ../shared/media/grid could be used"
if [ ! -f "$work/teacher.pt" ]; then
    say "teacher"
    step teacher "$work/material" "$work" 900
fi
say "generator"
step generator "$work/material" "$work" "$(awk "BEGIN { print 3600 * $hours }")"
step export "$work" "$work/lipstream_demo_fp16.safetensors"
