# SPDX-License-Identifier: Apache-2.0
# Callers that stop: who sends nothing, who reads nothing, whose connection is half open (a line in between
# that goes dead, a client that is stopped). Each has its time and its reason, and leaves nothing behind; who
# reads slowly is not cut off. And connections that grow old: their streams end in peace within the grace, the
# next call opens a new connection.
import contextlib
import os
import select
import signal
import socket
import subprocess
import threading
import time

import grpc

import _stubs
from _stubs import check, container_config, media, pb, pb_grpc

SLOW = 4 if _stubs.SANITIZED else 1


class Line:
    """A line between a client and the server that can go dead: nothing passes any more, nobody is told."""

    def __init__(self, server):
        self.target, self.flows, self.sockets, self.count = ("127.0.0.1", server.port), True, [], 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                here, _ = self.listener.accept()
                there = socket.create_connection(self.target)
                self.count += 1
                self.sockets += [here, there]
                threading.Thread(target=self.pass_on, args=(here, there), daemon=True).start()

    def pass_on(self, here, there):
        with contextlib.suppress(OSError):
            while True:
                ready, _, _ = select.select([here, there], [], [], 0.05)
                if not self.flows:
                    return  # both stay open, and full in the end
                for side in ready:
                    data = side.recv(65536)
                    if not data:
                        here.close()
                        there.close()
                        return
                    (there if side is here else here).sendall(data)

    def close(self):
        for each in (self.listener, *self.sockets):
            each.close()


