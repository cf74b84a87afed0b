# SPDX-License-Identifier: Apache-2.0
# The last moments of a good call, frame by frame: OK waits for the caller's half-close, because a stream that
# ends before is reset behind its trailers, and a proxy may throw away what its own reader has not taken yet.
# A caller that never half-closes gets OK all the same, after --half-close-wait.
import time

import _h2
import _stubs
from _stubs import check, finish, media, pb, start_server


def call_by_hand(peer):
    """A whole Sync whose inputs are ended by `end`; its side of the stream stays open."""
    requests = [pb.SyncRequest(config=_stubs.container_config()),
                *_stubs.pieces(media("voice_short.wav"), media("face_tiny.mp4"))]
    peer.send(_h2.call(1) + b"".join(_h2.data(1, _h2.message(r.SerializeToString())) for r in requests))


def has_summary(peer):
    """All replies have come, the last one with the summary."""
    body = b"".join(payload for kind, _, stream, payload in peer.frames() if kind == _h2.DATA and stream == 1)
    while len(body) >= 5 and len(body) >= 5 + int.from_bytes(body[1:5], "big"):
        size = int.from_bytes(body[1:5], "big")
        if pb.SyncResponse.FromString(body[5:5 + size]).HasField("summary"):
            return True
        body = body[5 + size:]
    return False


def resets(peer):
    return [f for f in peer.frames() if f[0] == _h2.RST and f[2] == 1]


with start_server("--half-close-wait", "30000") as server, _h2.Peer(server.port) as caller:
    call_by_hand(caller)
    check("the summary comes", caller.wait(lambda: has_summary(caller), 30))
    caller.wait(lambda: False, 0.5)
    check("the stream stays open", not caller.ended(1))
    held = {k: v for k, v in server.metrics().items() if k.startswith("lipstream_sessions_open") and v}
    check("but its place is free", not held, held)
    caller.send(_h2.data(1, b"", _h2.END))
    check("the status follows the half-close", caller.wait(lambda: caller.ended(1), 10))
    check("it is OK", ("grpc-status", "0") in caller.trailers(1), caller.trailers(1))
    check("nothing was reset", not resets(caller), resets(caller))

with start_server("--half-close-wait", "300") as server, _h2.Peer(server.port) as caller:
    call_by_hand(caller)
    check("the summary comes, again", caller.wait(lambda: has_summary(caller), 30))
    began = time.monotonic()
    check("OK without a half-close", caller.wait(lambda: caller.ended(1), 10))
    check("it is OK, too", ("grpc-status", "0") in caller.trailers(1), caller.trailers(1))
    check("after the wait", time.monotonic() - began > 0.1)
    # What comes late is taken and thrown away: the connection lives.
    caller.send(_h2.data(1, _h2.message(b"\x12\x02\x0a\x00"), _h2.END))
    caller.send(_h2.call(3, _h2.INFO) + _h2.data(3, _h2.message(b""), _h2.END))
    check("the next call on the connection", caller.wait(lambda: caller.ended(3), 10) and
          ("grpc-status", "0") in caller.trailers(3))
finish()
