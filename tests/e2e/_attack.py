# SPDX-License-Identifier: Apache-2.0
# The stage on which attacks.py plays: a good caller that calls again and again, each time with bytes equal
# to the lone run's; what the server has in use before, at most during, and after an attack; a row for each.
import contextlib
import os
import subprocess
import threading
import time

import grpc

import _stubs
from _stubs import check, container_config, media, pb, pb_grpc

CLEAN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)


class Good:
    """A caller beside an attack. refusals: later calls may be turned away, the first one not."""

    def __init__(self, channel, want, kind="voice_short.wav", refusals=False):
        self.channel, self.want, self.kind, self.refusals = channel, want, kind, refusals
        self.results, self.running, self.begun = [], True, threading.Event()
        self.thread = threading.Thread(target=self.loop)
        self.thread.start()

    def loop(self):
        while self.running:
            self.begun.set()
            self.results.append(one_call(self.channel, self.kind))
            if self.results[-1].code != grpc.StatusCode.OK:
                time.sleep(0.1)

    def stop(self, name):
        self.running = False
        self.thread.join()
        wrong = [str(r) for i, r in enumerate(self.results)
                 if not (r.ok() and r.sha256() == self.want[self.kind])
                 and not (self.refusals and i and r.code in CLEAN)]
        check(name + ": the good caller's streams are whole", not wrong,
              "%d of %d: %s" % (len(wrong), len(self.results), wrong[:2]))
        return len([r for r in self.results if r.ok()]), max(r.seconds for r in self.results)


def one_call(channel, kind="voice_short.wav"):
    return _stubs.sync(channel, container_config(), media(kind), media("face_tiny.mp4"), timeout=60)


class Stage:
    """room_kb: how much more memory the server may have afterwards, and at most meanwhile."""

    def __init__(self, server, tls=None, room_kb=(100 << 10, 160 << 10)):
        self.server, self.tls, self.room_kb, self.rows = server, tls, room_kb, []
        self.port, self.want = server.port, {}
        with self.channel() as channel:
            for kind in ("voice_short.wav", "voice.wav"):
                result = one_call(channel, kind)
                check("lone run, " + kind, result.ok(), result)
                self.want[kind] = result.sha256()
            for _ in range(3):
                one_call(channel)
        time.sleep(0.5)
        self.before = server.usage()

    def channel(self):
        if not self.tls:
            return self.server.channel()
        with open(self.tls[0], "rb") as file:
            trust = grpc.ssl_channel_credentials(file.read())
        return grpc.secure_channel("localhost:%d" % self.port, trust, [
            ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)])

    def answers(self, name, seconds=10):
        """A new caller gets in."""
        started = time.monotonic()
        with self.channel() as channel:
            info = pb_grpc.LipSyncStub(channel)
            try:
                info.GetServerInfo(pb.GetServerInfoRequest(), timeout=seconds, wait_for_ready=True)
            except grpc.RpcError as error:
                return check(name + ": a new caller is answered", False, error)
            result = one_call(channel)
            # Places that cancelled calls held come back one by one.
            while result.code in CLEAN and time.monotonic() < started + seconds:
                time.sleep(0.2)
                result = one_call(channel)
        check(name + ": a new caller is answered", True)
        check(name + ": a new caller's stream is whole",
              result.ok() and result.sha256() == self.want["voice_short.wav"], result)
        return time.monotonic() - started

    def causes(self):
        """Connections that the server closed, by cause."""
        try:
            rows = self.server.metrics()
        except Exception:  # no such port
            return {}
        prefix = 'lipstream_connections_closed_total{cause="'
        return {name[len(prefix):-2]: value for name, value in rows.items() if name.startswith(prefix)}

    @contextlib.contextmanager
    def attack(self, name, *causes, good="voice_short.wav", refusals=False):
        """causes: why connections are closed then; each must count at least one."""
        started, counted = time.monotonic(), self.causes()
        self._forget_peak()
        with self.channel() as channel:
            caller = Good(channel, self.want, good, refusals)
            caller.begun.wait()
            try:
                yield caller
            finally:
                lasted = time.monotonic() - started
                calls, slowest = caller.stop(name)
        check(name + ": the server lives", self.server.process.poll() is None, self.server.stderr()[-3000:])
        self.answers(name)
        now = self.causes()
        for cause in causes:
            more = now.get(cause, 0) - counted.get(cause, 0)
            check("%s: closed as '%s'" % (name, cause), more > 0, "before %s, after %s" % (counted, now))
        peak = self._peak()
        self._settled(name)
        self.rows.append((name, lasted, calls, slowest, peak - self.before["rss_kb"]))

    def _forget_peak(self):
        with contextlib.suppress(OSError), open("/proc/%d/clear_refs" % self.server.pid, "w") as file:
            file.write("5")

    def _peak(self):
        with open("/proc/%d/status" % self.server.pid) as file:
            return int(next(line for line in file if line.startswith("VmHWM")).split()[1])

    def _settled(self, name):
        # gRPC's own pool keeps some threads more than it had.
        room = {"threads": 6, "fds": 0, "children": 0, "rss_kb": self.room_kb[0]}
        if _stubs.SANITIZED:
            del room["rss_kb"]
        else:
            check(name + ": memory stays bounded", self._peak() - self.before["rss_kb"] < self.room_kb[1],
                  "%d kB, before %d kB" % (self._peak(), self.before["rss_kb"]))
        end = time.monotonic() + 12
        while True:
            now = self.server.usage()
            over = [key for key in room if now[key] > self.before[key] + room[key]]
            if not over or time.monotonic() > end:
                return check(name + ": all comes back", not over, "before %s, now %s" % (self.before, now))
            time.sleep(0.1)

    def report(self):
        for name, lasted, calls, slowest, peak in self.rows:
            print("%-42s %5.1f s, %3d good calls, slowest %4.1f s, memory +%d MB" %
                  (name, lasted, calls, slowest, max(peak, 0) >> 10))


def certificate():
    """A self-signed certificate for localhost and its key, made on first use."""
    cert, key = (os.path.join(_stubs.BUILD, "attacks." + end) for end in ("crt", "key"))
    if not os.path.exists(cert):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                        "-nodes", "-days", "30", "-subj", "/CN=localhost", "-addext",
                        "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert],
                       check=True, stderr=subprocess.DEVNULL)
    return cert, key
