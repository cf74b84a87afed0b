# SPDX-License-Identifier: Apache-2.0
# Calls through Envoy, with docker/envoy as it is: gRPC from Python and grpcurl over plain text and TLS, gRPC-Web
# over HTTP/1.1 as a browser sends it, what must reach the other side unchanged (credentials, trace, deadline,
# refusals), what is tried again and what is not, and 64 sessions at once over three replicas whose bytes are
# those of a lone one. Restarts and deaths under load: rolling.py.
import base64
import concurrent.futures
import hashlib
import http.client
import json
import os
import signal
import ssl
import struct
import subprocess
import sys
import threading
import time

import grpc

import _envoy
import _stubs
from _stubs import check, finish, media, pb, pb_grpc, run_call

TOKEN = "correct-horse-battery-staple"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SESSIONS = 64
VOICE_BYTES = 16000  # half a second of 16 kHz: 12 or 13 frames


def small_config(**more):
    """Samples without a header, and a clip; the box is given."""
    config = _stubs.container_config(**more)
    config.audio.pcm.sample_rate_hz = 16000
    return config


def small_call(channel, **more):
    return run_call(channel, [pb.SyncRequest(config=small_config()),
                              *_stubs.pieces(media("voice.pcm")[:VOICE_BYTES], media("face.mp4"))], **more)


def hold(channel, event, metadata=()):
    """A session that waits for its inputs until the event; its call, accepted."""
    def requests():
        yield pb.SyncRequest(config=small_config())
        event.wait(30)

    call = pb_grpc.LipSyncStub(channel).Sync(requests(), timeout=60, metadata=metadata)
    return call if next(call).HasField("accepted") else None


