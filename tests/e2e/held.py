# SPDX-License-Identifier: Apache-2.0
# Calls that their callers hold: open watches of the health service, answers that nobody reads (a stream's
# window of zero bytes), outputs of sessions that nobody reads. Each holds memory, so there is a limit to each;
# a new caller's check of the health is answered all the while.
import time

import _h2
import _stubs
from _stubs import check, finish, pb, serving, start_server

CHECK_PATH, WATCH_PATH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
PEERS, CALLS, WATCHES_MAX, AWAITED_MAX, SESSIONS_MAX = 8, 60, 50, 16, 2
PADDING = [("x-padding-%d" % i, "p" * 150) for i in range(60)]


def begin(server, path, window):
    """Connections with CALLS whole requests each."""
    peers = [_h2.Peer(server.port, first=_h2.settings((4, window))) for _ in range(PEERS)]
    for peer in peers:
        peer.send(b"".join(_h2.call(stream, path, *PADDING) +
                           _h2.frame(_h2.DATA, _h2.END, stream, _h2.message(b""))
                           for stream in range(1, 2 * CALLS, 2)))
    return peers


def ended(peers):
    """Streams that the server has ended."""
    return sum(len({f[2] for f in peer.frames() if f[0] == _h2.RST or f[0] == _h2.HEADERS and f[1] & _h2.END})
               for peer in peers)


def settle(peers, want, seconds):
    end = time.monotonic() + seconds
    while ended(peers) < want and time.monotonic() < end:
        time.sleep(0.05)
    return ended(peers)


def calls(server, method, code):
    return server.metrics()['lipstream_calls_total{method="grpc.health.v1.Health/%s",code="%s"}' % (method, code)]


def test_watches(server):
    peers = begin(server, WATCH_PATH, 65535)
    refused = settle(peers, PEERS * CALLS - WATCHES_MAX, 10)
    check("watches: those beyond the limit are refused", 0 < refused == PEERS * CALLS - WATCHES_MAX, refused)
    check("watches: as too many", calls(server, "Watch", "RESOURCE_EXHAUSTED") == refused,
          calls(server, "Watch", "RESOURCE_EXHAUSTED"))
    with server.channel() as channel:
        check("watches: a check is answered beside them", serving(channel, 2))
    for peer in peers:
        peer.close()
    time.sleep(0.5)
    again = begin(server, WATCH_PATH, 65535)
    check("watches: places come back", settle(again, PEERS * CALLS, 2) == PEERS * CALLS - WATCHES_MAX, ended(again))
    for peer in again:
        peer.close()


def test_unread(server):
    peers = begin(server, CHECK_PATH, 0)
    cut = settle(peers, PEERS * CALLS - AWAITED_MAX, 2)
    check("unread: few answers wait for their readers", PEERS * CALLS - AWAITED_MAX <= cut < PEERS * CALLS, cut)
    with server.channel() as channel:
        check("unread: a check is answered beside them", serving(channel, 2))
    check("unread: the rest is cut when its time is over", settle(peers, PEERS * CALLS, 10) == PEERS * CALLS,
          ended(peers))
    for peer in peers:
        peer.close()


def session_without_reader(server, config):
    """All of a Sync call, of whose output nothing can be sent."""
    peer = _h2.Peer(server.port, first=_h2.settings((4, 0)))
    requests = _stubs.pieces(_stubs.media("voice_short.wav"), _stubs.media("face_tiny.mp4"), chunk=16384)
    body = b"".join(_h2.message(r.SerializeToString()) for r in [pb.SyncRequest(config=config), *requests])
    peer.send(_h2.call(1) + _h2.data(1, body, _h2.END))
    return peer, len(body)


def test_outputs(server):
    """Sessions that are done, but whose output is not read, keep their places: else memory knew no limit."""
    config = _stubs.container_config()
    with server.channel() as channel:
        before = _stubs.sync(channel, config, _stubs.media("voice_short.wav"), _stubs.media("face_tiny.mp4"))
        check("outputs: a call beforehand", before.ok(), before)
        peers = []
        for _ in range(SESSIONS_MAX):
            peer, size = session_without_reader(server, config)
            check("outputs: the request fits the first window", size < 65535, size)
            peers.append(peer)
            peer.wait(lambda: False, 1)
        running = server.metrics()
        check("outputs: the sessions are over", not any(value for name, value in running.items()
                                                        if name.startswith("lipstream_sessions_open")), running)
        full = _stubs.sync(channel, config, _stubs.media("voice_short.wav"), _stubs.media("face_tiny.mp4"))
        check("outputs: their places are taken", full.reason == "SESSIONS_FULL", full)
        for peer in peers:
            peer.close()
        time.sleep(0.5)
        again = _stubs.sync(channel, config, _stubs.media("voice_short.wav"), _stubs.media("face_tiny.mp4"))
        check("outputs: and come back", again.ok() and again.sha256() == before.sha256(), again)


def main():
    with start_server("--sessions-max", str(SESSIONS_MAX), "--watches-max", str(WATCHES_MAX), "--awaited-max", str(AWAITED_MAX),
                      "--output-idle-max", "4000") as server:
        test_watches(server)
        test_unread(server)
        test_outputs(server)
    return finish()


if __name__ == "__main__":
    main()
