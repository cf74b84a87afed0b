# SPDX-License-Identifier: Apache-2.0
"""Callers for the load benches and tests: many at once in one process, as cheap as Python can be.

They run on the server's own processors, so every message is built and serialised before the first call; a call
costs a write a frame and a read a reply on one asyncio loop (gRPC's own thread does the rest). A live call
sends each frame when it is due, the voice half a second ahead of it, and begins when it is accepted. The lag of
a frame is from the moment at which it was due to be sent to the arrival of the last message with a part of it.
"""
import asyncio
import hashlib
import os
import random
import subprocess
import sys
import time

import grpc
from google.rpc import error_details_pb2, status_pb2

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
os.environ.setdefault("LS_BUILD", os.path.join(ROOT, "build", "release"))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))

import _stubs  # noqa: E402 (it wants LS_BUILD)
from _stubs import pb  # noqa: E402

import gpu_caller  # noqa: E402

SYNC = "/lipstream.v1.LipSync/Sync"
RATE = 25
SIZE = (320, 240)
STEP_S = 0.2         # of voice in one message
VOICE_AHEAD_S = 0.5  # as whoever makes voices has them early; a frame hears 0.21 s past itself
OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0),
           ("grpc.max_receive_message_length", 16 << 20), ("grpc.max_send_message_length", 16 << 20)]


# --- what is sent ----------------------------------------------------------------------------------------
def _ffmpeg(path, *arguments):
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        head, tail = os.path.split(path)
        part = os.path.join(head, "part-%d-%s" % (os.getpid(), tail))
        subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", *arguments, part], check=True)
        os.rename(part, path)
    with open(path, "rb") as file:
        return file.read()


def _face(seconds, rate):
    """The demo's portrait, or the tests', moving a little; without one a test picture."""
    for portrait in (os.path.join(ROOT, "build", "demo", "portrait.jpg"), _stubs._portrait()):
        if portrait and os.path.exists(portrait):
            return True, ["-loop", "1", "-framerate", str(rate), "-t", "%g" % seconds, "-i", portrait, "-vf",
                          "scale=336:252:force_original_aspect_ratio=increase,"
                          "crop=%d:%d:x='8+6*sin(t*3)':y='4+4*sin(t*2)'" % SIZE]
    return False, ["-f", "lavfi", "-i", "testsrc=size=%dx%d:rate=%d:duration=%g" % (*SIZE, rate, seconds)]


