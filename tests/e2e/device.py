# SPDX-License-Identifier: Apache-2.0
# The service on back end "cuda", run on the host's stand-in for a device (tests/shim): the same bytes for
# any chunks and load; with --decode-on-device the same bytes once more, though decoders are threads and
# frames lie in device memory from decoding to encoding; calls that end early or badly leave nothing behind.
import os
import tempfile
import threading
import time

import _stubs
from _stubs import BUILD, check, container_config, media, pb

SHIM = os.path.join(BUILD, "tests", "liblipstream_cuda_shim.so")
FLAGS = ("--backend", "cuda", "--cuda-module", SHIM, "--plan-cache", "none", "--batch-max", "4")


def fit(**fields):
    return container_config(fit=pb.Fit(**fields))


def rows():
    """Name, config, voice, face."""
    short, longer = "voice_short.wav", "voice_some.wav"
    yield "fmp4", container_config(), short, "face_tiny.mp4"
    yield "ts, low latency", container_config(output=pb.Output(
        container=pb.OUTPUT_CONTAINER_MPEG_TS, latency=pb.LATENCY_MODE_LOW)), short, "face_tiny.mp4"
    yield "I420 out", container_config(output=pb.Output(
        container=pb.OUTPUT_CONTAINER_NONE)), short, "face_tiny.mp4"
    yield "RGB24 out", container_config(output=pb.Output(
        container=pb.OUTPUT_CONTAINER_NONE, video=pb.VIDEO_CODEC_RGB24)), short, "face_tiny.mp4"
    for name in ("LOOP", "PING_PONG", "HOLD_LAST"):
        yield name, fit(audio_longer=getattr(pb, "AUDIO_LONGER_" + name)), longer, "face_tiny.mp4"
    if _stubs.has_face():
        yield "detected face", container_config(box=False), short, "face_tiny.mp4"
    else:
        print("note: no detector or no portrait; detection is not tested")


def run_rows(server):
    results = {}
    with server.channel() as channel:
        for name, config, voice, face in rows():
            results[name] = _stubs.sync(channel, config, media(voice), media(face), 4096)
            check(name, results[name].ok(), results[name])
    return results


def four_at_once(server, want):
    results = [None] * 4

    def run(i):
        with server.channel() as channel:
            results[i] = _stubs.sync(channel, container_config(), media("voice_short.wav"),
                                     media("face_tiny.mp4"), (777, 4096, 65536, 1 << 20)[i])

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, result in enumerate(results):
        check("four at once: %d" % i, result.ok() and result.sha256() == want.sha256(), result)


def bad_ends(server):
    voice, face = media("voice.wav"), media("face.mp4")
    before = server.usage()["fds"]
    with server.channel() as channel:
        for name, data in (("garbage", bytes(range(256)) * 40), ("cut off at once", face[:600]), ("nothing", b"")):
            result = _stubs.sync(channel, container_config(), voice, data)
            check("bad video: " + name, not result.ok() and result.reason, result)
        for seconds in (0.05, 0.3, 1):
            result = _stubs.sync(channel, container_config(), voice, face, timeout=seconds)
            check("deadline of %g s" % seconds, not result.ok(), result)
        result = _stubs.sync(channel, container_config(), media("voice_short.wav"), media("face_tiny.mp4"))
        check("a good call afterwards", result.ok(), result)
    after = server.usage()["fds"]
    check("no descriptor is lost", after <= before + 8, "%d, then %d" % (before, after))


def lose_device():
    """The device fails for good: calls end with an error, new ones are refused, the server ends."""
    with tempfile.TemporaryDirectory(prefix="lost-", dir=BUILD) as folder:
        os.environ["LS_SHIM_LOST"] = os.path.join(folder, "lost")
        with _stubs.start_server(*FLAGS, status=1) as server:
            del os.environ["LS_SHIM_LOST"]
            with server.channel() as channel:
                voice, face = media("voice_short.wav"), media("face_tiny.mp4")
                result = _stubs.sync(channel, container_config(), voice, face)
                check("before the device is lost", result.ok(), result)
                open(os.path.join(folder, "lost"), "w").close()
                result = _stubs.sync(channel, container_config(), voice, face)
                check("when the device is lost", result.reason == "DEVICE_FAILED", result)
                time.sleep(1)
                check("not SERVING without a device", not _stubs.serving(channel))


def main():
    if not os.path.exists(SHIM):
        _stubs.skip("the stand-in for a device is not built")
    with _stubs.start_server(*FLAGS) as server:
        by_process = run_rows(server)
    with _stubs.start_server(*FLAGS, "--decode-on-device", "1") as server:
        by_thread = run_rows(server)
        four_at_once(server, by_process["fmp4"])
        bad_ends(server)
    lose_device()
    for name, result in by_process.items():
        check(name + ": the same bytes from device memory", result.sha256() == by_thread[name].sha256(),
              "%d and %d bytes" % (len(result.media), len(by_thread[name].media)))
    _stubs.finish()


main()
