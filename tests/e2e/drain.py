# SPDX-License-Identifier: Apache-2.0
# The way out, step by step: what a caller, a load balancer and systemd see between SIGTERM and the exit.
# Also what systemd hears of the start, of a reload, and that the loop turns.
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time

import grpc

import _stubs
from _stubs import check, error_of, finish, media, pb, pb_grpc, start_server

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
GOAWAY = 7


def refused_cleanly(r):
    return r.code == grpc.StatusCode.UNAVAILABLE and r.reason == "SHUTTING_DOWN" and r.retry_s


class Stream:
    """A running call whose picture comes when finish() is called."""

    def __init__(self, channel):
        self.go, self.end = threading.Event(), []
        self.call = pb_grpc.LipSyncStub(channel).Sync(self.requests(), timeout=60)
        check("a stream runs", next(self.call).HasField("accepted"))

    def requests(self):
        yield pb.SyncRequest(config=_stubs.container_config())
        yield from _stubs.pieces(media("voice_short.wav"), None)
        self.go.wait(40)
        yield from _stubs.pieces(None, media("face_tiny.mp4"))

    def finish(self):
        self.go.set()
        kinds = [m.WhichOneof("response") for m in self.call]
        return self.call.code() == grpc.StatusCode.OK and kinds[-1] == "summary"


class Frames:
    """A connection by hand that reads HTTP/2 frames."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.sendall(PREFACE)
        self.data = b""

    def take(self, size):
        while len(self.data) < size:
            more = self.socket.recv(65536)
            if not more:
                return None
            self.data += more
        head, self.data = self.data[:size], self.data[size:]
        return head

    def next(self):
        """Type and payload; None: the connection has ended."""
        head = self.take(9)
        return head and (head[3], self.take(int.from_bytes(head[:3], "big")))

    def until(self, kind):
        frame = self.next()
        while frame and frame[0] != kind:
            frame = self.next()
        return frame


def ended(server, seconds):
    """Waits for the process; the shared stop expects a living one."""
    code = server.process.wait(seconds)
    server.process.poll = lambda: None
    server.process.send_signal = lambda number: None
    return code


def closed(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def wait_for(what, seconds=10):
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.02)
    return what()


def test_delay():
    """The port stays open for a while, and whoever comes is told to go elsewhere."""
    with start_server("--drain-delay", "1500", "--drain-timeout", "30000") as server:
        with server.channel() as channel, server.channel() as other:
            stream = Stream(channel)
            check("ready", server.get("/readyz")[0] == 200)
            by_hand = Frames(server.port)
            by_hand.until(4)  # its SETTINGS
            server.process.send_signal(signal.SIGTERM)
            frame = by_hand.until(GOAWAY)
            check("GOAWAY at once, without an error, for streams to come", frame and
                  frame[1][:8] == b"\x7f\xff\xff\xff\0\0\0\0", frame)
            late = Frames(server.port)
            check("GOAWAY on a connection that comes later", late.until(GOAWAY))
            check("health on a new connection: NOT_SERVING", not _stubs.serving(other))
            check("not ready, and why", server.get("/readyz")[0] == 503 and "drain" in server.get("/readyz")[1])
            r = error_of(lambda: list(pb_grpc.LipSyncStub(other).Sync(iter([]), timeout=5)))
            check("a new call on a new connection is refused cleanly", refused_cleanly(r), r)
            r = error_of(lambda: list(pb_grpc.LipSyncStub(channel).Sync(iter([]), timeout=5)))
            check("and on the old channel", refused_cleanly(r), r)
            check("the port closes after the delay", wait_for(lambda: closed(server.port)))
            check("the stream goes on after that and finishes", stream.finish())
        check("exit code", ended(server, 20) == 0)


def test_second_signal():
    """The second SIGTERM ends what runs at once, with a reason and when to come again."""
    with start_server("--drain-timeout", "60000") as server, server.channel() as channel:
        stream = Stream(channel)
        server.process.send_signal(signal.SIGTERM)
        check("draining", wait_for(lambda: closed(server.port)))
        time.sleep(0.3)
        check("it waits for the stream", server.process.poll() is None)
        server.process.send_signal(signal.SIGTERM)
        r = error_of(lambda: list(stream.call))
        check("the stream ends cleanly", refused_cleanly(r), r)
        check("exit code", ended(server, 15) == 0)
        stream.go.set()


def test_line():
    """A call that waits for a place does not wait on."""
    with start_server("--sessions-max", "1", "--admission-wait", "60000") as server, server.channel() as channel:
        stream = Stream(channel)
        waiting = pb_grpc.LipSyncStub(channel).Sync(iter([]), timeout=30)
        first = next(waiting)
        check("it waits", first.HasField("progress") and first.progress.queue_position == 1, first)
        server.process.send_signal(signal.SIGTERM)
        r = error_of(lambda: list(waiting))
        check("the waiting call is refused cleanly", refused_cleanly(r), r)
        check("the stream finishes", stream.finish())
        check("exit code", ended(server, 20) == 0)


def test_loading():
    """A signal ends the start at once, at whatever moment it comes; some of these come while the model loads."""
    said = 0
    for delay_ms in range(20, 400, 20):
        starting = subprocess.Popen([os.path.join(_stubs.BUILD, "lipstreamd"), "--listen", "127.0.0.1:0",
                                     "--admin-listen", "none"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        time.sleep(delay_ms / 1000)
        starting.send_signal(signal.SIGTERM)
        try:
            text = starting.communicate(timeout=10)[1]
            # Before signals are blocked, in the first milliseconds, it dies of it.
            check("a signal after %d ms" % delay_ms, starting.returncode in (0, -signal.SIGTERM), starting.returncode)
            said += b"the model was loading" in text
        except subprocess.TimeoutExpired:
            check("a signal after %d ms" % delay_ms, False)
            starting.kill()
    check("some came while the model was loading", said)


def test_systemd():
    """What the service manager hears, and that the decode processes do not speak to it."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(os.path.join(folder, "notify"))
        manager.settimeout(20)
        os.environ.update(NOTIFY_SOCKET=os.path.join(folder, "notify"), WATCHDOG_USEC="400000")
        try:
            with start_server() as server:
                del os.environ["NOTIFY_SOCKET"], os.environ["WATCHDOG_USEC"]
                check("READY", manager.recv(1000).startswith(b"READY=1"))
                heard = [manager.recv(1000) for _ in range(3)]
                check("the watchdog is fed", heard.count(b"WATCHDOG=1") >= 2, heard)
                server.process.send_signal(signal.SIGHUP)
                words = [manager.recv(1000) for _ in range(4)]
                check("RELOADING with its time, then READY", any(b"RELOADING=1\nMONOTONIC_USEC=" in w for w in words)
                      and any(w.startswith(b"READY=1") for w in words), words)
                check("the reload is counted", server.metrics().get('lipstream_reloads_total{code="OK"}') == 1,
                      [k for k in server.metrics() if "reload" in k])
                server.process.send_signal(signal.SIGTERM)
                check("exit code", ended(server, 15) == 0)
                words = []
                manager.settimeout(0.2)
                try:
                    while True:
                        words.append(manager.recv(1000))
                except TimeoutError:
                    pass
                check("STOPPING", any(w.startswith(b"STOPPING=1") for w in words), words)
        finally:
            os.environ.pop("NOTIFY_SOCKET", None)
            os.environ.pop("WATCHDOG_USEC", None)


test_delay()
test_second_signal()
test_line()
test_loading()
test_systemd()
finish()