class Clip:
    """Everything that a call of `seconds` sends, serialised. source: "ts" (H.264 in MPEG-TS, a message a
    frame) or "raw" (I420 frames; size and rate stand in the config). box: given, so that nothing is detected."""

    def __init__(self, seconds, source="ts", rate=RATE, box=False):
        self.seconds, self.source, self.rate, self.count = seconds, source, rate, round(seconds * rate)
        folder = os.path.join(_stubs.BUILD, "load")
        has_face, face = _face(seconds, rate)
        name = os.path.join(folder, "face-%d-%g-%g." % (has_face, seconds, rate))
        pcm = _ffmpeg(os.path.join(folder, "voice-%g.pcm" % seconds), *_stubs._voice_source(seconds), "-f", "s16le")
        if source == "raw":
            data = _ffmpeg(name + "i420", *face, "-pix_fmt", "yuv420p", "-f", "rawvideo")
            sizes = [SIZE[0] * SIZE[1] * 3 // 2] * self.count
        else:
            data = _ffmpeg(name + "ts", *face, *_stubs._X264, "-bf", "0", "-muxdelay", "0", "-f", "mpegts")
            sizes = gpu_caller.frame_sizes(data)
        if len(sizes) != self.count:
            raise ValueError("%d frames in the clip, not %d" % (len(sizes), self.count))
        self.box = box or not has_face or _stubs.detector() is None
        self.frames, self.voice, at = [], [], 0
        for i, size in enumerate(sizes):
            self.frames.append(request("video", data[at:at + size], i == self.count - 1))
            at += size
        step = int(STEP_S * 16000) * 2
        for at in range(0, len(pcm), step):
            self.voice.append(request("audio", pcm[at:at + step], at + step >= len(pcm)))

    def config(self, live=False, **more):
        config = pb.SyncConfig(audio=pb.AudioInput(pcm=pb.Pcm(sample_rate_hz=16000)), **more)
        config.video.container.SetInParent()
        if self.source == "raw":
            config.video.frames.CopyFrom(pb.RawFrames(width=SIZE[0], height=SIZE[1],
                                                      frame_rate=pb.Rational(num=self.rate, den=1)))
        if self.box:
            config.face.fixed_box.CopyFrom(pb.Box(left=100, top=60, right=200, bottom=180))
        if not config.HasField("output"):
            config.output.latency = pb.LATENCY_MODE_LOW
        # Every frame costs the same: nothing is left as it is because the voice pauses.
        config.silence.policy = pb.SILENCE_POLICY_GENERATE
        config.report.progress_interval.seconds = 60
        config.timing.live = live
        return pb.SyncRequest(config=config).SerializeToString()

    def mixed(self):
        """All messages in the order in which a live source has them."""
        for i, frame in enumerate(self.frames):
            yield from self.due_voice(i)
            yield frame

    def due_voice(self, i):
        """Voice messages that leave with frame i: all that begin before its time and VOICE_AHEAD_S."""
        def upto(frame):
            return min(len(self.voice), int((frame / self.rate + VOICE_AHEAD_S) / STEP_S) + 1)

        return self.voice[upto(i - 1) if i else 0:upto(i) if i < self.count - 1 else len(self.voice)]


def request(kind, data, end=False):
    return pb.SyncRequest(**{kind: pb.InputChunk(data=data, end=end)}).SerializeToString()


# --- what a call came to -----------------------------------------------------------------------------------
class Outcome:
    def __init__(self, kind, rate=RATE):
        self.kind, self.rate, self.begun = kind, rate, time.monotonic()
        self.accepted_at = self.ended = self.first_at = self.origin = None
        self.code, self.reason, self.text, self.retry_s = None, "", "", None
        self.frames, self.size, self.lags, self.arrivals = 0, 0, [], []
        self.digest, self.summary, self.session = hashlib.sha256(), None, ""

    @property
    def ok(self):
        return (self.code == grpc.StatusCode.OK and self.summary is not None
                and self.summary.bytes_out == self.size and self.summary.sha256 == self.digest.digest())

    @property
    def refused(self):
        """Nothing came of it, and the caller knows when to come again."""
        return (not self.size and self.retry_s is not None
                and self.code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE))

    @property
    def refused_cleanly(self):
        """And nothing of it was consumed."""
        return self.refused and self.accepted_at is None

    @property
    def refusal_s(self):
        """From the call's start; a promise that cannot be given is known when the picture is: from there."""
        return self.ended - (self.origin or self.begun)

    def take(self, reply):
        kind = reply.WhichOneof("response")
        if kind == "media":
            now, media = time.monotonic(), reply.media
            self.first_at = self.first_at or now
            self.size += len(media.data)
            self.digest.update(media.data)
            upto = media.first_frame + media.frame_count if media.frame_count else self.frames
            if self.origin is not None:
                for i in range(self.frames, upto):
                    self.lags.append((now, now - self.origin - i / self.rate))
            self.arrivals.append((now, max(0, upto - self.frames)))
            self.frames = max(self.frames, upto)
        elif kind == "summary":
            self.summary = reply.summary
        elif kind == "accepted":
            self.accepted_at, self.session = time.monotonic(), reply.accepted.session_id

    async def end(self, call):
        self.code, self.text = await call.code(), await call.details() or ""
        self.ended = time.monotonic()
        for key, value in await call.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                self.details(status_pb2.Status.FromString(value))

    def details(self, status):
        for detail in status.details:
            info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                self.reason = info.reason
            elif detail.Unpack(retry):
                self.retry_s = retry.retry_delay.seconds + retry.retry_delay.nanos * 1e-9

    def __str__(self):
        told = (self.summary.bytes_out, self.summary.sha256.hex()[:8]) if self.summary else "no summary"
        return "%s: %s %s %s, %d frames, %d bytes %s (%s)" % (self.kind, self.code, self.reason, self.text, self.frames,
                                                             self.size, self.digest.hexdigest()[:8], told)


