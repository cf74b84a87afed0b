# SPDX-License-Identifier: Apache-2.0
# What strangers may do to the port, each beside a good caller whose streams must stay whole: floods of
# resets, settings, pings, headers; bombs; slow ones, silent ones, garbage. After each the server answers a
# new caller and has the descriptors, threads, processes and memory that it had before. Where an attack takes
# places of sessions for a moment, a later call of the good caller may be refused; one that runs may not break.
import contextlib
import gzip
import random
import resource
import socket
import struct
import sys
import threading
import time

import _stubs
from _attack import Stage, certificate
from _h2 import (ACK, CANCEL, DATA, END, HEADERS, INFO, PADDED, PING, PREFACE, PRIORITY, READY, RST, SETTINGS,
                 SYNC, WINDOW, CONTINUATION, Peer, call, data, frame, literal, message, request, settings)
from _stubs import check, container_config, media, pb

# Short times, so that slow attacks end soon; few resets, so that a slow build comes to their limit, too.
FLAGS = ("--resets-max", "20", "--sessions-max", "12", "--handshake-max", "1500", "--input-idle-max", "2500",
         "--output-idle-max", "2500", "--flush-max", "1000")
U32 = struct.Struct(">I").pack


def cut(stage, name, chunks, reads=True, greeting=None):
    """Sends the chunks; the server ends the connection before the last one, or soon after."""
    with Peer(stage.port, tls=bool(stage.tls), first=greeting, reads=reads) as peer:
        for chunk in chunks:
            if not peer.send(chunk):
                break
        check(name + ": the connection is ended", peer.closed(5), "it is open after %d frames" % len(peer.seen))
        check(name + ": its GOAWAY names a reason", peer.goaway() in (None, 1, 11), peer.goaway())
        return peer.goaway()


def streams(count, make, each=250):
    """Chunks in which make(stream) stands for each of so many streams."""
    for first in range(0, count, each):
        yield b"".join(make(2 * i + 1) for i in range(first, min(first + each, count)))


# --- floods ----------------------------------------------------------------------------------------------
def rapid_reset(stage):
    for path in (SYNC, INFO):
        name = "rapid reset, " + path.split("/")[-1]
        with stage.attack(name, "resets", refusals=True):
            for _ in range(2):
                cut(stage, name, streams(20000, lambda s: call(s, path) + frame(RST, 0, s, U32(CANCEL))))


def in_steps(peer, count, make, each=10):
    """As many streams, so few at once that the limit of open ones is not met. False: the server ended it."""
    for chunk in streams(count, make, each):
        before = len(peer.frames())
        if not peer.send(chunk):
            return False
        peer.wait(lambda: sum(f[0] == RST for f in peer.seen[before:]) >= each, 2)
    return peer.open


def made_to_reset(stage):
    # A padded frame resets its stream; one that comes after gRPC's own end of the stream makes it end the
    # whole connection, so the limit may need more than one.
    name = "made to reset"
    with stage.attack(name, "resets", refusals=True):
        for _ in range(3):
            with Peer(stage.port) as peer:
                check(name + ": the connection is ended",
                      not in_steps(peer, 3000, lambda s: call(s) + frame(DATA, PADDED, s, b"\1ab"), 2))
                if peer.goaway() == 11:
                    break
    name = "too many streams"
    with stage.attack(name, "streams", refusals=True):
        cut(stage, name, streams(3000, call), reads=False)
    name = "deadlines of a nanosecond"
    with stage.attack(name, refusals=True), Peer(stage.port) as peer:
        check(name + ": they are answered", in_steps(peer, 3000, lambda s: call(s, SYNC, ("grpc-timeout", "1n"))),
              (peer.goaway(), peer.seen[-3:], stage.causes()))


def control_floods(stage):
    for kind, unit in (("settings", settings()), ("settings that are acknowledged", frame(SETTINGS, ACK)),
                       ("pings", frame(PING, 0, 0, bytes(8))), ("answers to pings", frame(PING, ACK, 0, bytes(8))),
                       ("priorities", frame(PRIORITY, 0, 1, bytes(5))), ("unknown frames", frame(99)),
                       ("empty data", frame(DATA, 0, 1))):
        name = "flood of " + kind
        with stage.attack(name, "control"):
            for reads in (True, False):
                cut(stage, name, [call(1), *[unit * 5000] * 40], reads)
    name = "flood of window updates"
    with stage.attack(name):
        with Peer(stage.port) as peer:
            peer.send(call(1) + frame(WINDOW, 0, 1, U32(1)) * 200000)


