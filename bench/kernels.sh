#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measures every operation of every back end on one core: generate by batch size for the demo model and
# for the original's widths, mel, crop, composite, detect. Prints CSV (bench,case,value,unit) under a
# header that names machine, commit and date. LS_BUILD: the build folder (build). Rates are per second of
# processor time, so that other jobs on the machine hardly show. Takes a minute.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${LS_BUILD:-build}

[ -f "$build/build.ninja" ] || cmake -S . -B "$build" -G Ninja >&2
ninja -C "$build" -j 2 test_kernels_check >&2
commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
git diff --quiet HEAD 2>/dev/null || commit=$commit-changed
machine=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)
family=$(sed -n 's/^cpu family[^:]*: //p' /proc/cpuinfo | head -1)
model=$(sed -n 's/^model[[:space:]]*: //p' /proc/cpuinfo | head -1)
echo "# machine: $machine (family $family, model $model), $(nproc) cores"
echo "# commit: $commit"
echo "# date: $(date -u +%Y-%m-%d)"
echo "bench,case,value,unit"
"$build/tests/test_kernels_check" --bench --csv
