# SPDX-License-Identifier: Apache-2.0
# Calls that are cancelled (RST_STREAM), run into their deadline or lose their client's process, at more than
# fifty points of a call's life that are known by what was sent and what came back. After each one: how long
# until the server is as it was before it, by sessions, decode processes, descriptors and threads. Printed as
# a table; what is asserted is generous, for a test's machine is not alone.
import collections
import http.client
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import grpc

import _stubs
from _stubs import check, container_config, media, pb, pb_grpc

EVENT_S = 60  # by then a point must have come
GONE_S = 10   # by then everything must be gone
ALL_S, MEDIAN_S = (8, 2) if _stubs.SANITIZED else (2, 0.25)
BOX = {"face": pb.Face(fixed_box=pb.Box(left=100, top=60, right=200, bottom=180))}
LARGE = {"face": pb.Face(fixed_box=pb.Box(left=700, top=200, right=1200, bottom=800))}


# --- what calls are made of ------------------------------------------------------------------------------
def picture(width, height):
    """A still of this size."""
    path = os.path.join(_stubs.BUILD, "media", "still_%dx%d.jpg" % (width, height))
    if not os.path.exists(path):
        _stubs.make_media("still.jpg")  # makes the folder, or skips
        subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i",
                        "testsrc2=size=%dx%d" % (width, height), "-frames:v", "1", path], check=True)
    with open(path, "rb") as file:
        return file.read()


def still_config(**more):
    return pb.SyncConfig(audio=pb.AudioInput(container=pb.Container()), video=pb.VideoInput(still=pb.Still()),
                         **more)


def raw_config():
    config = container_config(output=pb.Output(container=pb.OUTPUT_CONTAINER_NONE))
    config.video.frames.width, config.video.frames.height = 320, 240
    config.video.frames.frame_rate.num, config.video.frames.frame_rate.den = 25, 1
    return config


def scenarios():
    slow = pb.Output(speed=pb.SPEED_PRESET_MEDIUM, crf=18)
    voice = media("voice.wav")
    return {
        "still": (still_config(**BOX), voice, media("still.jpg")),
        "video": (container_config(), voice, media("face.mp4")),
        "loop": (container_config(), voice, media("face_tiny.mp4")),
        "there and back": (container_config(fit=pb.Fit(audio_longer=pb.AUDIO_LONGER_PING_PONG)), voice,
                           media("face_tiny.mp4")),
        "raw": (raw_config(), voice, media("face.i420")),
        "detect": (container_config(box=not _stubs.has_face()), voice, media("face.mp4")),
        "low, TS": (container_config(output=pb.Output(container=pb.OUTPUT_CONTAINER_MPEG_TS,
                                                      latency=pb.LATENCY_MODE_LOW)), voice, media("face.mp4")),
        "1080p slow": (still_config(output=slow, **LARGE), voice, picture(1920, 1080)),
        "4K slow": (still_config(output=slow, **LARGE), voice, picture(4096, 2160)),
    }


