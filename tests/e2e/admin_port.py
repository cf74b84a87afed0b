# SPDX-License-Identifier: Apache-2.0
# The admin port itself: /healthz, /readyz, /configz and who may read them, names that callers bring along, a
# drain, descriptors that run out, and hostile HTTP clients beside a stream that must stay whole.
import json
import os
import re
import resource
import signal
import socket
import subprocess
import tempfile
import threading
import time

import grpc

import _certs
import _stubs
from _seeing import Hold, lines_of, media, take_all, wait_for
from _stubs import check, finish, pb, pb_grpc, start_server, sync


# --- pages and who may read them --------------------------------------------------------------------------
def status_of(server, path, method="GET", headers=()):
    """Status line, headers and body as they come."""
    host, _, port = server.admin.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as peer:
        lines = ["%s %s HTTP/1.1" % (method, path), "Host: test", *headers, "", ""]
        peer.sendall("\r\n".join(lines).encode())
        content = b""
        while True:
            more = peer.recv(65536)
            if not more:
                break
            content += more
    head, _, body = content.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode(), body.decode()


def test_pages():
    with start_server() as server:
        rows = (("/healthz", "GET", 200, "ok\n"), ("/readyz", "GET", 200, "ready\n"), ("/healthz", "HEAD", 200, ""),
                ("/", "GET", 404, None), ("/metrics/", "GET", 404, None), ("/../etc/passwd", "GET", 404, None),
                ("/metrics", "POST", 405, None), ("/configz", "DELETE", 405, None), ("/healthz", "PUT", 405, None),
                ("/metrics?x=1", "GET", 200, None), ("/metrics", "HEAD", 200, ""))
        for path, method, status, body in rows:
            got = status_of(server, path, method)
            check("%s %s" % (method, path), got[0] == status and body in (None, got[2]), got)
        check("405 says what may be", "Allow: GET, HEAD" in status_of(server, "/metrics", "POST")[1])
        head = status_of(server, "/metrics")[1]
        check("type of /metrics", "Content-Type: text/plain; version=0.0.4; charset=utf-8" in head, head)
        head, body = status_of(server, "/configz")[1:]
        config = json.loads(body)
        check("type of /configz", "Content-Type: application/json" in head, head)
        printed = subprocess.run([os.path.join(_stubs.BUILD, "lipstreamd"), "--print-config"], capture_output=True,
                                 text=True, env={"PATH": os.environ["PATH"]}).stdout
        names = {row.split(" = ")[0] for row in printed.splitlines()}
        check("/configz has every option", set(config["options"]) == names, set(config["options"]) ^ names)
        check("/configz: in force", config["options"]["sessions-max"] == 16 and config["address"] == server.address,
              config["address"])
    with start_server("--admin-listen", "none") as server:
        check("no admin port", server.admin is None and "admin=none" in server.stderr(), server.stderr())


def test_scopes():
    secrets = {"prometheus": "prom-0123456789abcdef0123456789abcdef", "caller": "call-0123456789abcdef0123456789abcdef"}
    with tempfile.NamedTemporaryFile("w", dir=_stubs.BUILD) as tokens:
        tokens.write(_certs.token_line("prometheus", secrets["prometheus"], "admin"))
        tokens.write(_certs.token_line("caller", secrets["caller"], "sync,info"))
        tokens.flush()
        with start_server("--tokens", tokens.name, "--log-format", "json") as server, server.channel() as channel:
            bearer = {name: ("Authorization: Bearer " + secret,) for name, secret in secrets.items()}
            wrong = ("Authorization: Bearer prom-0123456789abcdef0123456789abcdee",)
            for page in ("/metrics", "/configz"):
                rows = (("nobody", (), 401), ("a wrong token", wrong, 401), ("another scope", bearer["caller"], 403),
                        ("Prometheus", bearer["prometheus"], 200),
                        ("Basic", ("Authorization: Basic cHJvbTpwcm9t",), 401))
                for name, headers, status in rows:
                    got = status_of(server, page, "GET", headers)
                    check("%s for %s" % (page, name), got[0] == status, got)
                    check("%s for %s: challenge" % (page, name), ("WWW-Authenticate: Bearer" in got[1]) ==
                          (status == 401), got[1])
            for page in ("/healthz", "/readyz", "/nothing"):
                got = status_of(server, page)
                check(page + " is open", got[0] == (404 if page == "/nothing" else 200), got)
            text = status_of(server, "/configz", "GET", bearer["prometheus"])[2]
            check("paths, not secrets", tokens.name in text and "0123456789abcdef" not in text)
            stub = pb_grpc.LipSyncStub(channel)
            config = pb.SyncRequest(config=_stubs.container_config())
            for name, token, code in (("nobody", None, "UNAUTHENTICATED"), ("prometheus", "prometheus",
                                                                           "PERMISSION_DENIED"),
                                      ("caller", "caller", "INVALID_ARGUMENT")):
                metadata = (("authorization", "Bearer " + secrets[token]),) if token else ()
                call = stub.Sync(iter([config]), metadata=metadata, timeout=20)
                try:
                    list(call)
                except grpc.RpcError:
                    check("Sync for " + name, call.code().name == code, (call.code(), call.details()))
            wait_for(lambda: lines_of(server, status="INVALID_ARGUMENT"))
            row = lines_of(server, status="INVALID_ARGUMENT")[0]
            check("log: the caller's name", row["name"] == "caller", row)
            check("log: no token", "0123456789abcdef" not in server.stderr())