def logged(fleet, session):
    """The access log's record of a session; it is written a moment after the call."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        found = [r for r in fleet.access() if r["session_id"] == session]
        if found:
            return found[0]
        time.sleep(0.05)
    return {}


# --- gRPC ------------------------------------------------------------------------------------------------
def test_calls(fleet, lone):
    for name, tls in (("plain", False), ("TLS", True)):
        with fleet.channel(tls) as channel:
            r = small_call(channel)
            check("%s: same bytes as without Envoy" % name, r.ok() and r.media == lone, r)
            check("%s: health" % name, _stubs.serving(channel))
            watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=20)
            check("%s: health is watched" % name, next(watch) == b"\x08\x01")
            watch.cancel()
            info = pb_grpc.LipSyncStub(channel).GetServerInfo(pb.GetServerInfoRequest(), timeout=10)
            check("%s: GetServerInfo" % name, info.version and info.sessions_free, info)
            try:
                channel.unary_unary("/elsewhere.Service/Method")(b"", timeout=10)
                check("%s: other services have no route" % name, False)
            except grpc.RpcError as e:
                check("%s: other services have no route" % name, e.code() == grpc.StatusCode.UNIMPLEMENTED, e)


def test_metadata(fleet):
    """Trace and session ids are the same in the reply, in Envoy's log and in the replica's."""
    parent = "00-%s-00f067aa0ba902b7-01" % TRACE
    with fleet.channel() as channel:
        event = threading.Event()
        call = hold(channel, event, [("traceparent", parent), ("x-request-id", "r-4711")])
        first = dict(call.initial_metadata())
        event.set()
        call.cancel()
    session = first.get("lipstream-session-id")
    check("a session id comes back", session, first)
    check("the trace goes on", TRACE in first.get("traceparent", ""), first)
    check("the caller's request id is kept", first.get("x-request-id") == "r-4711", first)
    record = logged(fleet, session)
    check("access log: session, trace, request", record.get("traceparent") == parent and
          record.get("request_id") == "r-4711" and record.get("upstream", "").startswith("127.0.0.1:"), record)
    check("the replica logs both ids", any(session in line and TRACE in line for r in fleet.replicas
                                           for line in _envoy.read(r.log).splitlines()))


def test_deadline(fleet):
    with fleet.channel() as channel:
        event = threading.Event()

        def requests():
            yield pb.SyncRequest(config=small_config())
            event.wait(20)

        r = run_call(channel, requests(), timeout=1)
        check("deadline", r.code == grpc.StatusCode.DEADLINE_EXCEEDED and r.seconds < 5, (str(r), r.seconds))
        event.set()
    check("the replica knew it", any("DEADLINE_EXCEEDED" in _envoy.read(r.log) or "CANCELLED" in _envoy.read(r.log)
                                     for r in fleet.replicas))


def test_sizes(fleet):
    with fleet.channel() as channel:
        config = small_config()
        config.audio.pcm.CopyFrom(pb.Pcm(sample_rate_hz=192000, channels=8, format=pb.SAMPLE_FORMAT_F32LE))
        voice = b"\0" * (192000 * 8 * 4 * 3 // 10)  # 1.8 MB for 0.3 s
        r = run_call(channel, [pb.SyncRequest(config=config), pb.SyncRequest(
            audio=pb.InputChunk(data=voice, end=True)), *_stubs.pieces(None, media("face.mp4"), 1 << 20)])
        check("a message of 1.8 MB", r.ok(), r)
        big = pb.SyncRequest(audio=pb.InputChunk(data=b"\0" * (3 << 20)))
        r = run_call(channel, [pb.SyncRequest(config=config), big], timeout=20)
        check("one of 3 MB is refused as without Envoy", r.code == grpc.StatusCode.RESOURCE_EXHAUSTED and
              r.reason == "LIMIT_EXCEEDED", r)
        r = run_call(channel, [pb.SyncRequest(config=pb.SyncConfig(
            audio=pb.AudioInput(pcm=pb.Pcm(sample_rate_hz=1)), output=pb.Output(crf=99)))], timeout=20)
        check("details of all violations arrive", {"config.audio.pcm.sample_rate_hz", "config.output.crf"} <=
              {field for field, _ in r.fields}, r)


def test_idle(fleet):
    """A stream on which nothing moves for a while, in the middle of its inputs."""
    voice, face = media("voice.pcm")[:VOICE_BYTES], media("face.mp4")

    def requests():
        yield pb.SyncRequest(config=small_config())
        yield pb.SyncRequest(audio=pb.InputChunk(data=voice[:8000]))
        yield pb.SyncRequest(video=pb.InputChunk(data=face[:30000]))
        time.sleep(5)
        yield pb.SyncRequest(audio=pb.InputChunk(data=voice[8000:], end=True))
        yield pb.SyncRequest(video=pb.InputChunk(data=face[30000:], end=True))

    with fleet.channel() as channel:
        r = run_call(channel, requests())
        check("a stream survives 5 s of silence", r.ok(), r)


def test_renewal(fleet, lone):
    """New certificates for everybody while a stream runs: it goes on, and new connections see the new ones."""
    shown = lambda: ssl.get_server_certificate(("127.0.0.1", fleet.ports["tls"]), timeout=10)
    before, event = shown(), threading.Event()

    def requests():
        yield pb.SyncRequest(config=small_config())
        event.wait(30)
        yield from _stubs.pieces(media("voice.pcm")[:VOICE_BYTES], media("face.mp4"))

    with fleet.channel(tls=True) as channel, concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_call, channel, requests())
        subprocess.run([os.path.join(_envoy.ENVOY_FILES, "certs.sh"), fleet.path("tls")], check=True)
        for r in fleet.replicas:
            r.signal(signal.SIGHUP)
        end = time.monotonic() + 10
        while shown() == before and time.monotonic() < end:
            time.sleep(0.1)
        check("Envoy shows its new certificate", shown() != before)
        with fleet.channel(tls=True) as other:
            check("calls go on with the new ones", small_call(other).media == lone)
        for r in fleet.replicas:
            with fleet.direct(r) as other:
                check(r.name + " takes the new ones", _stubs.serving(other))
        event.set()
        result = running.result()
        check("the running stream saw nothing of it", result.ok() and result.media == lone, result)


def test_many(fleet, lone):
    before = {port: _rq(host, "rq_total") for port, host in fleet.hosts().items()}
    with fleet.channel(tls=True) as channel, concurrent.futures.ThreadPoolExecutor(SESSIONS) as pool:
        results = list(pool.map(lambda _: small_call(channel), range(SESSIONS)))
    good = [r for r in results if r.ok() and r.media == lone]
    check("%d sessions at once: all bytes equal" % SESSIONS, len(good) == SESSIONS,
          sorted({str(r) for r in results if r not in good}))
    shares = {port: _rq(host, "rq_total") - before[port] for port, host in fleet.hosts().items()}
    check("least request: an even share each", max(shares.values()) - min(shares.values()) <= 8, shares)
    check("nothing was ejected", fleet.stat("cluster.lipstream.outlier_detection.ejections_enforced_total") == 0)


def _rq(host, name):
    return sum(int(s.get("value", 0)) for s in host["stats"] if s["name"] == name)


# --- grpcurl ---------------------------------------------------------------------------------------------
def test_grpcurl(fleet, lone):
    grpcurl = _envoy.program("grpcurl")
    ca = fleet.path("tls", "ca.pem")

    def run(*args, data=None):
        done = subprocess.run([grpcurl, *args], input=data, capture_output=True, timeout=60, text=True)
        return done.stdout + done.stderr

    for name, where in (("plain", ["-plaintext", fleet.address]), ("TLS", ["-cacert", ca, fleet.tls_address])):
        out = run(*where, "list")
        check("grpcurl %s: list" % name, "lipstream.v1.LipSync\n" in out, out)
        out = run(*where, "lipstream.v1.LipSync/GetServerInfo")
        check("grpcurl %s: GetServerInfo" % name, '"sessions-max"' in out, out)
    chunk = lambda data: {"data": base64.b64encode(data).decode(), "end": True}
    lines = [{"config": {"audio": {"pcm": {"sampleRateHz": 16000}}, "video": {"container": {}},
                         "face": {"fixedBox": {"left": 100, "top": 60, "right": 200, "bottom": 180}}}},
             {"audio": chunk(media("voice.pcm")[:VOICE_BYTES])}, {"video": chunk(media("face.mp4"))}]
    out = run("-plaintext", "-d", "@", fleet.address, "lipstream.v1.LipSync/Sync",
              data="".join(json.dumps(line) for line in lines))
    check("grpcurl: Sync", base64.b64encode(lone[-90:]).decode()[4:-4] and '"summary"' in out and
          base64.b64encode(hashlib.sha256(lone).digest()).decode() in out, out[-800:])


# --- gRPC-Web --------------------------------------------------------------------------------------------
def web_frames(data):
    """Frames of a gRPC-Web body: (flag, bytes)."""
    frames = []
    while len(data) >= 5:
        flag, size = struct.unpack(">BI", data[:5])
        frames.append((flag, data[5:5 + size]))
        data = data[5 + size:]
    return frames


def web_frame(message):
    data = message.SerializeToString()
    return struct.pack(">BI", 0, len(data)) + data


def web_call(fleet, method, body, kind="application/grpc-web+proto"):
    connection = http.client.HTTPConnection("127.0.0.1", fleet.ports["plain"], timeout=60)
    connection.request("POST", "/lipstream.v1.LipSync/" + method, body, {
        "content-type": kind, "accept": kind, "x-grpc-web": "1", "origin": "http://localhost:3000"})
    reply = connection.getresponse()
    data = reply.read()
    connection.close()
    return reply, data


def test_web(fleet, lone):
    reply, data = web_call(fleet, "GetServerInfo", web_frame(pb.GetServerInfoRequest()))
    frames = web_frames(data)
    check("gRPC-Web: HTTP/1.1 200", reply.status == 200 and reply.version == 11, reply.status)
    check("gRPC-Web: a message and the trailers", [f for f, _ in frames] == [0, 128] and
          b"grpc-status:0" in frames[1][1].replace(b" ", b""), data[-200:])
    check("gRPC-Web: the message", pb.GetServerInfoResponse.FromString(frames[0][1]).version)
    check("CORS: the origin is allowed", reply.getheader("access-control-allow-origin") ==
          "http://localhost:3000", reply.getheaders())
    check("CORS: pages may read what matters", {"grpc-status", "grpc-status-details-bin", "lipstream-session-id"} <=
          set((reply.getheader("access-control-expose-headers") or "").split(",")), reply.getheaders())
    body = b"".join(web_frame(m) for m in [
        pb.SyncRequest(config=small_config()), *_stubs.pieces(media("voice.pcm")[:VOICE_BYTES], media("face.mp4"))])
    reply, data = web_call(fleet, "Sync", body)
    replies = [pb.SyncResponse.FromString(m) for f, m in web_frames(data) if f == 0]
    check("gRPC-Web: a whole Sync", b"".join(r.media.data for r in replies) == lone and
          replies[-1].HasField("summary"), data[-200:])
    reply, data = web_call(fleet, "GetServerInfo", base64.b64encode(web_frame(pb.GetServerInfoRequest())),
                           "application/grpc-web-text")
    check("gRPC-Web as text", reply.status == 200 and data and b"\0" not in data, data[:80])
    bad = web_frame(pb.SyncRequest(audio=pb.InputChunk(data=b"x")))
    reply, data = web_call(fleet, "Sync", bad)
    text = str(reply.getheaders()).encode() + data
    check("gRPC-Web: an error has its status", b"grpc-status" in text and b"3" in text, text[-300:])


def test_preflight(fleet):
    for origin, allowed in (("http://localhost:3000", True), ("https://evil.example", False)):
        connection = http.client.HTTPConnection("127.0.0.1", fleet.ports["plain"], timeout=20)
        connection.request("OPTIONS", "/lipstream.v1.LipSync/Sync", headers={
            "origin": origin, "access-control-request-method": "POST",
            "access-control-request-headers": "content-type,x-grpc-web,authorization"})
        reply = connection.getresponse()
        reply.read()
        connection.close()
        got = reply.getheader("access-control-allow-origin")
        check("preflight from " + origin, (got == origin) == allowed and (not allowed or (
            reply.status == 200 and "authorization" in reply.getheader("access-control-allow-headers") and
            "POST" in reply.getheader("access-control-allow-methods"))), (reply.status, reply.getheaders()))


# --- credentials, refusals, deaths -----------------------------------------------------------------------
def test_tokens(fleet):
    ask = lambda channel, metadata: pb_grpc.LipSyncStub(channel).GetServerInfo(
        pb.GetServerInfoRequest(), metadata=metadata, timeout=10)
    with fleet.channel(tls=True) as channel:
        for name, metadata, code in (
                ("no token", [], grpc.StatusCode.UNAUTHENTICATED),
                ("a wrong token", [("authorization", "Bearer " + TOKEN + "x")], grpc.StatusCode.UNAUTHENTICATED),
                ("the token", [("authorization", "Bearer " + TOKEN)], grpc.StatusCode.OK)):
            try:
                got = grpc.StatusCode.OK if ask(channel, metadata).version else None
            except grpc.RpcError as e:
                got = e.code()
            check("authorization passes through: " + name, got == code, got)
        check("health needs none", _stubs.serving(channel))
    check("no token is in the access log", TOKEN not in _envoy.read(fleet.path("access.log")))


def test_refusals(fleet):
    """All places taken: each refusal reaches its caller as it was, at once, and is not tried elsewhere."""
    token = [("authorization", "Bearer " + TOKEN)]
    event = threading.Event()
    with fleet.channel() as channel:
        held = [hold(channel, event, token) for _ in fleet.replicas]
        check("a place on each replica", all(held))
        retries = fleet.stat("cluster.lipstream.upstream_rq_retry")
        times = []
        for _ in range(8):
            started = time.monotonic()
            call = pb_grpc.LipSyncStub(channel).Sync(iter([pb.SyncRequest(config=small_config())]),
                                                     metadata=token, timeout=20)
            result = _stubs.Result()
            try:
                list(call)
            except grpc.RpcError:
                _stubs.take_error(result, call)
            times.append(time.monotonic() - started)
            check("refused with its details", result.code == grpc.StatusCode.RESOURCE_EXHAUSTED and
                  result.reason == "SESSIONS_FULL" and result.retry_s, result)
        check("at once", sorted(times)[4] < 0.25, times)
        check("and not tried again", fleet.stat("cluster.lipstream.upstream_rq_retry") == retries)
        check("a full replica is not ejected", len(fleet.healthy()) == len(fleet.replicas), fleet.hosts())
        for call in held:
            call.cancel()
        event.set()


def test_death(fleet):
    """A replica dies after a call was sent to it and before it answered: UNAVAILABLE, and no second try. (Envoy's
    one worker has connections to both already: a call that waits for one is sent elsewhere, and rightly.)"""
    busy = lambda: [port for port, host in fleet.hosts().items() if _rq(host, "rq_active")]
    end = time.monotonic() + 10
    while busy() and time.monotonic() < end:
        time.sleep(0.05)
    for r in fleet.replicas:
        r.signal(signal.SIGSTOP)
    ended = []

    def ask(channel):
        try:
            pb_grpc.LipSyncStub(channel).GetServerInfo(pb.GetServerInfoRequest(), timeout=20, metadata=[
                ("authorization", "Bearer " + TOKEN)])
            ended.append("OK")
        except grpc.RpcError as e:
            ended.append(e.code())

    with fleet.channel() as channel:
        thread = threading.Thread(target=ask, args=(channel,))
        thread.start()
        end = time.monotonic() + 2
        while not (victim := busy()) and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(0.2)
        retries = fleet.stat("cluster.lipstream.upstream_rq_retry")
        for r in fleet.replicas:
            if [r.port] == victim:
                r.kill()
        thread.join()
        check("cut off before an answer: UNAVAILABLE", ended == [grpc.StatusCode.UNAVAILABLE], (ended, victim))
        check("and not sent to the other", fleet.stat("cluster.lipstream.upstream_rq_retry") == retries)
    for r in fleet.replicas:
        if r.process:
            r.signal(signal.SIGCONT)
    living = [r for r in fleet.replicas if r.process]
    check("Envoy goes on with those that live", fleet.wait_healthy(living, 10), fleet.hosts())


def main():
    with _stubs.start_server("--sessions-max", "1") as server, server.channel() as channel:
        result = small_call(channel)
        check("a lone run", result.ok(), result)
        lone = result.media
    with _envoy.start_fleet("--sessions-max", str(SESSIONS), "--threads", "1") as fleet:
        test_calls(fleet, lone)
        test_metadata(fleet)
        test_deadline(fleet)
        test_sizes(fleet)
        test_web(fleet, lone)
        test_preflight(fleet)
        test_grpcurl(fleet, lone)
        test_idle(fleet)
        test_renewal(fleet, lone)
        test_many(fleet, lone)
    tokens = os.path.join(_stubs.BUILD, "envoy-%d.tokens" % os.getpid())
    with open(os.open(tokens, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        file.write("tester %s sync,info\n" % hashlib.sha256(TOKEN.encode()).hexdigest())
    try:
        with _envoy.start_fleet("--sessions-max", "1", "--threads", "1", "--tokens", tokens,
                                count=2, workers=1) as fleet:
            test_tokens(fleet)
            test_refusals(fleet)
            test_death(fleet)
    finally:
        os.unlink(tokens)
    finish()


if __name__ == "__main__":
    sys.exit(main())
