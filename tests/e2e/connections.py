# SPDX-License-Identifier: Apache-2.0
# How long a connection may live, and what ends it: silence that no ping breaks, age, pings that come too fast.
# All of it passes the listening port's thread on its way between gRPC and the peer, in both directions.
import struct
import threading
import time

import _stubs
from _h2 import GOAWAY, PING, Peer, frame
from _stubs import check, finish, start_server


def closed(server, cause):
    return server.metrics().get('lipstream_connections_closed_total{cause="%s"}' % cause, 0)


def closed_silently(peer, seconds):
    """The server ends the connection, of which nothing was answered meanwhile."""
    end = time.monotonic() + seconds
    while peer.open and time.monotonic() < end:
        peer.frames()
        time.sleep(0.02)
    return not peer.open


def keepalive():
    """gRPC asks through the port; who answers stays, who does not is let go."""
    with start_server("--keepalive-interval", "300", "--keepalive-timeout", "400") as server:
        before = closed(server, "server")
        with Peer(server.port) as alive, Peer(server.port) as dead:
            thread = threading.Thread(target=lambda: alive.wait(lambda: False, 3))
            thread.start()  # answers pings
            began = time.monotonic()
            gone = closed_silently(dead, 5)
            check("a silent peer is let go", gone and 0.5 < time.monotonic() - began < 3,
                  "%s after %.1f s" % (gone, time.monotonic() - began))
            thread.join()
            check("one that answers stays", alive.open)
            check("it was asked more than once", len([f for f in alive.frames() if f[0] == PING]) > 2)
            check("counted as ended by the server", closed(server, "server") == before + 1)
            check("one connection is open", server.metrics()["lipstream_connections_open"] >= 1)


def age():
    """An old connection hears GOAWAY; its call goes on and a new connection takes new calls."""
    with start_server("--connection-age", "700", "--connection-grace", "20000") as server:
        with server.channel() as channel:
            results = [_stubs.serving(channel) for _ in range(30) if not time.sleep(0.1)]
            check("calls go on over old and new connections", all(results), results)
        with Peer(server.port) as peer:
            check("GOAWAY without an error", peer.wait(lambda: peer.goaway() == 0, 5), peer.goaway())
        with Peer(server.port) as peer:
            check("and then the end", peer.closed(5))
    with start_server("--connection-age", "0") as server, Peer(server.port) as peer:
        check("age 0: never", not peer.wait(lambda: peer.goaway() is not None, 2) and peer.open)


def pings():
    """Faster pings than allowed, without any call."""
    with start_server("--ping-interval-min", "5000") as server, Peer(server.port) as peer:
        for i in range(6):
            peer.send(frame(PING, 0, 0, struct.pack(">Q", i)))
            time.sleep(0.05)
        check("too many pings", peer.wait(lambda: peer.goaway() == 11, 5), peer.goaway())
        check("the reason is told", any(f[0] == GOAWAY and b"too_many_pings" in f[3] for f in peer.frames()))
        check("and the connection ends", peer.closed(5))
    with start_server("--ping-interval-min", "10") as server, Peer(server.port) as peer:
        for i in range(20):
            peer.send(frame(PING, 0, 0, struct.pack(">Q", i)))
            time.sleep(0.03)
        check("slow enough ones are answered", peer.wait(lambda: len(peer.frames()) > 15, 5) and
              peer.goaway() is None, peer.goaway())


keepalive()
age()
pings()
finish()