def open_channel(address):
    # A small window of a fixed size: else gRPC takes megabytes before anybody reads, and a reader's progress
    # is only seen when it has read half of them.
    return grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0),
                                           ("grpc.max_receive_message_length", 16 << 20),
                                           ("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65536)])


def raw_config():
    """Many bytes come back: 115 kB a frame, each a message of its own."""
    return container_config(output=pb.Output(container=pb.OUTPUT_CONTAINER_NONE))


def everything():
    return [pb.SyncRequest(config=raw_config()), *_stubs.pieces(media("voice.wav"), media("face.mp4"))]


class Begun:
    """A call that has begun, and whose requests go on when it is told."""

    def __init__(self, channel, requests, rest=(), timeout=60):
        self.go = threading.Event()
        self.call = pb_grpc.LipSyncStub(channel).Sync(self.feed(requests, rest), timeout=timeout)
        first = next(self.call)
        check("a call begins", first.WhichOneof("response") == "accepted", first)

    def feed(self, requests, rest):
        yield from requests
        self.go.wait()
        yield from rest

    def end(self):
        """What it came to; reads all that is left."""
        result = _stubs.Result()
        try:
            for reply in self.call:
                if reply.WhichOneof("response") == "summary":
                    result.summary = reply.summary
            result.code = self.call.code()
        except grpc.RpcError:
            _stubs.take_error(result, self.call)
        self.go.set()
        return result


def sessions(server):
    return sum(v for k, v in server.metrics().items() if k.startswith("lipstream_sessions_open{"))


def until(condition, seconds):
    """Seconds until it holds, or None."""
    started = time.monotonic()
    while time.monotonic() - started < seconds * SLOW:
        if condition():
            return time.monotonic() - started
        time.sleep(0.02)
    return None


def nothing_left(server, name, before):
    """No session, no decode process but the two that wait, no descriptor more than before."""
    def clean():
        now = server.usage()
        return sessions(server) == 0 and now["children"] == 2 and now["fds"] <= before["fds"]
    check(name + ": nothing is left", until(clean, 5) is not None,
          "%g sessions, %s, before %s" % (sessions(server), server.usage(), before))


def rested(server):
    until(lambda: server.usage()["children"] == 2 and sessions(server) == 0, 5)
    return server.usage()


# --- input that does not come, output that is not read ---------------------------------------------------
def idle_input(server, channel):
    parts = {"nothing sent": [], "one input only": _stubs.pieces(media("voice.wav"), None),
             "a cut input": _stubs.pieces(media("voice.wav"), media("face.mp4")[:20000], end=False)}
    for name, requests in parts.items():
        before = rested(server)
        started = time.monotonic()
        result = Begun(channel, [pb.SyncRequest(config=container_config()), *requests]).end()
        check("idle input, %s" % name, result.code == grpc.StatusCode.DEADLINE_EXCEEDED
              and result.reason == "INPUT_IDLE", result)
        check("idle input, %s: not at once" % name, time.monotonic() - started >= 0.5)
        nothing_left(server, "idle input, " + name, before)


def unread_output(server, channel):
    before = rested(server)
    begun = Begun(channel, everything())
    begun.go.set()
    key = 'lipstream_sessions_total{reason="OUTPUT_STALLED",class="interactive"}'
    was = server.metrics()[key]
    check("unread output: the session ends", until(lambda: server.metrics()[key] == was + 1, 20) is not None)
    nothing_left(server, "unread output, nobody reads yet", before)
    result = begun.end()
    # A status cannot overtake the message that is under way; then the text has the reason.
    check("unread output", result.code == grpc.StatusCode.DEADLINE_EXCEEDED
          and "OUTPUT_STALLED" in (result.reason, result.text.split(":")[0]), result)


def slow_reader(server, channel):
    started, seen = time.monotonic(), 0
    call = pb_grpc.LipSyncStub(channel).Sync(iter(everything()), timeout=120)
    result = _stubs.Result()
    try:
        for reply in call:
            seen += reply.WhichOneof("response") == "media"
            time.sleep(0.1)
        result.code = call.code()
    except grpc.RpcError:
        _stubs.take_error(result, call)
    seconds = time.monotonic() - started
    check("a slow reader is not cut off", result.code == grpc.StatusCode.OK and seen >= 50,
          "%s, %d media" % (result, seen))
    check("and it was slow", seconds > 4, seconds)


# --- half-open connections -------------------------------------------------------------------------------
def dead_line(server):
    rows = {"input is awaited": [pb.SyncRequest(config=container_config())], "output is on its way": everything()}
    for name, requests in rows.items():
        before = rested(server)
        line = Line(server)
        with open_channel(line.address) as channel:
            begun = Begun(channel, requests)
            check("dead line, %s: a session runs" % name, sessions(server) == 1)
            line.flows = False
            seconds = until(lambda: sessions(server) == 0, 10)
            check("dead line, %s: the session ends" % name, seconds is not None)
            print("half open, %s: ended after %.2f s" % (name, seconds or -1))
            nothing_left(server, "dead line, " + name, before)
            begun.go.set()
            line.close()


def idle_connections(server):
    """Without a call, too."""
    before = rested(server)
    line = Line(server)
    channel = open_channel(line.address)
    check("an idle connection", _stubs.serving(channel))
    line.flows = False
    seconds = until(lambda: server.usage()["fds"] <= before["fds"], 10)
    check("an idle connection over a dead line ends", seconds is not None)
    channel.close()
    line.close()
    with open_channel(server.address) as live:
        check("another", _stubs.serving(live))
        busy = server.usage()["fds"]
        time.sleep(3 * SLOW)
        check("one that answers stays open", server.usage()["fds"] >= busy and _stubs.serving(live))


def stopped_client(server):
    if not os.path.exists(_stubs.CLIENT):
        print("note: the client is not built")
        return
    before = rested(server)
    client = subprocess.Popen(
        [_stubs.CLIENT, "sync", "--server", server.address, "--fixed-box", "100,60,200,180", "--pace", "20",
         _stubs.make_media("face_long.mp4"), _stubs.make_media("voice_long.wav"), "-"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        check("stopped client: a session runs", until(lambda: sessions(server) == 1, 10) is not None)
        client.send_signal(signal.SIGSTOP)
        seconds = until(lambda: sessions(server) == 0, 10)
        check("stopped client: its session ends", seconds is not None)
        print("stopped client: ended after %.2f s" % (seconds or -1))
        nothing_left(server, "stopped client", before)
    finally:
        client.kill()
        client.wait()


# --- old connections -------------------------------------------------------------------------------------
def paced(seconds):
    """Requests that take so long."""
    parts = _stubs.pieces(media("voice.wav"), media("face.mp4"), 8192)
    yield pb.SyncRequest(config=container_config())
    for part in parts:
        time.sleep(seconds / len(parts))
        yield part


def growing_old():
    with _stubs.start_server("--connection-age", "1000") as server:
        line = Line(server)
        with open_channel(line.address) as channel:
            result, started = [], time.monotonic()
            thread = threading.Thread(target=lambda: result.append(_stubs.run_call(channel, paced(4 * SLOW))))
            thread.start()
            time.sleep(2)  # it is older than its age now, and told so
            count = line.count
            check("a call meanwhile", _stubs.serving(channel))
            check("it has a connection of its own", line.count == count + 1, line.count)
            check("the old stream goes on", not result)
            thread.join()
            check("the old stream ends in peace", result[0].ok() and result[0].summary.frames_out == 50, result[0])
            check("it outlived its connection's age", time.monotonic() - started > 3)
        line.close()


def grace_over():
    with _stubs.start_server("--connection-age", "500", "--connection-grace", "1000") as server:
        before = rested(server)
        with open_channel(server.address) as channel:
            started = time.monotonic()
            result = _stubs.run_call(channel, paced(20))
            seconds = time.monotonic() - started
            check("grace over: UNAVAILABLE", result.code == grpc.StatusCode.UNAVAILABLE, result)
            check("grace over: not before", seconds > 1, seconds)
            check("grace over: soon", seconds < 10 * SLOW, seconds)
        nothing_left(server, "grace over", before)


def main():
    with _stubs.start_server("--input-idle-max", "600", "--output-idle-max", "1000", "--out-bytes-ahead", "524288",
                             "--flush-max", "500") as server:
        with open_channel(server.address) as channel:
            _stubs.serving(channel)
            idle_input(server, channel)
            unread_output(server, channel)
            slow_reader(server, channel)
    with _stubs.start_server("--keepalive-interval", "1000", "--keepalive-timeout", "500",
                             "--ping-interval-min", "500") as server:
        dead_line(server)
        idle_connections(server)
        stopped_client(server)
    growing_old()
    grace_over()
    _stubs.finish()


main()
