#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# bench/peers/empty_cuda.sh VENV: torch of the registry is linked with 5 GB of CUDA's libraries, none of which is
# called without a GPU. This puts a library of each name in their place whose functions end the program, so
# that a comparison of processors need not fetch them. The CUDA runtime alone is real (requirements.txt): torch's
# kernels are made known to it while torch is loaded. torch.cuda.is_available() is then false, as without a GPU.
set -euo pipefail

site=$(echo "$1"/lib/python3.*/site-packages)
libraries=$site/torch/lib
out=$site/nvidia/cu13/lib
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

readelf -dW "$libraries"/*.so* | sed -nE 's/.*NEEDED.*\[(.*)\]/\1/p' | sort -u |
    grep -E '^lib(cu|nv|nccl)' | grep -vE '^lib(cudart|cuda)\.' >"$work/names"
# What torch wants of any of them and has not itself.
nm -D --undefined-only "$libraries"/*.so* 2>/dev/null | sed -nE 's/^ +U ((cu|nv|nccl)[A-Za-z0-9_]*)(@.*)?$/\1/p' | sort -u >"$work/wanted"
nm -D --defined-only "$out"/libcudart.so.* "$libraries"/*.so* 2>/dev/null |
    awk 'NF == 3 { sub(/@.*/, "", $3); print $3 }' | sort -u >"$work/there"
{
    echo '#include <stdlib.h>'
    comm -23 "$work/wanted" "$work/there" | sed 's/.*/void &(void);\nvoid &(void) { abort(); }/'
} >"$work/empty.c"
mkdir -p "$out"
# Without versions of symbols: then any is taken.
cc -shared -fPIC -O0 -o "$work/empty.so" "$work/empty.c"
while read -r name; do
    cp "$work/empty.so" "$out/$name"
done <"$work/names"
echo "empty_cuda: $(wc -l <"$work/names") libraries, $(grep -c abort "$work/empty.c") functions" >&2
