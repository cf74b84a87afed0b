# SPDX-License-Identifier: Apache-2.0
# lipstream-calibrate and what it is for: a calibration of the tests' own clip, the server that computes with
# bytes because of it and says so, whose pictures are close to those in floats, and the same however they were
# sent; and what the program says of wrong arguments and files.
import os
import subprocess
import tempfile

import numpy as np

import _stubs
from _stubs import check, pb

W, H = 320, 240
SIZE = W * H * 3 // 2
PROGRAM = os.path.join(_stubs.BUILD, "lipstream-calibrate")


def calibrate(*arguments):
    flags = ["--", "--detector", _stubs.detector()] if _stubs.detector() else []
    done = subprocess.run([PROGRAM, *arguments, *flags], capture_output=True, text=True, timeout=240)
    check("no sanitizer report", "Sanitizer" not in done.stderr, done.stderr[-3000:])
    return done


def refusals(folder, face, voice):
    out = os.path.join(folder, "none")
    for name, arguments, code, words in (
            ("nothing", (), 2, "usage: lipstream-calibrate"),
            ("a face without a voice", (out, face), 2, "usage: lipstream-calibrate"),
            ("percent", ("--percent", "101", out, face, voice), 2, "--percent wants a number of 50..100"),
            ("percent, no number", ("--percent", "most", out, face, voice), 2, "--percent wants"),
            ("no such face", (out, "/nowhere.mp4", voice), 1, "/nowhere.mp4 cannot be opened"),
            ("a face that is none", (out, __file__, voice), 1, __file__),
            ("a folder that is not there", (os.path.join(folder, "a", "b"), face, voice, face, voice), 1,
             "cannot be written"),
            ("too little", (out, _stubs.make_media("face_tiny.mp4"), voice), 1, "are needed at least")):
        done = calibrate(*arguments)
        check(name, done.returncode == code and words in done.stderr, (done.returncode, done.stderr))
        check(name + ": no file", not os.path.exists(out) and not os.path.exists(out + ".part"))


def frames():
    y, x = np.mgrid[0:H, 0:W]
    luma = (90 + 50 * np.sin(x / 23) + 40 * np.cos(y / 17)).astype(np.uint8).tobytes()
    return luma + bytes([120]) * (SIZE - W * H)


def call(server, picture, **how):
    c = pb.SyncConfig(audio=pb.AudioInput(pcm=pb.Pcm(sample_rate_hz=16000)),
                      output=pb.Output(container=pb.OUTPUT_CONTAINER_NONE))
    c.video.frames.CopyFrom(pb.RawFrames(width=W, height=H, frame_rate=pb.Rational(num=25, den=1)))
    c.silence.policy = pb.SILENCE_POLICY_GENERATE
    c.face.fixed_box.CopyFrom(pb.Box(left=100, top=60, right=200, bottom=180))
    t = np.arange(32000) / 16000
    sound = (9000 * np.sin(880 * t) * np.sin(9 * t)).astype("<i2").tobytes()
    with server.channel() as channel:
        result = _stubs.sync(channel, c, sound, picture, **how)
    check("call", result.ok() and len(result.media) == 50 * SIZE, result)
    return np.frombuffer(bytes(result.media), np.uint8).reshape(-1, SIZE)[:, :W * H]


def computes_with_bytes():
    with open("/proc/cpuinfo") as file:
        flags = file.read().split()
    return "avx512_vnni" in flags or "avx_vnni" in flags


def main():
    if not os.path.exists(PROGRAM):
        _stubs.skip("lipstream-calibrate is not built")
    if not _stubs.has_face():
        _stubs.skip("no detector or portrait: nothing to calibrate with")
    face, voice = _stubs.make_media("face.mp4"), _stubs.make_media("voice.wav")
    with tempfile.TemporaryDirectory() as folder:
        refusals(folder, face, voice)
        out = os.path.join(folder, "calibration.safetensors")
        done = calibrate(out, face, _stubs.make_media("voice_long.wav"), face, voice)
        check("calibrates", done.returncode == 0 and "faces of generator" in done.stdout, (done.stdout, done.stderr))
        if not computes_with_bytes():
            print("SKIP: int8: this processor does not multiply bytes")
            return
        picture = frames() * 10  # looped five times
        with _stubs.start_server("--arithmetic", "fp32") as server:
            floats = call(server, picture)
        with _stubs.start_server("--calibration", out) as server:
            with server.channel() as channel:
                info = _stubs.pb_grpc.LipSyncStub(channel).GetServerInfo(pb.GetServerInfoRequest(), timeout=10)
            check("says so", info.arithmetic.startswith("int8"), info.arithmetic)
            bytes_, again = call(server, picture), call(server, picture, chunk=7777, order="audio")
        error = bytes_.astype(float) - floats
        check("not the same", error.any())
        check("within a few steps", np.abs(error).max() <= 8, np.abs(error).max())
        check("the same bytes again", (bytes_ == again).all())


main()
_stubs.finish()