def header_floods(stage):
    name = "continuation flood"
    with stage.attack(name, "headers"):
        block = literal("a", "b" * 1000)
        cut(stage, name, [call(1, flags=0), *[frame(CONTINUATION, 0, 1, block) * 100] * 200])
    name = "empty continuations"
    with stage.attack(name, "headers"):
        cut(stage, name, [call(1, flags=0), *[frame(CONTINUATION, 0, 1) * 5000] * 40])
    name = "metadata of 80 KiB"
    with stage.attack(name, "headers"):
        large = request(SYNC, *[("name%d" % i, "x" * 1000) for i in range(80)])
        cut(stage, name, [frame(HEADERS, 0, 1, large[:16384]), *[
            frame(CONTINUATION, READY if at + 16384 >= len(large) else 0, 1, large[at:at + 16384])
            for at in range(16384, len(large), 16384)]])
    name = "metadata of 40 KiB"
    with stage.attack(name):
        large = request(SYNC, *[("name%d" % i, "x" * 1000) for i in range(40)])
        with Peer(stage.port) as peer:
            for stream in (1, 3, 5):
                peer.send(frame(HEADERS, 0, stream, large[:16384]) + frame(CONTINUATION, 0, stream, large[16384:32768])
                          + frame(CONTINUATION, READY, stream, large[32768:]))
            done = peer.wait(lambda: all(map(peer.ended, (1, 3, 5))), 3)
            check(name + ": the calls are refused", done or not peer.open, peer.seen[-3:])
    name = "many small headers"
    with stage.attack(name):
        small = request(SYNC, *[("n%d" % (i % 10), "") for i in range(3000)])
        with Peer(stage.port) as peer:
            for stream in range(1, 100, 2):
                peer.send(frame(HEADERS, READY, stream, small))
            peer.wait(lambda: False, 0.5)


def header_bomb(stage):
    """Each byte stands for a header of 4 kB."""
    name = "HPACK bomb"
    with stage.attack(name):
        for _ in range(3):
            with Peer(stage.port, first=settings((1, 0xffffffff))) as peer:
                peer.send(frame(HEADERS, READY, 1, request(SYNC) + literal("bomb", "x" * 4000, index=True)))
                for stream in range(3, 200, 2):
                    peer.send(frame(HEADERS, READY, stream, request(SYNC) + b"\xbe" * 16000))
                peer.wait(lambda: False, 0.3)


# --- bombs -----------------------------------------------------------------------------------------------
def compressed_bombs(stage):
    bomb = gzip.compress(bytes(100 << 20), 9)
    config = pb.SyncRequest(config=container_config()).SerializeToString()
    for kind, headers, body in (
            ("gzip", [("grpc-encoding", "gzip")], message(bomb, 1)),
            ("gzip, later", [("grpc-encoding", "gzip")], message(config) + message(bomb, 1)),
            ("flag without encoding", [], message(bomb, 1)),
            ("deflate that is gzip", [("grpc-encoding", "deflate")], message(bomb, 1)),
            ("flag that is none", [], message(bomb, 7))):
        name = "compressed bomb, " + kind
        with stage.attack(name):
            with Peer(stage.port) as peer:
                for stream in range(1, 9, 2):
                    peer.send(call(stream, SYNC, *headers) + data(stream, body))
                check(name + ": the calls end", peer.wait(lambda: all(map(peer.ended, range(1, 9, 2))), 5)
                      or not peer.open, peer.seen[-3:])


def endless_message(stage):
    """A message claims 4 GiB and keeps coming as fast as the windows allow."""
    name = "message of 4 GiB"
    with stage.attack(name):
        with Peer(stage.port) as peer:
            peer.send(call(1) + data(1, struct.pack(">BI", 0, 0xffffffff)))
            sent, end = 5, time.monotonic() + 10
            while peer.open and not peer.ended(1) and time.monotonic() < end:
                grants = [f for f in peer.frames() if f[0] == WINDOW]
                room = min(65535 + sum(int.from_bytes(f[3], "big") for f in grants if not f[2]),
                           524288 + sum(int.from_bytes(f[3], "big") for f in grants if f[2] == 1)) - sent
                if room >= 16384:
                    peer.send(data(1, bytes(16384)))
                    sent += 16384
                else:
                    time.sleep(0.005)
            check(name + ": it is refused early", peer.ended(1) and sent < 8 << 20,
                  "after %d bytes, ended %s" % (sent, peer.ended(1)))
            check(name + ": with a status", ("grpc-status", "8") in peer.trailers(1), peer.trailers(1))


