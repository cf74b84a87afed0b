# SPDX-License-Identifier: Apache-2.0
# client/sync.py, the Python client that README shows: a video and a still against the real server, and what
# it says when there is none.
import os
import subprocess
import sys
import tempfile

import _stubs
from _stubs import check

PROGRAM = os.path.join(_stubs.ROOT, "client", "sync.py")


def run(*args):
    return subprocess.run([sys.executable, PROGRAM, *args], capture_output=True, text=True, timeout=120)


def main():
    with open(PROGRAM) as file:
        check("it is short", len(file.readlines()) <= 50)
    voice = _stubs.make_media("voice.wav")
    with tempfile.TemporaryDirectory() as folder, _stubs.start_server() as server:
        for kind in ("face.mp4", "still.jpg"):
            out = os.path.join(folder, kind + ".mp4")
            done = run(server.address, _stubs.make_media(kind), voice, out)
            check(kind + ": exit", done.returncode == 0, done)
            check(kind + ": digest and frames", "50 frames" in done.stdout, done.stdout)
            probe = subprocess.run(["ffprobe", "-v", "error", "-count_frames", "-show_entries",
                                    "stream=codec_name,nb_read_frames", "-of", "csv=p=0", out],
                                   capture_output=True, text=True)
            check(kind + ": video", "h264,50" in probe.stdout and "aac" in probe.stdout, probe)
        done = run("127.0.0.1:1", _stubs.make_media("face.mp4"), voice, os.path.join(folder, "none.mp4"))
        check("no server", done.returncode == 1 and "UNAVAILABLE" in done.stderr, done)
    _stubs.finish()


main()
