# SPDX-License-Identifier: Apache-2.0
# The promise that the same bytes come out whatever the chunks, their order and the load are: chunks of 1
# byte, 1 kB, 64 kB and 1 MB; voice first, face first, both by turns; one call alone and four at once
# beside others.
import threading
import time

import _stubs
from _stubs import check, container_config, media, pb


def configs():
    yield "fmp4", container_config()
    yield "ts, low latency", container_config(output=pb.Output(
        container=pb.OUTPUT_CONTAINER_MPEG_TS, latency=pb.LATENCY_MODE_LOW, speed=pb.SPEED_PRESET_ULTRAFAST))
    yield "raw frames out", container_config(output=pb.Output(container=pb.OUTPUT_CONTAINER_NONE))
    if _stubs.has_face():
        yield "detected face", container_config(box=False)
    else:
        print("note: no detector or no portrait; detection is not tested")


def same(name, result, want):
    check(name, result.ok() and result.sha256() == want.sha256(),
          "%s, %d bytes, first run %d bytes" % (result, len(result.media), len(want.media)))


def chunks_and_orders(server):
    voice, face = media("voice_short.wav"), media("face_tiny.mp4")
    for name, config in configs():
        with server.channel() as channel:
            want = _stubs.sync(channel, config, voice, face)
            check(name + ": first run", want.ok() and want.summary.frames_out == 5, want)
            for chunk in (1000, 1 << 20):
                same("%s: chunks of %d" % (name, chunk),
                     _stubs.sync(channel, config, voice, face, chunk), want)
            for order in ("audio", "video"):
                same("%s: %s first" % (name, order),
                     _stubs.sync(channel, config, voice, face, 4096, order), want)
    raw = container_config()
    raw.video.frames.width, raw.video.frames.height = 320, 240
    raw.video.frames.frame_rate.num, raw.video.frames.frame_rate.den = 25, 1
    with server.channel() as channel:
        results = [_stubs.sync(channel, raw, voice, media("face.i420"), chunk) for chunk in (1 << 20, 999)]
        check("raw frames in: first run", results[0].ok() and results[0].summary.frames_out == 5, results[0])
        same("raw frames in: chunks of 999", results[1], results[0])
    config = container_config()
    with server.channel() as channel:
        want = _stubs.sync(channel, config, voice, face)
        same("chunks of 1 byte", _stubs.sync(channel, config, voice, face, 1), want)
        large = [_stubs.sync(channel, config, media("voice.wav"), media("face.mp4"), chunk)
                 for chunk in (65536, 777)]
        same("two seconds, chunks of 777", large[1], large[0])


def four_at_once(server):
    voice, face = media("voice.wav"), media("face.mp4")
    config = container_config(box=not _stubs.has_face())
    with server.channel() as channel:
        alone = _stubs.sync(channel, config, voice, face)
    check("alone", alone.ok() and alone.summary.frames_out == 50, alone)
    results = [None] * 6

    def run(i):
        # Two of the six do something else, so that batches mix.
        other = container_config(paste=pb.Paste(mask=pb.MASK_RECTANGLE)) if i >= 4 else config
        with server.channel() as channel:
            results[i] = _stubs.sync(channel, other, voice, face, (65536, 1000, 1 << 20, 4096)[i % 4])

    threads = [threading.Thread(target=run, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(4):
        same("four at once: %d" % i, results[i], alone)
    check("the others are others", results[4].ok() and results[4].sha256() == results[5].sha256()
          and results[4].sha256() != alone.sha256(), results[4])


def late_voice(server):
    """Frames of a second: the last one is made before the voice for all of it has come."""
    config = pb.SyncConfig(audio=pb.AudioInput(pcm=pb.Pcm(sample_rate_hz=16000)))
    config.video.frames.CopyFrom(pb.RawFrames(width=320, height=240, frame_rate=pb.Rational(num=1, den=1)))
    config.face.fixed_box.CopyFrom(container_config().face.fixed_box)
    voice, frames = media("voice.pcm"), media("face.i420")[:2 * 320 * 240 * 3 // 2]

    def requests(gap_s):
        yield pb.SyncRequest(config=config)
        yield from _stubs.pieces(None, frames)
        yield pb.SyncRequest(audio=pb.InputChunk(data=voice[:int(1.7 * 32000)]))
        time.sleep(gap_s)
        yield pb.SyncRequest(audio=pb.InputChunk(data=voice[int(1.7 * 32000):], end=True))

    for stop in (False, True):
        if stop:
            config.fit.audio_longer = pb.AUDIO_LONGER_STOP
        with server.channel() as channel:
            results = [_stubs.run_call(channel, requests(gap_s)) for gap_s in (0, 1)]
        check("frames of a second", results[0].ok() and results[0].summary.frames_out == 2, results[0])
        same("a voice that comes late, %s" % ("picture ends" if stop else "voice ends"), results[1], results[0])


def main():
    with _stubs.start_server() as server:
        chunks_and_orders(server)
        four_at_once(server)
        late_voice(server)
    _stubs.finish()


main()
