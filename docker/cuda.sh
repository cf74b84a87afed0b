#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The toolchain of liblipstream_cuda.so, without root and without a GPU: CUDA 13.0's compiler, runtime and
# nvrtc, and cuDNN 9.19 (the wheel that compiles its kernels on the device's machine; a twentieth of the
# other) into build/cuda, where CMake finds them. 190 MB to fetch, 410 MB on disk; a moment when they are
# there already. A system CUDA from 12.4 on with cuDNN from 9.8 on is left to CMake instead.
#
#   docker/cuda.sh               what building the module needs
#   docker/cuda.sh --wheels      the same, even where the system has CUDA
#   docker/cuda.sh --sanitizer   + compute-sanitizer, into build/cuda-sanitizer
#
# CUDA 13.0 wants a driver of the 580 series or newer where the module runs; to build, none.
set -euo pipefail

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
state=$root/build/deps
cuda_min=1204  # 100 * major + minor
cudnn_min=908

say()
{
    printf 'cuda: %s\n' "$*"
}

die()
{
    printf 'cuda: %s\n' "$*" >&2
    exit 1
}

# The number of a #define in a header, 0 if there is none.
defined()
{
    sed -nE "s/^#define[ \t]+$2[ \t]+([0-9]+).*/\1/p" "$1" | head -n 1 | grep . || echo 0
}

# Says which system CUDA and cuDNN will do; fails if there are none.
find_system()
{
    local nvcc toolkit version header
    nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null) || return 1
    nvcc=$(readlink -f "$nvcc")
    toolkit=$(dirname "$(dirname "$nvcc")")
    version=$("$nvcc" --version | sed -nE 's/.*release ([0-9]+)\.([0-9]+).*/\1 \2/p')
    [ -n "$version" ] && [ "$(printf '%d%02d' $version)" -ge $cuda_min ] || return 1
    for header in {"$toolkit",/usr/local,/usr}/include/{,x86_64-linux-gnu/}cudnn_version.h; do
        [ -f "$header" ] || continue
        [ $((100 * $(defined "$header" CUDNN_MAJOR) + $(defined "$header" CUDNN_MINOR))) -ge $cudnn_min ] || continue
        say "using the system's CUDA ${version/ /.} ($nvcc) and cuDNN ($header)"
        return 0
    done
    return 1
}

# The tests' Python if it is there, because its pip is of a known version; else one for this alone.
find_pip()
{
    pip=$root/build/venv/bin/pip
    [ ! -x "$pip" ] || return 0
    pip=$state/cuda-venv/bin/pip
    [ -x "$pip" ] || python3 -m venv "$state/cuda-venv" >>"$state/cuda.log" 2>&1 ||
        die "python3 with venv is needed (Debian: python3-venv; whole log: $state/cuda.log)"
}

# Wheels of a list into a folder that appears whole or not at all: a second call of pip for the same
# --target would leave it broken. The stamp is this script and the list.
fetch()
{
    local list=$1 out=$2 pip stamp new=$2.new
    stamp=$(cat "$list" "${BASH_SOURCE[0]}" | sha256sum)
    if [ "$(cat "$out/stamp" 2>/dev/null)" = "$stamp" ]; then
        return 0
    fi
    [ "$(uname -sm)" = "Linux x86_64" ] || die "the pinned wheels are for Linux on x86-64; this is $(uname -sm)"
    find_pip
    say "pip: installing ${list#"$root/"} into ${out#"$root/"}"
    rm -rf "$new"
    if ! "$pip" --disable-pip-version-check install --no-deps --no-compile --only-binary :all: \
        --require-hashes --target "$new" -r "$list" >>"$state/cuda.log" 2>&1; then
        tail -n 15 "$state/cuda.log" >&2
        die "pip could not install $list (whole log: $state/cuda.log)"
    fi
    link_libraries "$new"
    echo "$stamp" >"$new/stamp"
    rm -rf "$out"
    mv "$new" "$out"
}

# What wheels leave out: the folder's usual name, and names without a version for the linker. nvrtc
# comes twice; the "alt" copy is for hosts with another C++ library.
link_libraries()
{
    local library
    [ ! -d "$1/nvidia/cu13/lib" ] || ln -s lib "$1/nvidia/cu13/lib64"
    rm -f "$1"/nvidia/cu13/lib/libnvrtc*.alt.so*
    for library in "$1"/nvidia/{cu13,cudnn_jit}/lib/lib*.so.*; do
        [ -e "$library" ] && [ ! -e "${library%%.so.*}.so" ] || continue
        ln -s "$(basename "$library")" "${library%%.so.*}.so"
    done
}

main()
{
    local what=${1-}
    [ $# -le 1 ] || die "one option at a time; see the head of docker/cuda.sh"
    case $what in
    '' | --wheels | --sanitizer) ;;
    *) die "unknown option $what; see the head of docker/cuda.sh" ;;
    esac
    mkdir -p "$state"
    exec 9>"$state/cuda.lock"
    flock 9 # two builds of one tree may ask at the same time
    : >"$state/cuda.log"
    if [ "$what" = --wheels ] || ! find_system; then
        fetch "$root/docker/requirements-cuda.txt" "$root/build/cuda"
    fi
    [ "$what" != --sanitizer ] || fetch "$root/docker/requirements-cuda-sanitizer.txt" "$root/build/cuda-sanitizer"
}

main "$@"