def test_subjects():
    """What a JWT's issuer lets in as a name cannot break a line, nor be cut within a character."""
    issuer, subjects = _certs.Issuer(), ('a"b\\c\n{"event":"forged"}', "\u202e\u0085\x1b[31m", "\u20ac" * 50,
                                         "x" + "\U0001f600" * 40)
    with tempfile.TemporaryDirectory(dir=_stubs.BUILD) as folder:
        jwks = _certs.write(os.path.join(folder, "jwks.json"), issuer.jwks())
        with start_server("--jwks", jwks, "--jwt-issuer", issuer.issuer, "--jwt-audience", issuer.audience,
                          "--log-format", "json") as server, server.channel() as channel:
            for subject in subjects:
                call = pb_grpc.LipSyncStub(channel).Sync(iter([pb.SyncRequest(audio=pb.InputChunk())]), metadata=(
                    ("authorization", "Bearer " + issuer.sign(sub=subject)),))
                list(take_all(call))
                check("subject %r" % subject, call.code() in (grpc.StatusCode.INVALID_ARGUMENT,
                                                              grpc.StatusCode.UNAUTHENTICATED), call.code())
            wait_for(lambda: len(lines_of(server, reason="MESSAGE_ORDER")) == len(subjects))
            rows = server.stderr().splitlines()
            check("every line is JSON", all(type(json.loads(row)) is dict for row in rows), rows)
            names = [row.get("name", "") for row in lines_of(server, reason="MESSAGE_ORDER")]
            check("a name each, without what could do harm", len(names) == len(subjects) and
                  all(re.fullmatch(r"[^\x00-\x1f\x7f-\x9f\u202e]{3,63}", name) for name in names), names)


def test_drain():
    """/readyz says that it drains while a call still runs; /healthz goes on."""
    with start_server("--drain-timeout", "20000") as server, server.channel() as channel:
        hold = Hold(channel)
        server.process.send_signal(signal.SIGTERM)
        check("/readyz while it drains", wait_for(lambda: server.get("/readyz")[0] == 503))
        check("/readyz says why", "draining" in server.get("/readyz")[1], server.get("/readyz"))
        check("/healthz while it drains", server.get("/healthz") == (200, "ok\n"))
        now = server.metrics()
        check("gauges while it drains", now["lipstream_ready"] == 0 and now["lipstream_draining"] == 1)
        hold.cancel()
        check("exit code", server.process.wait(20) == 0)
        server.process.poll = lambda: None  # the shared stop expects a living process
        server.process.send_signal = lambda number: None


def cpu_seconds(pid):
    with open("/proc/%d/stat" % pid) as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_descriptors():
    """Out of descriptors: the port waits without spinning, and answers when there are some again."""
    with start_server() as server:
        host, _, port = server.admin.rpartition(":")
        limits = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        fds = server.usage()["fds"]
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (fds + 3, limits[1]))
        crowd = [socket.create_connection((host, int(port)), timeout=5) for _ in range(12)]
        time.sleep(0.3)
        before = cpu_seconds(server.pid)
        time.sleep(1)
        used = cpu_seconds(server.pid) - before
        check("descriptors do run out", server.usage()["fds"] < fds + 12, server.usage())
        check("the loop does not spin", used < 0.3, used)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)
        check("answers again", server.get("/healthz") == (200, "ok\n"))
        for one in crowd:
            one.close()