# --- slow and silent ones --------------------------------------------------------------------------------
def drip(peers, content, every=0.2, seconds=6):
    """A byte at a time to each, then silence, until all are ended. How long that took."""
    started, at = time.monotonic(), 0
    while any(peer.open for peer in peers) and time.monotonic() < started + seconds:
        for peer in peers:
            if peer.open:
                peer.send(content[at:at + 1])
                peer.frames()
        at += 1
        time.sleep(every)
    return time.monotonic() - started


def slow(stage, name, content, greet=False, first=b""):
    with stage.attack(name), contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(stage.port, greet=greet)) for _ in range(20)]
        for peer in peers:
            peer.send(first)
        took = drip(peers, content)
        left = sum(peer.open for peer in peers)
        check(name + ": none is left", not left, "%d of 20 after %.1f s" % (left, took))


def slow_ones(stage):
    slow(stage, "slow headers", call(1), True)
    slow(stage, "slow block of headers", frame(CONTINUATION, 0, 1, b"x" * 200), True, call(1, flags=0))
    slow(stage, "slow preface", PREFACE)
    slow(stage, "preface without settings", b"", first=PREFACE)


def silent_messages(stage):
    name = "half a message"
    with stage.attack(name):
        config = pb.SyncRequest(config=container_config()).SerializeToString()
        with Peer(stage.port) as peer:
            for stream, body in ((1, message(config) + message(b"x" * 10, size=1 << 20)), (3, message(b"", size=9)),
                                 (5, b"\0\0"), (7, b"")):
                peer.send(call(stream) + data(stream, body))
            peer.send(call(9, INFO) + data(9, message(b"", size=100)))
            done = peer.wait(lambda: all(map(peer.ended, (1, 3, 5, 7, 9))), 8)
            check(name + ": the calls end", done, [s for s in (1, 3, 5, 7, 9) if not peer.ended(s)])
    name = "connections that vanish"
    with stage.attack(name):
        for i in range(100):
            peer = Peer(stage.port)
            peer.send(call(1) + data(1, message(config) + message(b"x" * 100, size=1 << 20))[:9 + 20 * (i % 30)])
            peer.reset() if i % 2 else peer.close()


def hoard(port, path, sums):
    """A hundred calls that each claim 4 MiB and bring most of it, as fast as the windows allow."""
    calls = {stream: 5 for stream in range(1, 201, 2)}
    with Peer(port) as peer:
        peer.send(b"".join(call(s, path) + data(s, struct.pack(">BI", 0, 4 << 20)) for s in calls))
        end = time.monotonic() + 3
        while peer.open and time.monotonic() < end:
            grants = {}
            for kind, _, stream, payload in peer.frames():
                if kind == WINDOW:
                    grants[stream] = grants.get(stream, 0) + int.from_bytes(payload, "big")
            for stream, sent in calls.items():
                room = min(65535 + grants.get(0, 0) - sum(calls.values()), (4 << 20) - 100 - sent,
                           524288 + grants.get(stream, 0) - sent, 16384)
                if room >= 1000 and not peer.ended(stream):
                    peer.send(frame(DATA, 0, stream, bytes(room)))
                    calls[stream] += room
            time.sleep(0.01)
        sums.append(sum(calls.values()))


def hoards(stage):
    """Three connections fill the memory of gRPC with requests that are never whole."""
    name = "half requests of 4 MiB"
    with stage.attack(name):
        sums = []
        threads = [threading.Thread(target=hoard, args=(stage.port, INFO, sums)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        check(name + ": they came through", sum(sums) > 8 << 20, sums)


def unread_output(stage):
    """The whole input of a call, and a window that never opens; and a socket that nobody reads."""
    name = "window of zero"
    config = pb.SyncRequest(config=container_config())
    body = b"".join(message(r.SerializeToString()) for r in (
        config, *_stubs.pieces(media("voice_short.wav"), media("face_tiny.mp4"))))
    with stage.attack(name):
        with Peer(stage.port, first=settings((4, 0))) as peer:
            for stream in (1, 3, 5):
                peer.send(call(stream) + data(stream, body, END))
            done = peer.wait(lambda: all(map(peer.ended, (1, 3, 5))), 12)
            check(name + ": the calls end", done, [s for s in (1, 3, 5) if not peer.ended(s)])
    name = "a socket that nobody reads"
    with stage.attack(name):
        with Peer(stage.port, reads=False) as peer:
            for chunk in streams(10000, lambda s: call(s, INFO) + data(s, message(b""), END)):
                if not peer.send(chunk, seconds=1):
                    break


def garbage(stage):
    noise = random.Random(5)
    name = "garbage"
    with stage.attack(name, "not_http2", "frame"):
        for i in range(60):
            with Peer(stage.port, greet=i % 2) as peer:
                peer.send(noise.randbytes(noise.randrange(1, 60000)), 2)
    name = "HTTP/1"
    with stage.attack(name, "http1"):
        for text_ in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"POST /x HTTP/1.1\r\nContent-Length: 9\r\n\r\n"):
            with Peer(stage.port, greet=False) as peer:
                peer.send(text_)
                check(name + ": closed", peer.closed(3))
                check(name + ": answered in its language", peer.rest.startswith(b"HTTP/1.1 4"), peer.rest[:50])
    name = "TLS on the plain port"
    with stage.attack(name, "not_http2"):
        with Peer(stage.port, greet=False) as peer:
            peer.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500))
            check(name + ": closed", peer.closed(3))


