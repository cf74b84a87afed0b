#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A voice and a face in, a talking video out, from nothing: installs what is missing, builds, starts the
# server on a free port of this machine, streams through it, stops it, and says where the video is.
#
#   client/demo.sh                         a portrait and a voice that come from Debian packages; then, if
#                                          ../shared/media has it, a 720p presenter: demo-presenter.mp4
#   client/demo.sh FACE [VOICE [OUT]]      your own video or picture, your own voice; OUT: demo.mp4, or -
#
# The server's log is build/demo.log. What is already there is not done again: a second run takes about
# a second until the stream starts.
set -euo pipefail

here=$PWD
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
build=$root/build/release
log=$root/build/demo.log
text="Hello. I am a picture, and this voice was made by a computer a moment ago.
Both were streamed to a small server, and while they were still on their way, it sent this video back."

exec 3>&1 1>&2 # our messages go to standard error: OUT may be a pipe
say()
{
    printf '\033[1m%s\033[0m\n' "$*" | if [ -t 2 ]; then cat; else sed 's/\x1b\[[0-9]*m//g'; fi
}

die()
{
    printf 'demo: %s\n' "$*"
    exit 1
}

server=
stop_server()
{
    [ -n "$server" ] || return 0
    kill -TERM "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    server=
}
trap stop_server EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# As seen from where the script was called.
from_here()
{
    case $1 in
    - | /*) printf '%s' "$1" ;;
    *) printf '%s' "$here/$1" ;;
    esac
}

build_programs()
{
    mkdir -p "$build"
    if ! { { [ -f "$build/build.ninja" ] || cmake -S "$root" -B "$build" -G Ninja -DLS_TESTS=OFF; } &&
        cmake --build "$build" --target lipstreamd lipstream-decode lipstream; } >"$build/demo-build.log" 2>&1; then
        tail -n 20 "$build/demo-build.log"
        die "the build failed; the whole log: $build/demo-build.log"
    fi
}

# Sets address, or shows why there is none.
start_server()
{
    local i
    : >"$log" # so that there is something to read before the server has said anything
    "$build/lipstreamd" --listen 127.0.0.1:0 --admin-listen none >"$log" 2>&1 3>&- &
    server=$!
    for ((i = 0; i < 300; i++)); do
        address=$(sed -nE 's/.*listening on ([^ ,]+:[0-9]+).*/\1/p' "$log" | head -n 1)
        [ -z "$address" ] || return 0
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    tail -n 15 "$log"
    die "the server did not start; its log: $log"
}

# FACE VOICE OUT
stream()
{
    local status=0
    say "Streaming ${1##*/} and ${2##*/}"
    "$build/lipstream" sync --server "$address" "$1" "$2" "$3" >&3 || status=$?
    [ $status != 0 ] || return 0
    printf 'demo: the stream failed (exit code %d); the end of the server'\''s log, %s:\n' $status "$log"
    tail -n 15 "$log"
    exit $status
}

case ${1-} in
-h | --help)
    sed -n '3,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 0
    ;;
esac
[ $# -le 3 ] || die "usage: client/demo.sh [FACE [VOICE [OUT]]]"
face=$(from_here "${1:-$root/build/demo/portrait.jpg}")
voice=$(from_here "${2:-$root/build/demo/voice.wav}")
presenter=$root/../shared/media/talking/presenter_720p_faststart.mp4
out=$(from_here "${3:-demo.mp4}")
[ -z "${1-}" ] || [ -r "$face" ] || die "cannot read the face: $face"
[ -z "${2-}" ] || [ -r "$voice" ] || die "cannot read the voice: $voice"

"$root/docker/deps.sh" --demo
say "Building"
build_programs
if [ -z "${2-}" ] && [ ! -s "$voice" ]; then
    say "Speaking (flite)"
    flite -voice slt -t "$text" -o "$voice.part" || die "flite could not speak"
    mv "$voice.part" "$voice"
fi
say "Starting the server"
start_server
sed -n '/listening on/{p;q}' "$log"
stream "$face" "$voice" "$out"
[ $# -gt 0 ] || [ ! -r "$presenter" ] || stream "$presenter" "$voice" "$here/demo-presenter.mp4"
stop_server
[ "$out" != - ] || exit 0
say "The video is $out"
[ $# -gt 0 ] || [ ! -r "$presenter" ] || say "The presenter speaks in $here/demo-presenter.mp4"
printf 'Watch it:  ffplay -autoexit %q   or   mpv %q   or in any browser.\n' "$out" "$out"