# What is sent before the caller waits: "config" alone, parts of an input, all without the end, or all.
def requests(config, voice, face, send):
    yield pb.SyncRequest(config=config)
    if send == "config":
        return
    if send == "voice":
        yield from _stubs.pieces(voice, None)
    elif send == "face":
        yield from _stubs.pieces(None, face)
    elif send == "half":
        yield from _stubs.pieces(voice[:len(voice) // 2], face[:len(face) // 2], 4096, end=False)
    else:
        yield from _stubs.pieces(voice, face)


class Call:
    """Sends what it shall, counts what comes back, and then waits to be ended."""

    def __init__(self, channel, scenario, send, timeout, reads):
        self.changed, self.seen, self.over = threading.Condition(), collections.Counter(), threading.Event()
        self.started = time.monotonic()
        self.call = pb_grpc.LipSyncStub(channel).Sync(self.feed(scenario, send), timeout=timeout)
        if reads:
            threading.Thread(target=self.read, daemon=True).start()

    def count(self, what):
        with self.changed:
            self.seen[what] += 1
            self.changed.notify_all()

    def feed(self, scenario, send):
        if send != "headers":
            yield from requests(*scenario, send)
        self.count("sent")
        if send != "all":
            self.over.wait()

    def read(self):
        try:
            for reply in self.call:
                kind = reply.WhichOneof("response")
                if kind == "progress":
                    kind = pb.Stage.Name(reply.progress.stage)
                self.count(kind)
        except grpc.RpcError as error:
            self.error = error.code()
        self.count("end")

    def wait(self, what, count):
        """Whether it came so often, and the call has not ended."""
        with self.changed:
            return self.changed.wait_for(lambda: self.seen[what] >= count or self.seen["end"], EVENT_S) \
                and not self.seen["end"]


# --- the server's state ----------------------------------------------------------------------------------
class Watch:
    def __init__(self, server):
        self.server = server
        self.admin = http.client.HTTPConnection(*server.admin.rsplit(":", 1))

    def sessions(self):
        self.admin.request("GET", "/metrics")
        text = self.admin.getresponse().read().decode()
        rows = [row for row in text.splitlines() if row.startswith("lipstream_sessions_open{")]
        return sum(float(row.rsplit(" ", 1)[1]) for row in rows)

    def usage(self):
        now, tasks, threads = self.server.usage(), "/proc/%d/task" % self.server.pid, 0
        for task in os.listdir(tasks):
            try:
                with open("%s/%s/comm" % (tasks, task)) as file:
                    # Ours, libuv's and x264's; gRPC names its own, and has more or fewer of them as it likes.
                    threads += file.read().startswith("lipstreamd")
            except OSError:
                pass  # it ended meanwhile
        return {"processes": now["children"], "descriptors": now["fds"], "threads": threads}

    def idle(self):
        """The state at rest, once nothing changes any more."""
        before, end = None, time.monotonic() + 30
        while time.monotonic() < end:
            now = self.usage()
            if now == before and now["processes"] == 2 and self.sessions() == 0:
                return now
            before = now
            time.sleep(0.05)
        return before

    def until(self, before, since):
        """Seconds from `since` until each part is as it was."""
        came = {}
        while True:
            now, at = self.usage(), time.monotonic() - since
            back = {k: now[k] == before[k] if k == "processes" else now[k] <= before[k] for k in before}
            if all(back.values()):
                back["sessions"] = self.sessions() == 0
            for part, is_back in back.items():
                came.setdefault(part, at) if is_back else came.pop(part, None)
            if back.get("sessions") or at > GONE_S:
                return {part: came.get(part, float("inf")) for part in (*before, "sessions")}
            time.sleep(0.002)


# --- points ----------------------------------------------------------------------------------------------
Point = collections.namedtuple("Point", "scenario send what count how")


def points():
    yield Point("video", "headers", "sent", 1, "RST")
    for name in ("still", "raw", "detect"):
        yield Point(name, "config", "accepted", 1, "RST")
    for name in ("still", "video", "raw"):
        yield Point(name, "voice", "sent", 1, "RST")
        yield Point(name, "face", "sent", 1, "RST")
        yield Point(name, "half", "sent", 1, "RST")
    for name in ("still", "video", "loop", "there and back", "raw", "detect", "low, TS"):
        yield Point(name, "all", "accepted", 1, "RST")
        yield Point(name, "all", "STAGE_RUNNING", 1, "RST")
        yield Point(name, "all", "media", 1, "RST")
        yield Point(name, "all", "media", 3, "RST")
    for name in ("still", "video", "low, TS"):
        yield Point(name, "all", "STAGE_FINISHING", 1, "RST")
    for name in ("1080p slow", "4K slow"):
        yield Point(name, "all", "STAGE_RUNNING", 1, "RST")
        yield Point(name, "all", "media", 1, "RST")
    yield Point("1080p slow", "all", "media", 2, "RST")
    yield Point("raw", "all", "unread", 1, "RST")
    yield Point("1080p slow", "all", "unread", 1, "RST")
    for ms in (1, 60, 150, 400):
        yield Point("1080p slow", "all", "%d ms" % ms, 1, "deadline")
    yield Point("video", "half", "300 ms", 1, "deadline")
    for size in (0, 1, 30000):
        yield Point("video", "all", "%d bytes" % size, 1, "kill")


def full_size_points():
    for what in (("accepted", 1), ("STAGE_RUNNING", 1), ("media", 1), ("media", 2)):
        yield Point("video", "all", *what, "RST")
    yield Point("video", "all", "300 ms", 1, "deadline")


def run_rst(watch, channel, point, scenario):
    before = watch.idle()
    call = Call(channel, scenario, point.send, EVENT_S, point.what != "unread")
    if point.what == "unread" or point.send == "headers":
        time.sleep(1)
        came = True
    else:
        came = call.wait("accepted", 1) and call.wait(point.what, point.count)
    since = time.monotonic()
    call.call.cancel()
    call.over.set()
    return came, watch.until(before, since)


def run_deadline(watch, channel, point, scenario):
    before = watch.idle()
    seconds = int(point.what.split()[0]) / 1000
    call = Call(channel, scenario, point.send, seconds, True)
    call.wait("end", 1)
    came = getattr(call, "error", None) == grpc.StatusCode.DEADLINE_EXCEEDED
    call.over.set()
    return came, watch.until(before, call.started + seconds)


def run_kill(watch, point):
    """The client's process, and with it the connection, as soon as it has written so many bytes."""
    before, size = watch.idle(), int(point.what.split()[0])
    with tempfile.TemporaryDirectory(dir=_stubs.BUILD) as folder:
        out = os.path.join(folder, "out.mp4")
        client = subprocess.Popen(
            [_stubs.CLIENT, "sync", "--server", watch.server.address, "--fixed-box", "100,60,200,180", "--pace",
             "4", _stubs.make_media("face_long.mp4"), _stubs.make_media("voice_long.wav"), out],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + EVENT_S
        came = False
        while not came and client.poll() is None and time.monotonic() < end:
            part = out + ".part"
            came = watch.sessions() > 0 if size == 0 else os.path.exists(part) and os.path.getsize(part) >= size
            time.sleep(0.005)
        since = time.monotonic()
        client.kill()
        client.wait()
        return came, watch.until(before, since)


def run_points(server, all_points, label, rows):
    watch, makings = Watch(server), scenarios()
    with server.channel() as channel:
        good = _stubs.sync(channel, *makings["loop"])
        check(label + "a call before", good.ok(), good)
        for point in all_points:
            name = "%s%s, %s sent, %s%s, %s" % (label, point.scenario, point.send, point.what,
                                                " x%d" % point.count if point.count > 1 else "", point.how)
            if point.how == "kill" and not os.path.exists(_stubs.CLIENT):
                continue
            if point.how == "kill":
                came, seconds = run_kill(watch, point)
            else:
                run = run_rst if point.how == "RST" else run_deadline
                came, seconds = run(watch, channel, point, makings[point.scenario])
            check(name + ": the point came", came)
            rows.append((name, seconds))
        again = _stubs.sync(channel, *makings["loop"])
        check(label + "a call afterwards", again.ok() and again.sha256() == good.sha256(), again)


def report(rows):
    totals = sorted(max(seconds.values()) for _, seconds in rows)
    print("%-62s %9s %9s %9s %9s" % ("ms until all is as before", "processes", "descript.", "threads", "sessions"))
    for name, s in rows:
        print("%-62s %9.1f %9.1f %9.1f %9.1f" % (name, *(1000 * s[k] for k in
                                                         ("processes", "descriptors", "threads", "sessions"))))
    print("%d points: median %.1f ms, 90 %% %.1f ms, most %.1f ms" % (
        len(rows), 1000 * statistics.median(totals), 1000 * totals[len(totals) * 9 // 10], 1000 * totals[-1]))
    check("fifty points", len(rows) >= 50, len(rows))
    check("everything comes back", totals[-1] < ALL_S, totals[-1])
    check("half of it within %g s" % MEDIAN_S, statistics.median(totals) < MEDIAN_S, statistics.median(totals))


def full_size_model():
    """A network of the original's size with random weights, or None."""
    path, maker = os.path.join(_stubs.BUILD, "wide.safetensors"), os.path.join(_stubs.BUILD, "bench_wide")
    if not os.path.exists(path) and os.path.exists(maker):
        subprocess.run([maker, path + ".part"], check=True)
        os.rename(path + ".part", path)
    return path if os.path.exists(path) else None


def main():
    rows = []
    # Two x264 threads a session, so that threads come and go; memory is looked at after the first calls.
    flags = "--admin-listen", "127.0.0.1:0", "--encode-threads", "2", "--frames-in-flight", "12"
    with _stubs.start_server(*flags) as server:
        run_points(server, list(points()), "", rows)
        after = server.usage()["rss_kb"]
        run_points(server, [p for p in points() if p.send == "half"], "again: ", rows)
        more = server.usage()["rss_kb"] - after
        check("memory comes back", more < (200 if _stubs.SANITIZED else 40) << 10, "%d kB more" % more)
    model = full_size_model()
    if model:
        with _stubs.start_server(*flags, "--model", model) as server:
            run_points(server, list(full_size_points()), "full size: ", rows)
    else:
        print("note: bench_wide is not built; no network of full size")
    report(rows)
    _stubs.finish()


if __name__ == "__main__":
    main()
    sys.exit(0)