# --- hostile clients --------------------------------------------------------------------------------------
def trickle(address, stop, counts):
    """Sends a request so slowly that it never ends, again and again."""
    while not stop.is_set():
        try:
            with socket.create_connection(address, timeout=5) as peer:
                counts["slow"] += 1
                for byte in b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: " + b"y" * 1000:
                    peer.sendall(bytes([byte]))
                    if stop.wait(0.1):
                        return
        except OSError:
            counts["cut"] += 1


def rubbish(address, stop, counts):
    """What no HTTP server should be moved by: not HTTP, endless headers, many requests at once, no reading."""
    attacks = (b"\x16\x03\x01\x02\x00" * 4000, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20000,
               b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 200, b"POST /metrics HTTP/1.1\r\nHost: x\r\n"
               b"Content-Length: 999999999999\r\n\r\n" + b"z" * 65536,
               b"GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
               b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\r\n" * 10000, b"GET " + b"/a" * 30000)
    while not stop.is_set():
        for attack in attacks:
            try:
                with socket.create_connection(address, timeout=2) as peer:
                    counts["rubbish"] += 1
                    peer.settimeout(0.2)
                    peer.sendall(attack)
                    peer.recv(100)
            except OSError:
                pass
            if stop.wait(0.05):
                return


def test_hostile():
    voice, face = media("voice.wav"), media("face.mp4")
    with start_server("--admin-connections-max", "8", "--admin-request-max", "1000") as server, \
            server.channel() as channel:
        host, _, port = server.admin.rpartition(":")
        address, stop = (host, int(port)), threading.Event()
        alone = sync(channel, _stubs.container_config(), voice, face)
        fds = server.usage()["fds"]
        counts = {"slow": 0, "cut": 0, "rubbish": 0}
        attackers = [threading.Thread(target=trickle, args=(address, stop, counts)) for _ in range(6)]
        attackers += [threading.Thread(target=rubbish, args=(address, stop, counts)) for _ in range(2)]
        for attacker in attackers:
            attacker.start()
        beside, end = [], time.monotonic() + 4
        while time.monotonic() < end:
            beside.append(sync(channel, _stubs.container_config(), voice, face))
        answered = server.get("/healthz", timeout=10)
        stop.set()
        for attacker in attackers:
            attacker.join()
        check("there was an attack", counts["slow"] > 6 and counts["rubbish"] > 8, counts)
        check("slow ones are cut", counts["cut"] > 0, counts)
        check("the stream is whole", alone.ok() and all(r.ok() and r.media == alone.media for r in beside), beside)
        check("and no slower than it must", max(r.seconds for r in beside) < alone.seconds * 4 + 2,
              [alone.seconds] + [r.seconds for r in beside])
        check("the page still comes", answered == (200, "ok\n"), answered)
        check("descriptors are back", wait_for(lambda: server.usage()["fds"] <= fds + 2), server.usage())
        crowd = [socket.create_connection(address, timeout=5) for _ in range(30)]
        began = time.monotonic()
        check("after a crowd", server.get("/readyz", timeout=20)[0] == 200)
        check("within the crowd's time", time.monotonic() - began < 8, time.monotonic() - began)
        for one in crowd:
            one.close()


def test_crowd():
    """Sixty who say nothing, and a probe behind them."""
    with start_server() as server:
        host, _, port = server.admin.rpartition(":")
        crowd = [socket.create_connection((host, int(port)), timeout=5) for _ in range(60)]
        began = time.monotonic()
        check("a crowd: the probe is answered", server.get("/healthz", timeout=20)[0] == 200)
        check("a crowd: in time", time.monotonic() - began < 3, time.monotonic() - began)
        for one in crowd:
            one.close()


test_pages()
test_scopes()
test_subjects()
test_drain()
test_descriptors()
test_crowd()
test_hostile()
finish()
