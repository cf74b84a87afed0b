#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes the demo model from nothing, in one command: what it needs (PyTorch and the like in a virtual environment of
# their own; synthetic voices and the face mesh that labels are made with, by docker/deps.sh), the material, the teacher,
# the generator, the weights. Every step goes on where it was stopped. Needs ../shared/media/grid and 12 GB in build/demo-train.
#
#   kernels/demo/train.sh [hours]     of generator training, 10 if not said; again: so much longer
#   START=kernels/demo/lipstream_demo_fp16.safetensors kernels/demo/train.sh 2     go on from these weights
#   BATCH=512 kernels/demo/train.sh 1                                              on a GPU
#
# Ends with build/demo-train/lipstream_demo_fp16.safetensors; bench/picture.sh --weights judges it.
set -euo pipefail

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd)
here=$root/kernels/demo work=$root/build/demo-train
hours=${1:-10}
python=$work/venv/bin/python

# Big tensors come and go at every step: without these the C library gives each back to the system and asks anew, which
# made a step ten times slower.
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_TOP_PAD_=268435456 OMP_WAIT_POLICY=PASSIVE
export PYTHONUNBUFFERED=1 FACE_MESH=$root/build/picture/face_landmark.tflite

say()
{
    printf '%s train: %s\n' "$(date +%H:%M:%S)" "$*"
}

[ -d "$root/../shared/media/grid" ] || {
    echo "SKIP: training needs the clips of ../shared/media/grid"
    exit 77
}
[[ $hours =~ ^[0-9]+(\.[0-9]+)?$ ]] || {
    echo "usage: kernels/demo/train.sh [hours]" >&2
    exit 2
}
"$root/docker/deps.sh" --picture
mkdir -p "$work"
if ! cmp -s "$here/requirements.txt" "$work/installed.txt"; then
    say "installing PyTorch (6 GB)"
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install -q --require-hashes -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$work/installed.txt"
fi
say "material"
count=$(nproc) parts=()
for ((i = 0; i < count; i++)); do
    "$python" "$here/material.py" "$work/material" "$i" "$count" &
    parts+=($!)
done
for part in "${parts[@]}"; do
    wait "$part"
done
if [ ! -f "$work/teacher.pt" ]; then
    say "teacher"
    "$python" "$here/teacher.py" "$work/material" "$work" 900
fi
say "generator"
"$python" "$here/generator.py" "$work/material" "$work" "$(awk "BEGIN { print 3600 * $hours }")"
"$python" "$here/export.py" "$work" "$work/lipstream_demo_fp16.safetensors"
