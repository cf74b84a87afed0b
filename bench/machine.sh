# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What a bench's CSV says of where and of what it was measured; read by the scripts that measure, in the
# repository's root. $slug: the processor's name for a file's, $commit: what is measured. result_file: where the
# CSV goes. A commit has results of its own in bench/results; what is measured of changes that are in no commit
# goes to build/bench/results, because nobody could measure it again. To keep the repository small only those are
# committed that a figure of the README or a commit's claim rests on; history has the older ones. build_programs
# [TARGET...]: builds what is measured in $build, all of it without a name; says why it could not, and ends the script.
cpu=$(sed -nE 's/^model name\s*: //p' /proc/cpuinfo | head -n 1)
slug=$(printf '%s' "${cpu:-$(uname -m)}" | tr 'A-Z' 'a-z' | sed -E 's/\((r|tm)\)//g; s/[^a-z0-9]+/-/g; s/^-|-$//g')
commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
git diff --quiet HEAD 2>/dev/null || commit="$commit with changes"

# result_file [KIND]: bench/results/<processor>-x<cores>[-KIND]-<date>-<commit>.csv; makes the folder.
result_file()
{
    local folder=bench/results
    [ "$commit" = "${commit%% *}" ] || folder=build/bench/results
    mkdir -p $folder
    echo "$folder/$slug-x$(nproc)${1:+-$1}-$(date +%Y-%m-%d)-${commit%% *}.csv"
}

say_machine()
{
    echo "# machine: ${cpu:-unknown}, $(nproc) processors, $(awk '/MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)"
    echo "# commit: $commit"
    echo "# date: $(date -u +%Y-%m-%dT%H:%MZ)"
}

build_programs()
{
    mkdir -p build/bench
    if ! { cmake -S . -B "$build" -G Ninja -DLS_TESTS=ON &&
        cmake --build "$build" -j "$(nproc)" ${1:+--target "$@"}; } >build/bench/build.log 2>&1; then
        tail -n 20 build/bench/build.log >&2
        exit 1
    fi
}