# --- many ------------------------------------------------------------------------------------------------
def descriptors():
    """The server has 30 descriptors left and 400 callers."""
    name = "descriptors used up"
    with _stubs.start_server(*FLAGS) as server:
        stage = Stage(server)
        with stage.attack(name, good="voice.wav", refusals=True) as good:
            time.sleep(0.3)
            limit = server.usage()["fds"] + 30
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (limit, limit + 200))
            with contextlib.ExitStack() as stack:
                for i in range(400):
                    with contextlib.suppress(OSError):
                        stack.enter_context(Peer(server.port, greet=i % 2))
                time.sleep(3)
                check(name + ": the server lives", server.process.poll() is None)
            check(name + ": a stream went through it", good.results and good.results[0].ok(), good.results[:1])
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (limit + 200, limit + 200))
        stage.report()


def idle():
    """Ten thousand connections, greeted as far as descriptors go (three each), the others silent."""
    name = "10000 idle connections"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(10000, hard - 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with _stubs.start_server("--sessions-max", "4", "--connections-max", "12000", "--handshake-max",
                             "60000") as server:
        stage = Stage(server, room_kb=(200 << 10, 400 << 10))
        with stage.attack(name), contextlib.ExitStack() as stack:
            greeted = max(min(count, (hard - count - 1000) // 2), 0)
            for i in range(count):
                with contextlib.suppress(OSError):
                    stack.enter_context(Peer(server.port, greet=i < greeted))
            held = server.usage()["fds"]
            took = stage.answers(name + ", held")
            print("idle: %d connections, %d greeted; the server has %d descriptors, a new caller %.1f s" %
                  (count, greeted, held, took or -1))
        stage.report()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- TLS -------------------------------------------------------------------------------------------------
def hello(port):
    """The first flight of a TLS client."""
    import ssl

    from _h2 import tls_context

    sent, got = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        tls_context().wrap_bio(got, sent).do_handshake()
    return sent.read()


def with_tls():
    pair = certificate()
    with _stubs.start_server(*FLAGS, "--tls-cert", pair[0], "--tls-key", pair[1]) as server:
        stage = Stage(server, pair)
        name = "rapid reset through TLS"
        with stage.attack(name, "resets"):
            cut(stage, name, streams(20000, lambda s: call(s) + frame(RST, 0, s, U32(CANCEL))))
        name = "flood of pings through TLS"
        with stage.attack(name, "control"):
            cut(stage, name, [frame(PING, 0, 0, bytes(8)) * 5000] * 40, reads=False)
        first = hello(server.port)
        slow(stage, "slow handshake", first)
        slow(stage, "half a handshake", b"", first=first[:-1])
        name = "garbage instead of TLS"
        with stage.attack(name, "handshake"):
            noise = random.Random(6)
            for i in range(40):
                with Peer(server.port, greet=False) as peer:
                    peer.send(first[:noise.randrange(1, 100) * (i % 2)] + noise.randbytes(3000), 2)
                    peer.frames()
        name = "handshakes that are left"
        with stage.attack(name):
            for _ in range(100):
                with Peer(server.port, greet=False) as peer:
                    peer.send(first)
        stage.report()


def main():
    started = time.monotonic()
    with _stubs.start_server(*FLAGS) as server:
        stage = Stage(server)
        for attack in (rapid_reset, made_to_reset, control_floods, header_floods, header_bomb, compressed_bombs,
                       endless_message, hoards, slow_ones, silent_messages, unread_output, garbage):
            if len(sys.argv) < 2 or attack.__name__ in sys.argv[1:]:
                attack(stage)
        stage.report()
    for attack in (descriptors, idle, with_tls):
        if len(sys.argv) < 2 or attack.__name__ in sys.argv[1:]:
            attack()
    print("attacks: %.0f s" % (time.monotonic() - started))
    _stubs.finish()


main()
