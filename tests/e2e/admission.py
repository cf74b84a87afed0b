# SPDX-License-Identifier: Apache-2.0
# Who gets a place: refused at header time, the line with its positions and its end, the two priorities, what
# sessions hold together (frames, disk), and live streams beyond what can be kept in time.
import contextlib
import os
import queue
import threading
import time

import grpc

from _stubs import Result, check, finish, pb, pb_grpc, start_server, take_error

W, H = 96, 80
FRAME = bytes(range(256)) * (W * H * 3 // 2 // 256) + b"\x80" * (W * H * 3 // 2 % 256)
SECOND = b"".join(int(9000 * ((i * 7) % 101 / 50 - 1)).to_bytes(2, "little", signed=True) for i in range(16000))
FULL, EXHAUSTED = "SESSIONS_FULL", grpc.StatusCode.RESOURCE_EXHAUSTED


def config(rate=25, width=W, height=H, **more):
    c = pb.SyncConfig(
        audio=pb.AudioInput(pcm=pb.Pcm(sample_rate_hz=16000)),
        video=pb.VideoInput(frames=pb.RawFrames(width=width, height=height,
                                                frame_rate=pb.Rational(num=rate, den=1))), **more)
    c.face.fixed_box.CopyFrom(pb.Box(left=20, top=16, right=76, bottom=72))
    c.report.progress_interval.FromMilliseconds(100)
    return pb.SyncRequest(config=c)


class Caller:
    """A call that is driven step by step; its replies are taken by a thread."""

    def __init__(self, server, priority=None, timeout=50):
        self.channel = server.channel()
        self.requests, self.replies, self.times = queue.Queue(), [], []
        self.result, self.started, self.ended = Result(), time.monotonic(), None
        metadata = [("lipstream-priority", priority)] if priority else None
        self.call = pb_grpc.LipSyncStub(self.channel).Sync(iter(self.requests.get, None), timeout=timeout,
                                                           metadata=metadata)
        self.thread = threading.Thread(target=self.take, daemon=True)
        self.thread.start()

    def take(self):
        try:
            for reply in self.call:
                self.times.append(time.monotonic())
                self.replies.append(reply)
            self.result.code = self.call.code()
        except grpc.RpcError:
            take_error(self.result, self.call)
        self.ended = time.monotonic()

    def send(self, *requests):
        for request in requests:
            self.requests.put(request)
        return self

    def media(self, frames, seconds=0.0, end=False):
        if frames:
            self.send(*[pb.SyncRequest(video=pb.InputChunk(data=FRAME)) for _ in range(frames)])
        if seconds:
            self.send(pb.SyncRequest(audio=pb.InputChunk(data=(SECOND * 9)[:int(seconds * 16000) * 2])))
        if end:
            self.requests.put(None)
        return self

    def whole(self):
        return self.send(config()).media(10, 0.4, end=True)

    def seen(self, kind):
        return [getattr(r, kind) for r in list(self.replies) if r.WhichOneof("response") == kind]

    def positions(self):
        return [p.queue_position for p in self.seen("progress") if p.stage == pb.STAGE_WAITING]

    def until(self, condition, seconds=15):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition(self):
                return True
            time.sleep(0.01)
        return False

    def accepted(self):
        return self.until(lambda c: c.seen("accepted"))

    def at(self, position):
        return self.until(lambda c: c.positions() and c.positions()[-1] == position)

    def end(self, seconds=30):
        self.thread.join(seconds)
        self.channel.close()
        return self.result

    def cancel(self):
        self.call.cancel()
        self.end()


def refused(name, caller, reason, within=2.0):
    """At header time: nothing of the caller's body was sent."""
    r = caller.end()
    check(name, r.code == EXHAUSTED and r.reason == reason and r.retry_s, r)
    check(name + ", soon", caller.ended - caller.started < within, caller.ended - caller.started)
    return r


def completes(name, caller):
    r = caller.end()
    return check(name, r.code == grpc.StatusCode.OK and len(caller.seen("summary")) == 1, r)


def free_places(server):
    with server.channel() as channel:
        info = pb_grpc.LipSyncStub(channel).GetServerInfo(pb.GetServerInfoRequest(), timeout=10)
        return info.sessions_running, info.sessions_free


def nice_decoders(server):
    """How many decode processes come after the others at the processor."""
    count = 0
    with open("/proc/%d/task/%d/children" % (server.pid, server.pid)) as file:
        for pid in file.read().split():
            with contextlib.suppress(OSError), open("/proc/%s/stat" % pid) as stat:
                count += stat.read().rsplit(")", 1)[1].split()[16] == "10"
    return count


def places_become(name, server, want):
    end = time.monotonic() + 10
    while free_places(server) != want and time.monotonic() < end:
        time.sleep(0.02)
    check(name, free_places(server) == want, free_places(server))


# --- no line -----------------------------------------------------------------------------------------------
def test_refusals():
    with start_server("--sessions-max", "3", "--batch-sessions-max", "1") as server:
        r = Caller(server, "urgent").end()
        check("bad priority", r.code == grpc.StatusCode.INVALID_ARGUMENT and
              r.fields == [("metadata.lipstream-priority", "NOT_SUPPORTED")], r)
        places_become("all free", server, (0, 3))

        batch = Caller(server, "batch").send(config())
        check("batch is accepted", batch.accepted())
        check("its decode processes yield", nice_decoders(server) == 2, nice_decoders(server))
        refused("a second of batch", Caller(server, "batch"), FULL)
        silent = Caller(server)  # headers alone take the place
        places_become("headers take a place", server, (2, 1))
        third = Caller(server, "interactive").send(config())
        check("interactive is accepted", third.accepted())
        places_become("none free", server, (3, 0))
        check("others do not yield", nice_decoders(server) == 2, nice_decoders(server))
        late = Caller(server)
        refused("headers alone beyond the places", late, FULL)
        ids = [value for key, value in [*late.call.initial_metadata(), *late.call.trailing_metadata()]
               if key == "lipstream-session-id"]
        check("a refused call has an id", len(ids) == 1 and len(ids[0]) >= 8, ids)

        silent.cancel()
        places_become("cancel frees the place", server, (2, 1))
        completes("a call in the freed place", Caller(server).whole())
        for caller in (batch, third):
            completes("calls that held on", caller.media(10, 0.4, end=True))
        places_become("all free again", server, (0, 3))
        metrics = server.metrics()
        for name, want in (('refused_total{reason="SESSIONS_FULL",class="batch"}', 1),
                           ('refused_total{reason="SESSIONS_FULL",class="interactive"}', 1),
                           ('refused_total{reason="CANCELLED",class="interactive"}', 1),
                           ('sessions_total{reason="OK",class="interactive"}', 2),
                           ('sessions_total{reason="OK",class="batch"}', 1)):
            check(name, metrics.get("lipstream_" + name) == want, metrics.get("lipstream_" + name))
        test_conflicts(server)


def test_conflicts(server):
    live = pb.Timing(live=True)
    for name, priority, request in (
            ("live and batch", "batch", config(timing=live)),
            ("live and exact", None, config(timing=live, profile=pb.PROFILE_WAV2LIP_EXACT))):
        r = Caller(server, priority).send(request).end()
        check(name, r.code == grpc.StatusCode.INVALID_ARGUMENT and
              ("config.timing.live", "CONFLICT") in r.fields, r)
    caller = Caller(server).send(config(timing=live))
    if check("live is accepted", caller.accepted(), caller.result):
        echo = caller.seen("accepted")[0].config
        check("live comes back", echo.timing.live and echo.output.latency == pb.LATENCY_MODE_LOW, echo)
    # Nothing is known of costs yet, and somebody is in.
    r = Caller(server).send(config(timing=live)).end()
    check("two live streams at once at the start", r.code == EXHAUSTED and r.reason == "LIVE_CAPACITY" and
          r.retry_s, r)
    completes("the first live stream", caller.media(10, 0.4, end=True))


# --- the line ----------------------------------------------------------------------------------------------
def test_line():
    with start_server("--sessions-max", "1", "--batch-sessions-max", "1", "--queue-max", "3",
                      "--admission-wait", "20000", "--input-idle-max", "6000", "--drain-timeout", "500") as server:
        holder = Caller(server).send(config())
        check("the holder is accepted", holder.accepted())
        low = Caller(server, "batch").whole()
        check("batch is first", low.at(1), low.positions())
        first = Caller(server).whole()
        check("interactive overtakes batch", first.at(1) and low.at(2), low.positions())
        second = Caller(server).whole()
        check("three wait", second.at(2) and low.at(3), low.positions())
        refused("the line is full", Caller(server, "batch"), FULL)
        time.sleep(1.2)
        check("told each second", first.positions().count(1) >= 2 and not first.seen("accepted"), first.positions())
        check("nothing else while it waits", len(first.replies) == len(first.positions()))

        third = Caller(server).whole()
        refused("a full line throws batch out", low, FULL, within=30)
        check("behind the others", third.at(3), third.positions())
        first.cancel()
        check("who cancels leaves the line", second.at(1) and third.at(2), third.positions())
        hurried = Caller(server, timeout=0.5)
        r = hurried.end()
        check("a deadline in the line", r.code == grpc.StatusCode.DEADLINE_EXCEEDED and hurried.positions() == [3], r)
        low = Caller(server, "batch").whole()
        check("its place in the line is free", low.at(3), low.positions())

        completes("the holder", holder.media(10, 0.4, end=True))
        for name, caller, want in (("second", second, [2, 1]), ("third", third, [3, 2, 1]),
                                   ("batch", low, [3, 2, 1])):
            completes(name, caller)
            steps = [p for i, p in enumerate(caller.positions()) if i == 0 or p != caller.positions()[i - 1]]
            check(name + " counts down", steps == [p for p in want if p in steps] and steps[0] == want[0], steps)
            check(name + " is accepted after it waited",
                  [r.WhichOneof("response") for r in caller.replies].index("accepted") == len(caller.positions()))
        check("in order", second.ended < third.ended < low.ended)

        silent = Caller(server)
        places_become("headers take the place", server, (1, 0))
        waiter = Caller(server).whole()
        check("behind one that says nothing", waiter.at(1), waiter.positions())
        r = silent.end()
        check("a place without a config", r.reason == "INPUT_IDLE" and
              r.code == grpc.StatusCode.DEADLINE_EXCEEDED and 5.5 < silent.ended - silent.started < 12, r)
        completes("it passes on", waiter)

        holder = Caller(server).send(config())
        holder.accepted()
        drained = Caller(server)
        check("waits for the drain", drained.at(1), drained.positions())
    r = drained.end()
    check("a drain empties the line", r.code == grpc.StatusCode.UNAVAILABLE and r.reason == "SHUTTING_DOWN" and
          r.retry_s, r)
    holder.end()


def test_timeout():
    with start_server("--sessions-max", "1", "--admission-wait", "700") as server:
        holder = Caller(server).send(config())
        check("the holder is accepted", holder.accepted())
        late = Caller(server)
        r = refused("waited too long", late, "QUEUE_TIMEOUT", within=5)
        check("not before its time", late.ended - late.started > 0.65, late.ended - late.started)
        completes("the holder is whole", holder.media(10, 0.4, end=True))


# --- what sessions hold together ---------------------------------------------------------------------------
def test_pixels():
    # One session holds 12 frames of 96x80: 92160 pixels.
    with start_server("--pixels-total-max", "150000") as server:
        first = Caller(server).send(config())
        check("pixels for one", first.accepted())
        r = Caller(server).send(config()).end()
        check("not for two", r.code == EXHAUSTED and r.reason == "CAPACITY_FULL" and r.retry_s, r)
        completes("the first is whole", first.media(10, 0.4, end=True))
        completes("pixels come back", Caller(server).whole())


def test_spool():
    # The picture is kept, for it may loop: 11520 bytes a frame.
    with start_server("--spool-total-max", "1048576", "--feed-bytes-ahead", "65536", "--frames-in-flight",
                      "64") as server:
        def arrived(count):
            return lambda c: any(p.frames_in >= count for p in c.seen("progress"))

        first = Caller(server).send(config()).media(60)
        check("60 frames", first.until(arrived(60)), first.result)
        second = Caller(server).send(config()).media(26)
        check("26 frames", second.until(arrived(26)), second.result)
        refused("the disk is taken: at header time", Caller(server), "CAPACITY_FULL")
        second.media(6)
        r = second.end()
        check("who needs more", r.code == EXHAUSTED and r.reason == "CAPACITY_FULL" and r.retry_s, r)
        completes("the first is whole", first.media(0, 2.4, end=True))
        completes("the disk comes back", Caller(server).whole())


# --- live streams ------------------------------------------------------------------------------------------
def test_live():
    live, rate, seconds = pb.Timing(live=True), 10, 4
    with start_server() as server:
        completes("what a frame costs is learned", Caller(server).send(config()).media(60, 2.4, end=True))
        caller = Caller(server).send(config(rate, timing=live))
        check("a live stream", caller.accepted(), caller.result)
        beside = Caller(server, "batch").send(config()).media(60, 9, end=True)  # all that the machine has
        others = []
        start = time.monotonic()
        for i in range(rate * seconds):
            at = i * 3200 % len(SECOND)
            caller.send(pb.SyncRequest(video=pb.InputChunk(data=FRAME)),
                        pb.SyncRequest(audio=pb.InputChunk(data=SECOND[at:at + 3200])))
            if i == 15:
                # More pixels a second than any two cores encode; the frames need never come.
                others = [Caller(server).send(config(120, 4096, 2160, timing=live)) for _ in range(3)]
            time.sleep(max(0.0, start + (i + 1) / rate - time.monotonic()))
        caller.requests.put(None)
        completes("the live stream is whole", caller)
        completes("who works beside it is whole", beside)
        for other in others:
            r = other.end()
            check("beyond what can be kept", r.code == EXHAUSTED and r.reason == "LIVE_CAPACITY" and r.retry_s, r)
            check("refused soon", other.ended - other.started < 3, other.ended - other.started)
        out = caller.seen("summary")[0].frames_out if caller.seen("summary") else 0
        check("all frames of the live stream", out == rate * seconds, out)
        # While it came, it also left: by the end of its input nearly all had.
        count = sum(m.frame_count for m, t in zip(caller.replies, caller.times)
                    for m in [m.media] if t < start + seconds + 0.5)
        check("in time", count >= rate * (seconds - 1.5), count)
        metrics = server.metrics()
        check("live lag is seen", metrics.get("lipstream_live_lag_seconds_count", 0) >= rate * seconds, "")


for test in (test_refusals, test_line, test_timeout, test_pixels, test_spool, test_live):
    if not os.environ.get("LS_ONLY") or os.environ["LS_ONLY"] in test.__name__:
        test()
finish()
