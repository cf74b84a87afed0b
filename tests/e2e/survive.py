# SPDX-License-Identifier: Apache-2.0
# Good, bad and cancelled calls and connections that vanish, side by side for a while: every good call is
# good, every bad one gets its status, and afterwards the server has the threads, files, decode processes
# and memory that it had before.
import random
import threading
import time

import grpc

import _stubs
from _stubs import check, container_config, media, pb, pb_grpc

SECONDS = 20
WORKERS = 4


class Tally:
    def __init__(self):
        self.lock, self.counts, self.wrong = threading.Lock(), {}, []

    def add(self, kind, right, detail):
        with self.lock:
            self.counts[kind] = self.counts.get(kind, 0) + 1
            if not right:
                self.wrong.append("%s: %s" % (kind, detail))


def good(channel, rng, tally):
    result = _stubs.sync(channel, container_config(), media("voice_short.wav"), media("face_tiny.mp4"),
                         rng.choice((500, 65536)))
    tally.add("good", result.ok() and result.summary.frames_out == 5, result)


def bad(channel, rng, tally):
    noise = rng.randbytes(rng.randrange(1, 50000))
    voice, face = media("voice_short.wav"), media("face_tiny.mp4")
    inputs = rng.choice(((noise, face), (voice, noise), (voice, face[:len(face) // 3]), (b"", face)))
    result = _stubs.sync(channel, container_config(), *inputs)
    tally.add("bad", result.code == grpc.StatusCode.INVALID_ARGUMENT, result)


def damaged(channel, rng, tally):
    """A face with bytes turned: any of both ends will do, but one of them it must be."""
    face = bytearray(media("face.mp4"))
    for _ in range(20):
        face[rng.randrange(2000, len(face))] = rng.randrange(256)
    result = _stubs.sync(channel, container_config(), media("voice_short.wav"), bytes(face))
    tally.add("damaged", result.ok() or result.code == grpc.StatusCode.INVALID_ARGUMENT, result)


def cancelled(channel, rng, tally):
    requests = [pb.SyncRequest(config=container_config()),
                *_stubs.pieces(media("voice.wav"), media("face.mp4"), 5000)]
    call = pb_grpc.LipSyncStub(channel).Sync(iter(requests), timeout=60)
    after = rng.randrange(8)
    try:
        for i, _ in enumerate(call):
            if i >= after:
                call.cancel()
        tally.add("cancelled", True, "")
    except grpc.RpcError as error:
        tally.add("cancelled", error.code() == grpc.StatusCode.CANCELLED, error)


def vanishing(server, rng, tally):
    """The whole connection goes away in the middle of a call."""
    channel = server.channel()
    requests = [pb.SyncRequest(config=container_config()),
                *_stubs.pieces(media("voice.wav"), media("face.mp4"))]
    call = pb_grpc.LipSyncStub(channel).Sync(iter(requests), timeout=60)
    try:
        next(call)
        time.sleep(rng.random() * 0.2)
    except grpc.RpcError as error:
        tally.add("vanishing", False, error)
    channel.close()
    tally.add("vanishing", True, "")


def worker(server, seed, end, tally):
    rng = random.Random(seed)
    while time.monotonic() < end:
        if rng.random() < 0.15:
            vanishing(server, rng, tally)
            continue
        with server.channel() as channel:
            rng.choice((good, good, bad, damaged, cancelled))(channel, rng, tally)


def settled(server, before):
    # gRPC's own pool keeps a thread or two more than it had.
    room = {"threads": 2, "fds": 0, "children": 0, "rss_kb": (300 if _stubs.SANITIZED else 80) << 10}
    end = time.monotonic() + 20
    while True:
        now = server.usage()
        over = [k for k in room if now[k] > before[k] + room[k]]
        if not over or time.monotonic() > end:
            return check("all comes back", not over, "before %s, now %s" % (before, now))
        time.sleep(0.2)


def main():
    tally = Tally()
    with _stubs.start_server("--sessions-max", str(WORKERS * 4)) as server:
        with server.channel() as channel:
            for _ in range(3):
                good(channel, random.Random(0), tally)
        before = server.usage()
        end = time.monotonic() + SECONDS
        threads = [threading.Thread(target=worker, args=(server, i, end, tally)) for i in range(WORKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        check("every call came to its end", not tally.wrong, tally.wrong[:5])
        kinds = {"good", "bad", "damaged", "cancelled", "vanishing"}
        check("every kind was there", set(tally.counts) == kinds, tally.counts)
        with server.channel() as channel:
            good(channel, random.Random(0), tally)
        settled(server, before)
        print("survive:", ", ".join("%d %s" % (n, k) for k, n in sorted(tally.counts.items())))
    _stubs.finish()


main()