# --- calls -------------------------------------------------------------------------------------------------
def channel(address, credentials=None, name=None):
    """name: that of the server's certificate, if it is not the address."""
    if credentials:
        return grpc.aio.secure_channel(address, credentials,
                                       OPTIONS + ([("grpc.ssl_target_name_override", name)] if name else []))
    return grpc.aio.insecure_channel(address, OPTIONS)


def open_call(on, metadata=(), timeout=None):
    """Requests are bytes already; replies are parsed."""
    call = on.stream_stream(SYNC, None, pb.SyncResponse.FromString)(metadata=metadata, timeout=timeout)
    call.add_done_callback(lambda _: call._metadata_sent.set())  # it may end before it got a connection
    return call


async def write(call, messages):
    """False when the call ended meanwhile; its status is told by the reads. Past grpc.aio's own write(), which
    makes the status INTERNAL when a refusal overtakes a message that is being sent (1.85, _call.py)."""
    await call._metadata_sent.wait()
    for message in messages:
        if call.done():
            return False
        try:
            await call._cython_call.send_serialized_message(message)
        except grpc._cython.cygrpc.InternalError:
            return False
    return not call.done()


async def _send_paced(call, clip, outcome, accepted):
    await accepted.wait()
    outcome.origin = time.monotonic()
    for i, frame in enumerate(clip.frames):
        wait = outcome.origin + i / clip.rate - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        if not await write(call, [*clip.due_voice(i), frame]):
            return
    await call.done_writing()


async def _send_all(call, clip):
    if await write(call, clip.mixed()):
        await call.done_writing()


async def read(call, outcome, accepted):
    try:
        async for reply in call:
            outcome.take(reply)
            if outcome.accepted_at:
                accepted.set()
    except (grpc.aio.AioRpcError, asyncio.CancelledError):
        pass
    await outcome.end(call)


async def run(on, clip, kind, config, paced, metadata=(), timeout=None):
    """One whole call. paced: frame by frame when each is due, from the moment of acceptance on."""
    outcome, accepted = Outcome(kind, clip.rate), asyncio.Event()
    call = open_call(on, metadata, timeout)
    sender = None
    if await write(call, [config]):
        sender = asyncio.ensure_future(_send_paced(call, clip, outcome, accepted) if paced
                                       else _send_all(call, clip))
    await read(call, outcome, accepted)
    if sender:
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)
    return outcome


async def capacity(on, clip, streams, seconds):
    """Frames a second of calls that are as fast as they can be: what the machine can take, callers included."""
    end, outcomes = time.monotonic() + seconds, []

    async def again():
        while time.monotonic() < end:
            outcomes.append(await run(on, clip, "capacity", clip.config(), False))

    await asyncio.gather(*(again() for _ in range(streams)))
    bad = [o for o in outcomes if not o.ok]
    if bad:
        raise RuntimeError("a call failed on an idle server: %s" % bad[0])
    # The first second is the start of all, the last ones have fewer callers.
    since = min(o.begun for o in outcomes) + 1
    return sum(n for o in outcomes for t, n in o.arrivals if since <= t < end) / (end - since)


def arrivals(rate, seconds, seed=1):
    """Moments of a Poisson process: callers that know nothing of each other."""
    rng, at = random.Random(seed), 0.0
    while True:
        at += rng.expovariate(rate)
        if at >= seconds:
            return
        yield at
