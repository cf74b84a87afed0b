# SPDX-License-Identifier: Apache-2.0
# Bad input: each row with the status, reason and field that it must come to; after each one a good call
# goes through on the same server. Then what needs time or two hands: deadlines, cancelling in the middle,
# a caller that sends nothing, one that never reads, more calls than places.
import random
import threading
import time

import grpc

import _stubs
from _stubs import check, container_config, media, pb, pb_grpc

INVALID = grpc.StatusCode.INVALID_ARGUMENT
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
SLOW = 4 if _stubs.SANITIZED else 1


def audio(data=b"", end=False):
    return pb.SyncRequest(audio=pb.InputChunk(data=data, end=end))


def video(data=b"", end=False):
    return pb.SyncRequest(video=pb.InputChunk(data=data, end=end))


def config(**more):
    return pb.SyncRequest(config=container_config(**more))


def both(voice, face, **more):
    return [config(**more), *_stubs.pieces(voice, face)]


def frames(width, height, num, den):
    return pb.VideoInput(frames=pb.RawFrames(width=width, height=height,
                                             frame_rate=pb.Rational(num=num, den=den)))


def with_config(voice=None, face=None, **fields):
    c = container_config()
    if voice:
        c.audio.CopyFrom(voice)
    if face:
        c.video.CopyFrom(face)
    for name, value in fields.items():
        getattr(c, name).MergeFrom(value)
    return [pb.SyncRequest(config=c)]


def order_rows(voice, face):
    return [
        ("no config first", [audio(voice)], INVALID, "MESSAGE_ORDER", "audio"),
        ("nothing at all", [], INVALID, "MESSAGE_ORDER", "config"),
        ("an empty message", [pb.SyncRequest()], INVALID, "MESSAGE_ORDER", ""),
        ("config twice", [config(), config()], INVALID, "MESSAGE_ORDER", "config"),
        ("data after the end", [config(), audio(voice, True), audio(b"more")], INVALID, "MESSAGE_ORDER",
         "audio"),
        ("regions without GIVEN", [config(), pb.SyncRequest(regions=pb.Regions(regions=[pb.Region()]))],
         INVALID, "MESSAGE_ORDER", "regions"),
        ("no audio", [config(), *_stubs.pieces(None, face)], INVALID, "INPUT_MISSING", "audio"),
        ("no video", [config(), *_stubs.pieces(voice, None)], INVALID, "INPUT_MISSING", "video"),
    ]


def media_rows(voice, face):
    noise = random.Random(1).randbytes(100000)
    last = media("face_last.mp4")
    return [
        ("empty audio", both(b"", face), INVALID, "MEDIA_INVALID", "audio"),
        ("empty video", both(voice, b""), INVALID, "MEDIA_INVALID", "video"),
        ("garbage for a voice", both(noise, face), INVALID, "MEDIA_*", "audio"),
        ("garbage for a face", both(voice, noise), INVALID, "MEDIA_*", "video"),
        ("truncated: no index", both(voice, last[:len(last) // 2]), INVALID, "MEDIA_INVALID", "video"),
        ("a text", both(voice, b"#EXTM3U\nhttp://127.0.0.1/x.ts\n" * 20), INVALID, "MEDIA_*", "video"),
        ("sound only as video", both(voice, media("voice.mp4")), INVALID, "MEDIA_UNSUPPORTED", "video"),
        ("picture only as voice", both(face, face), INVALID, "MEDIA_UNSUPPORTED", "audio"),
        ("a still as a container", both(voice, media("still.jpg")), INVALID, "MEDIA_UNSUPPORTED", "video"),
        ("a video as a still", [*with_config(face=pb.VideoInput(still=pb.Still())),
                                *_stubs.pieces(voice, face)], INVALID, "MEDIA_UNSUPPORTED", "video"),
        ("a voice of 10 ms", [*with_config(voice=pb.AudioInput(pcm=pb.Pcm(sample_rate_hz=16000))),
                              *_stubs.pieces(bytes(320), face)], INVALID, "AUDIO_TOO_SHORT", "audio"),
    ]


def field_rows():
    missing_fail = pb.Face(choose=pb.FACE_CHOICE_GIVEN, missing=pb.FACE_MISSING_FAIL)
    given = pb.SyncConfig(audio=pb.AudioInput(container=pb.Container()),
                          video=pb.VideoInput(container=pb.Container()), face=missing_fail)
    rows = [
        ("no inputs named", [pb.SyncRequest(config=pb.SyncConfig())], INVALID, "REQUIRED", "config.audio"),
        ("zero sizes", with_config(face=frames(0, 0, 25, 1)), INVALID, "REQUIRED",
         "config.video.frames.width"),
        ("a negative size", with_config(face=frames(64, -1, 25, 1)), INVALID, "*",
         "config.video.frames.height"),
        ("a huge size", with_config(face=frames(1 << 30, 1 << 30, 25, 1)), INVALID, "LIMIT",
         "config.video.frames.width"),
        ("an absurd rate", with_config(face=frames(64, 64, 1000000, 1)), INVALID, "LIMIT",
         "config.video.frames.frame_rate"),
        ("a rate of 0/0", with_config(face=frames(64, 64, 0, 0)), INVALID, "REQUIRED",
         "config.video.frames.frame_rate"),
        ("a rate by zero", with_config(face=pb.VideoInput(still=pb.Still(
            frame_rate=pb.Rational(num=25)))), INVALID, "*", "config.video.still.frame_rate"),
        ("a voice of 1 Hz", with_config(voice=pb.AudioInput(pcm=pb.Pcm(sample_rate_hz=1))), INVALID,
         "OUT_OF_RANGE", "config.audio.pcm.sample_rate_hz"),
        ("99 channels", with_config(voice=pb.AudioInput(pcm=pb.Pcm(sample_rate_hz=16000, channels=99))),
         INVALID, "OUT_OF_RANGE", "config.audio.pcm.channels"),
        ("an unknown container", with_config(output=pb.Output(container=99)), INVALID, "NOT_SUPPORTED",
         "config.output.container"),
        ("an offset of 10 s", with_config(face=None, timing=pb.Timing(audio_offset_ms=9999)), INVALID,
         "OUT_OF_RANGE", "config.timing.audio_offset_ms"),
        ("crf 99", with_config(output=pb.Output(crf=99)), INVALID, "OUT_OF_RANGE", "config.output.crf"),
        ("a frame without a face", [
            pb.SyncRequest(config=given),
            pb.SyncRequest(regions=pb.Regions(regions=[pb.Region()])),
            *_stubs.pieces(media("voice_short.wav"), media("face_tiny.mp4"))], PRECONDITION,
         "FACE_NOT_FOUND", ""),
        ("a message too large", [config(), video(bytes(3 << 20))], EXHAUSTED, "LIMIT_EXCEEDED", ""),
    ]
    if _stubs.has_face():
        no_face = container_config(box=False, face=pb.Face(missing=pb.FACE_MISSING_FAIL))
        rows.append(("no face anywhere", [pb.SyncRequest(config=no_face),
                                          *_stubs.pieces(media("voice_short.wav"), media("no_face.mp4"))],
                     PRECONDITION, "FACE_NOT_FOUND", ""))
    else:
        print("note: no detector or no portrait; detection is not tested")
    return rows


def good(server, name):
    with server.channel() as channel:
        result = _stubs.sync(channel, container_config(), media("voice_short.wav"), media("face_tiny.mp4"))
    check("good call after: " + name, result.ok() and result.summary.frames_out == 5, result)


def matches(want, have):
    if want.endswith("*"):
        return any(h.startswith(want[:-1]) for h in have)
    return want in have


def run_rows(server, rows):
    for name, requests, code, reason, field in rows:
        with server.channel() as channel:
            result = _stubs.run_call(channel, requests, timeout=30 * SLOW)
        fields = [f for f, _ in result.fields]
        right = result.code == code and matches(reason, result.reasons())
        if field and code == INVALID:
            right = right and field in fields
        check(name, right, result)
        good(server, name)


def every_violation(server):
    c = container_config(output=pb.Output(crf=77, chunk_bytes_max=1),
                         paste=pb.Paste(), timing=pb.Timing(audio_offset_ms=-501))
    c.paste.strength.value = float("nan")
    c.face.pads.top = 5000
    c.silence.hold_ms.value = -1
    with server.channel() as channel:
        result = _stubs.run_call(channel, [pb.SyncRequest(config=c)], timeout=20)
    fields = {field for field, _ in result.fields}
    want = {"config.output.crf", "config.output.chunk_bytes_max", "config.timing.audio_offset_ms",
            "config.paste.strength", "config.silence.hold_ms"}
    check("every violation at once", result.code == INVALID and want <= fields, result)


def no_protobuf(server):
    with server.channel() as channel:
        call = channel.stream_stream("/lipstream.v1.LipSync/Sync", lambda m: m, lambda m: m)
        for name, body in (("no protobuf", b"\xff\xff\xff\xff"), ("a length beyond the end", b"\x0a\x7f\x01")):
            result = _stubs.Result()
            try:
                replies = call(iter([body]), timeout=20)
                list(replies)
            except grpc.RpcError:
                _stubs.take_error(result, replies)
            check(name, result.code == INVALID and "MESSAGE_ORDER" in result.reasons(), result)
        unknown = channel.unary_unary("/lipstream.v1.LipSync/Nothing", lambda m: m, lambda m: m)
        try:
            unknown(b"", timeout=20)
            check("unknown method", False, "it answered")
        except grpc.RpcError as error:
            check("unknown method", error.code() == grpc.StatusCode.UNIMPLEMENTED, error)
    good(server, "no protobuf")


def held_open(done, *requests):
    """Requests of a caller that then says nothing, until the test is done with it."""
    yield from requests
    done.wait(60)


def deadline(server):
    done = threading.Event()
    with server.channel() as channel:
        result = _stubs.run_call(channel, held_open(done, config(), audio(media("voice.wav"))), timeout=1)
    done.set()
    check("deadline", result.code == grpc.StatusCode.DEADLINE_EXCEEDED and result.seconds < 5, result)
    good(server, "deadline")


def silent_caller(server):
    done = threading.Event()
    with server.channel() as channel:
        result = _stubs.run_call(channel, held_open(done, config(), audio(media("voice.wav"))), timeout=40)
    done.set()
    check("a caller that sends nothing", result.code == grpc.StatusCode.DEADLINE_EXCEEDED
          and "INPUT_IDLE" in result.reasons(), result)
    good(server, "a caller that sends nothing")


def never_reads(server):
    """Raw pictures of 11 MB that nobody reads: the server holds a bounded part and then gives up."""
    before = server.usage()["rss_kb"]
    c = container_config(output=pb.Output(container=pb.OUTPUT_CONTAINER_NONE, video=pb.VIDEO_CODEC_RGB24))
    # The lesser window: otherwise gRPC's own buffers would take most of it.
    options = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65536)]
    with grpc.insecure_channel(server.address, options) as channel:
        requests = [pb.SyncRequest(config=c), *_stubs.pieces(media("voice.wav"), media("face.mp4"))]
        call = pb_grpc.LipSyncStub(channel).Sync(iter(requests), timeout=60)
        time.sleep(1.5)
        held = server.usage()["rss_kb"] - before
        check("never reads: memory", held < (200 << 10 if _stubs.SANITIZED else 60 << 10), "%d kB" % held)
        time.sleep(2.5)
        result, size = _stubs.Result(), 0
        try:
            for reply in call:
                size += len(reply.media.data)
            result.code = call.code()
        except grpc.RpcError:
            _stubs.take_error(result, call)
    check("never reads: status", result.code == grpc.StatusCode.DEADLINE_EXCEEDED
          and "OUTPUT_STALLED" in result.reasons(), result)
    check("never reads: it was not all made", size < 50 * 320 * 240 * 3, size)
    good(server, "never reads")


def back_to(server, before, what):
    """All that a call held comes back: threads, files, decode processes, and memory but for caches."""
    def over(now):
        # gRPC's own pool keeps a thread or two more than it had.
        room = {"threads": 2, "fds": 0, "children": 0, "rss_kb": (300 if _stubs.SANITIZED else 60) << 10}
        return [k for k in room if now[k] > before[k] + room[k]]

    end = time.monotonic() + 10 * SLOW
    now = server.usage()
    while over(now) and time.monotonic() < end:
        time.sleep(0.1)
        now = server.usage()
    check(what + ": all comes back", not over(now), "before %s, now %s" % (before, now))


def cancelled(server):
    before = server.usage()
    for after in (0, 1, 3, 6):
        with server.channel() as channel:
            requests = both(media("voice_long.wav"), media("face_long.mp4"))
            call = pb_grpc.LipSyncStub(channel).Sync(iter(requests), timeout=60)
            try:
                for i, _ in enumerate(call):
                    if i >= after:
                        call.cancel()
            except grpc.RpcError as error:
                check("cancelled after %d replies" % after, error.code() == grpc.StatusCode.CANCELLED, error)
    back_to(server, before, "cancelled")
    good(server, "cancelled")


def full(server):
    done, running = threading.Event(), []
    with server.channel() as channel:
        for _ in range(3):
            call = pb_grpc.LipSyncStub(channel).Sync(held_open(done, config()), timeout=30)
            next(call)
            running.append(call)
        result = _stubs.run_call(channel, [config()], timeout=20)
        check("full", result.code == EXHAUSTED and result.reason == "SESSIONS_FULL"
              and result.retry_s is not None, result)
        for call in running:
            call.cancel()
    done.set()
    end = time.monotonic() + 10
    info = None
    with server.channel() as channel:
        while time.monotonic() < end and (info is None or info.sessions_running):
            info = pb_grpc.LipSyncStub(channel).GetServerInfo(pb.GetServerInfoRequest(), timeout=10)
    check("full: places come back", info.sessions_free == 3 and info.sessions_running == 0, info.sessions_free)
    good(server, "full")


def main():
    voice, face = media("voice_short.wav"), media("face_tiny.mp4")
    idle = str(2000 * SLOW)
    with _stubs.start_server("--sessions-max", "3", "--input-idle-max", idle, "--output-idle-max",
                             str(1500)) as server:
        good(server, "start")
        good(server, "start, again")
        before = server.usage()
        run_rows(server, order_rows(voice, face))
        run_rows(server, media_rows(voice, face))
        run_rows(server, field_rows())
        for test in (every_violation, no_protobuf, deadline, silent_caller, never_reads, cancelled, full):
            test(server)
        back_to(server, before, "the end")
    _stubs.finish()


main()
