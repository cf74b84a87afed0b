# SPDX-License-Identifier: Apache-2.0
# What an operator sees: /metrics against what was done (frames, bytes, refusals, classes, ids), its format by
# promtool, its label sets bounded whatever strangers call, the dashboard's and the rules' names; /healthz,
# /readyz, /configz and who may read them; the log line of a call in both forms; W3C trace ids in and out; and
# hostile HTTP clients beside a stream that must stay whole.
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import grpc

import _certs
import _stubs
from _stubs import ROOT, check, finish, pb, pb_grpc, run_call, start_server, sync

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = ("traceparent", "00-%s-%s-01" % (TRACE, SPAN))
SYNC, INFO = "lipstream.v1.LipSync/Sync", "lipstream.v1.LipSync/GetServerInfo"


def media(kind):
    with open(_stubs.make_media(kind), "rb") as file:
        return file.read()


def promtool(row, *args, given=None):
    tool = os.path.join(ROOT, "build", "tools", "promtool")
    tool = tool if os.path.exists(tool) else shutil.which("promtool")
    if not tool:
        print("SKIP: %s needs promtool (docker/deps.sh --test brings it)" % row)
        return
    done = subprocess.run([tool, *args], input=given, capture_output=True, text=True)
    check(row, done.returncode == 0 and (not given or not done.stderr), done.stdout + done.stderr)


def wait_for(what, seconds=20):
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.05)
    return what()


def lines_of(server, **want):
    """The log's JSON lines with these values."""
    rows = [json.loads(row) for row in server.stderr().splitlines() if row.startswith("{")]
    return [row for row in rows if all(row.get(key) == value for key, value in want.items())]


def family_of(series):
    return re.sub(r"_(bucket|sum|count)$", "", series.partition("{")[0])


# --- metrics against what was done ------------------------------------------------------------------------
class Hold:
    """A session that stays open until it is let go."""

    def __init__(self, channel, *metadata):
        self.event = threading.Event()
        self.call = pb_grpc.LipSyncStub(channel).Sync(self.requests(), metadata=metadata)
        check("a session that is held", next(self.call).HasField("accepted"))

    def requests(self):
        yield pb.SyncRequest(config=_stubs.container_config())
        self.event.wait(60)

    def cancel(self):
        self.call.cancel()
        self.event.set()


def refused_batch(channel):
    r = _stubs.Result()
    call = pb_grpc.LipSyncStub(channel).Sync(iter([pb.SyncRequest(config=_stubs.container_config())]),
                                             metadata=(("lipstream-priority", "batch"),))
    try:
        list(call)
    except grpc.RpcError:
        _stubs.take_error(r, call)
    return r


def count_refusals(server, channel):
    holds = [Hold(channel), Hold(channel, ("lipstream-priority", "batch"))]
    open_now = server.metrics()
    for name, value in (("interactive", 1), ("batch", 1)):
        key = 'lipstream_sessions_open{state="probing",class="%s"}' % name
        check("open, " + name, open_now[key] == value, open_now[key])
    for _ in range(3):
        r = run_call(channel, [pb.SyncRequest(config=_stubs.container_config())])
        check("refused", r.reason == "SESSIONS_FULL" and 0.8 <= r.retry_s <= 1.2, "%s %s" % (r, r.retry_s))
    r = refused_batch(channel)
    check("refused, batch", r.reason == "SESSIONS_FULL", r)
    for hold in holds:
        hold.cancel()
    check("cancelled ones are gone", wait_for(lambda: not any(
        value for key, value in server.metrics().items() if key.startswith("lipstream_sessions_open"))))


def call_strangers(channel, count=40):
    for i in range(count):
        for path in ("/lipstream.v1.LipSync/Method%d" % i, '/a"b{c=\\"%d\\"}\\n/d' % i):
            try:
                channel.unary_unary(path)(b"", timeout=10)
            except grpc.RpcError as error:
                check("unknown method", error.code() == grpc.StatusCode.UNIMPLEMENTED, error)
    return 2 * count


def compare(row, got, want):
    check(row, got == want, "%s in /metrics, %s were done" % (got, want))


def counted_call(server, channel, before):
    """A whole call: its summary against what the counters grew by."""
    voice, face = media("voice.wav"), media("face.mp4")
    r = sync(channel, _stubs.container_config(), voice, face)
    check("the call", r.ok(), r)
    wait_for(lambda: server.metrics()['lipstream_sessions_total{reason="OK",class="interactive"}'])
    after = server.metrics()

    def grew(key):
        return after[key] - before[key]

    s = r.summary
    for action in ("synced", "passed_through", "held", "silent"):
        compare("frames " + action, grew('lipstream_frames_total{action="%s"}' % action),
                getattr(s, "frames_" + action))
    compare("frames in all", sum(grew(key) for key in after if key.startswith("lipstream_frames_total")), s.frames_out)
    compare("audio bytes", grew('lipstream_input_bytes_total{input="audio"}'), len(voice))
    compare("video bytes", grew('lipstream_input_bytes_total{input="video"}'), len(face))
    compare("bytes out", grew("lipstream_output_bytes_total"), len(r.media))
    compare("seconds of output", grew("lipstream_output_seconds_total"), 2)
    compare("first media", grew('lipstream_first_media_seconds_count{class="interactive"}'), 1)
    compare("length", grew('lipstream_session_seconds_count{class="interactive"}'), 1)
    compare("real-time factor", grew('lipstream_real_time_factor_ratio_count{class="interactive"}'), 1)
    faces = grew("lipstream_batch_faces_sum")
    compare("faces in batches", faces, s.frames_synced)
    compare("waits for a batch", grew('lipstream_batch_wait_seconds_count{class="interactive"}'), faces)
    for stage in ("decode", "generate", "encode"):
        took = grew('lipstream_stage_seconds_total{stage="%s"}' % stage)
        check("time of stage " + stage, 0 < took < 60, took)
    return r


def count_while_running(server, channel):
    """Counters do not wait for a session's end: it may be hours away."""
    voice, face = media("voice_long.wav"), media("face_fragments.mp4")
    go, before = threading.Event(), server.metrics()

    def requests():
        yield pb.SyncRequest(config=_stubs.container_config())
        yield from _stubs.pieces(voice, None)
        yield from _stubs.pieces(None, face[:len(face) * 3 // 4], end=False)
        go.wait(30)

    call = pb_grpc.LipSyncStub(channel).Sync(requests(), timeout=60, metadata=(("lipstream-priority", "batch"),))
    taker = threading.Thread(target=lambda: list(take_all(call)))
    taker.start()
    key = 'lipstream_frames_total{action="synced"}'
    check("frames while it runs", wait_for(lambda: server.metrics()[key] - before[key] >= 50), server.metrics()[key])
    now = server.metrics()
    check("open: running", now['lipstream_sessions_open{state="running",class="batch"}'] == 1)
    check("bytes while it runs", now["lipstream_output_bytes_total"] > before["lipstream_output_bytes_total"])
    check("first media while it runs", now['lipstream_first_media_seconds_count{class="batch"}'] == 1)
    check("spool", now["lipstream_spool_bytes"] >= 0 and now["lipstream_frame_pixels"] > 0, now["lipstream_frame_pixels"])
    compare("not ended", now['lipstream_sessions_total{reason="CANCELLED",class="batch"}'], 0)
    call.cancel()
    go.set()
    taker.join()
    check("frame memory is back", wait_for(lambda: server.metrics()["lipstream_frame_pixels"] == 0))


def take_all(call):
    try:
        yield from call
    except grpc.RpcError:
        pass


def count_detections(server, channel):
    if not _stubs.has_face():
        print("SKIP: detections need a detector and the portrait of facedetect")
        return
    for kind, result in (("face_tiny.mp4", "found"), ("no_face.mp4", "missed")):
        key, before = 'lipstream_detections_total{result="%s"}' % result, server.metrics()
        r = sync(channel, _stubs.container_config(box=False), media("voice_short.wav"), media(kind))
        check("call of " + kind, r.ok(), r)
        check("detections " + result, server.metrics()[key] > before[key])


def test_running():
    with start_server() as server, server.channel() as channel:
        count_while_running(server, channel)
        count_detections(server, channel)


def check_counts(server):
    """Calls, refusals and sessions by their labels; nothing is counted that was not done."""
    now = server.metrics()
    calls = {re.search(r'method="(.*?)",code="(.*?)"', key).groups(): value for key, value in now.items()
             if key.startswith("lipstream_calls_total") and value and "Health" not in key}
    compare("calls", calls, {(SYNC, "OK"): 1, (SYNC, "RESOURCE_EXHAUSTED"): 4, (SYNC, "CANCELLED"): 2,
                             (SYNC, "INVALID_ARGUMENT"): 1, (INFO, "OK"): 2, ("other", "UNIMPLEMENTED"): 80})
    refused = {key: value for key, value in now.items() if key.startswith("lipstream_refused_total") and value}
    compare("refusals", refused, {'lipstream_refused_total{reason="SESSIONS_FULL",class="interactive"}': 3,
                                  'lipstream_refused_total{reason="SESSIONS_FULL",class="batch"}': 1,
                                  'lipstream_refused_total{reason="FIELD_INVALID",class="interactive"}': 1})
    ended = {key: value for key, value in now.items() if key.startswith("lipstream_sessions_total") and value}
    compare("sessions", ended, {'lipstream_sessions_total{reason="OK",class="interactive"}': 1,
                                'lipstream_sessions_total{reason="CANCELLED",class="interactive"}': 1,
                                'lipstream_sessions_total{reason="CANCELLED",class="batch"}': 1})


def check_gauges(server):
    now, usage = server.metrics(), server.usage()
    compare("limit", now['lipstream_sessions_limit{class="interactive"}'], 2)
    compare("threads", now["process_threads"], usage["threads"])
    check("descriptors", abs(now["process_open_fds"] - usage["fds"]) <= 2, (now["process_open_fds"], usage))
    check("memory", abs(now["process_resident_memory_bytes"] / 1024 - usage["rss_kb"]) < 8192, usage)
    check("connections", now["lipstream_connections_open"] >= 1, now["lipstream_connections_open"])
    compare("decode processes", sum(value for key, value in now.items() if "lipstream_decode_processes" in key),
            usage["children"])
    check("start", abs(now["process_start_time_seconds"] - time.time()) < 120, now["process_start_time_seconds"])


def check_names(text):
    """All names of the code are there, and those of the dashboard and the rules; the rules fire as they should."""
    there = set(re.findall(r"^# TYPE (\S+)", text, re.M)) | {"lipstream_certificate_left_seconds"}  # with TLS only
    with open(os.path.join(ROOT, "server", "metrics.h")) as file:
        named = set(re.findall(r'^ +[CHG]\(\w+,[^"]*"((?:lipstream|process)_\w+)"', file.read(), re.M))
    check("names of the code", named == there and len(named) > 40, named ^ there)
    folder = os.path.join(ROOT, "docker", "grafana")
    with open(os.path.join(folder, "lipstream.json")) as file:
        dashboard = json.load(file)
    expressions = [t["expr"] for p in dashboard["panels"] for t in p.get("targets", ())]
    expressions += [v["definition"] for v in dashboard["templating"]["list"] if "definition" in v]
    check("panels ask for something", len(expressions) > 50, len(expressions))
    used = set(re.findall(r"\b(?:lipstream|process)_\w+", " ".join(expressions)))
    check("the dashboard's names", {family_of(name) for name in used} <= there, used - there)
    check("the dashboard shows all", there <= {family_of(name) for name in used} | {"process_virtual_memory_bytes"},
          there - used)
    with open(os.path.join(folder, "alerts.yml")) as file:
        rules = re.findall(r"\b(?:lipstream|process)_\w+", "".join(re.findall(r"expr:(.*?)\n +(?:for|labels):",
                                                                              file.read(), re.S)))
    check("the rules' names", rules and {family_of(name) for name in rules} <= there, set(rules) - there)
    promtool("promtool check rules", "check", "rules", os.path.join(folder, "alerts.yml"))
    promtool("promtool test rules", "test", "rules", os.path.join(ROOT, "tests", "e2e", "_alerts.yml"))


def test_metrics():
    with start_server("--log-format", "json", "--sessions-max", "2", "--batch-sessions-max", "1") as server, \
            server.channel() as channel:
        before = server.metrics()
        counted = counted_call(server, channel, before)
        count_refusals(server, channel)
        strangers = call_strangers(channel)
        config = _stubs.container_config()
        config.output.crf = 99
        bad = sync(channel, config, b"", b"")
        check("a violation", bad.reason == "FIELD_INVALID", bad)
        stub = pb_grpc.LipSyncStub(channel)
        ids = [dict(call.initial_metadata()) for call in
               (stub.GetServerInfo.with_call(pb.GetServerInfoRequest(), metadata=m)[1] for m in ((PARENT,), ()))]
        wait_for(lambda: server.metrics()['lipstream_calls_total{method="%s",code="OK"}' % INFO] == 2)
        check_counts(server)
        check_gauges(server)
        text = server.get("/metrics")[1]
        promtool("promtool check metrics", "check", "metrics", given=text)
        check_names(text)
        check("no series came by foreign names", set(server.metrics()) == set(before),
              set(server.metrics()) ^ set(before))
        check("a scrape is small", len(text) < 100_000, len(text))
        check("the caller's trace goes on", ids[0]["traceparent"].startswith("00-%s-" % TRACE) and
              SPAN not in ids[0]["traceparent"], ids[0])
        check("a trace of its own", re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", ids[1]["traceparent"]), ids[1])
        check("only sessions have an id", "lipstream-session-id" not in ids[0], ids[0])
        check_json_log(server, counted, strangers)


# --- the log ----------------------------------------------------------------------------------------------
def check_json_log(server, counted, strangers):
    wait_for(lambda: len(lines_of(server, reason="METHOD_UNKNOWN")) == strangers)
    strange = [line for line in server.stderr().splitlines() if not line.startswith("{")]
    check("log: nothing but JSON", not strange, "\n".join(strange[:100]))
    rows = lines_of(server, event="call", status="OK", method="/" + SYNC)
    check("one line of the whole call", len(rows) == 1, rows)
    row, s = rows[0], counted.summary
    want = {"level": "info", "reason": "OK", "class": "interactive", "live": 0, "waited_ms": 0,
            "session": counted.accepted.session_id, "frames_in": s.frames_in, "frames_out": s.frames_out,
            "synced": s.frames_synced, "passed_through": s.frames_passed_through, "held": s.frames_held,
            "silent": s.frames_silent, "audio_bytes": len(media("voice.wav")),
            "video_bytes": len(media("face.mp4")), "bytes_out": len(counted.media), "output_ms": 2000}
    for key, value in want.items():
        check("log: " + key, row.get(key) == value, "%s, not %s" % (row.get(key), value))
    for key in ("ms", "first_media_ms", "real_time_percent", "generate_ms", "encode_ms", "decode_ms"):
        check("log: " + key, type(row.get(key)) is int and 0 < row[key] < 60000, row.get(key))
    check("log: ids", re.fullmatch("[0-9a-f]{32}", row["trace_id"]) and re.fullmatch("[0-9a-f]{16}", row["span_id"])
          and "parent_id" not in row, row)
    check("log: peer", re.fullmatch(r"127\.0\.0\.1:\d+", row["peer"]), row["peer"])
    check("log: strangers", len(lines_of(server, reason="METHOD_UNKNOWN", level="warn")) == strangers)
    refused = lines_of(server, reason="SESSIONS_FULL", status="RESOURCE_EXHAUSTED")
    check("log: refusals", sorted(row["class"] for row in refused) == ["batch"] + 3 * ["interactive"], refused)
    quiet = lines_of(server, method="/" + INFO)
    check("log: nothing of calls that only ask", not quiet, quiet)


def test_text_log():
    """The other form; a refused call's ids come back in its trailers. Lines of refusals are limited."""
    with start_server("--log-refusals-max", "5") as server, server.channel() as channel:
        voice, face = media("voice_short.wav"), media("face_tiny.mp4")
        stub = pb_grpc.LipSyncStub(channel)
        config = pb.SyncRequest(config=_stubs.container_config())
        proxy = ("x-request-id", "4dfb2a3c-9f2e"), ("x-forwarded-for", "2001:db8::1" + ", 192.0.2.1" * 20)
        call = stub.Sync(iter([config, *_stubs.pieces(voice, face)]), metadata=(PARENT, *proxy), timeout=60)
        check("a call", [m.WhichOneof("response") for m in call][-1] == "summary")
        head = dict(call.initial_metadata())
        wait_for(lambda: "status=OK" in server.stderr())
        row = next(line for line in server.stderr().splitlines() if "status=OK" in line)
        span = head["traceparent"].split("-")[2]
        for want in (" info  call method=/" + SYNC, " reason=OK ", " trace_id=%s span_id=%s parent_id=%s" %
                     (TRACE, span, SPAN), " session=%s " % head["lipstream-session-id"], " frames_out=",
                     " real_time_percent=", " encode_ms=", " request_id=4dfb2a3c-9f2e ",
                     ' forwarded_for="2001:db8::1, 192.0.2.1, '):
            check("text log: " + want.strip(), want in row, row)
        bad = stub.Sync(iter([pb.SyncRequest(audio=pb.InputChunk())]), metadata=(PARENT,))
        r = _stubs.Result()
        try:
            list(bad)
        except grpc.RpcError:
            _stubs.take_error(r, bad)
        tail = dict(bad.trailing_metadata())
        check("a refused call is trailers alone", r.reason == "MESSAGE_ORDER" and not bad.initial_metadata(),
              bad.initial_metadata())
        check("with its ids", tail["traceparent"].startswith("00-" + TRACE) and
              tail["lipstream-session-id"] in server.stderr(), tail)
        for _ in range(60):
            run_call(channel, [pb.SyncRequest(audio=pb.InputChunk())])
        time.sleep(1.1)
        run_call(channel, [pb.SyncRequest(audio=pb.InputChunk())])
        check("the rest is counted", wait_for(lambda: " dropped=" in server.stderr(), 5), server.stderr())
        count = server.stderr().count("reason=MESSAGE_ORDER")
        told = sum(int(n) for n in re.findall(r" dropped=(\d+)", server.stderr()))
        check("lines and those left out are all", count + told == 62 and count < 40, (count, told))


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
            rows = server.stderr().splitlines()
            check("every line is JSON", all(type(json.loads(row)) is dict for row in rows), rows)
            names = [row.get("name", "") for row in lines_of(server, reason="MESSAGE_ORDER")]
            check("a name each, without what could do harm", len(names) == len(subjects) and
                  all(re.fullmatch(r"[^\x00-\x1f\x7f-\x9f\u202e]{3,63}", name) for name in names), names)


def test_certificate():
    """How long the certificate lasts, before and after a reload; a reload that fails is counted as that."""
    left, day = "lipstream_certificate_left_seconds", 86400
    with tempfile.TemporaryDirectory(dir=_stubs.BUILD) as folder:
        authority = _certs.Authority(folder)
        cert, key = authority.issue("server", "localhost", ends_s=30 * day + 3600)
        with start_server("--tls-cert", cert, "--tls-key", key, "--log-format", "json") as server:
            compare("days of the certificate", server.metrics()[left], 30 * day)
            with open(authority.cert, "rb") as file, grpc.secure_channel(
                    "localhost:%d" % server.port, grpc.ssl_channel_credentials(file.read())) as channel:
                run_call(channel, [pb.SyncRequest(audio=pb.InputChunk())])
            check("log: tls", wait_for(lambda: lines_of(server, event="call", tls="yes")), server.stderr())
            authority.issue("server", "localhost", ends_s=60 * day + 3600)
            server.process.send_signal(signal.SIGHUP)
            check("days after a reload", wait_for(lambda: server.metrics()[left] == 60 * day), server.metrics()[left])
            compare("reloads", server.metrics()['lipstream_reloads_total{code="OK"}'], 1)
            _certs.write(cert, "nothing")
            server.process.send_signal(signal.SIGHUP)
            failed = 'lipstream_reloads_total{code="INVALID_ARGUMENT"}'
            check("a reload that fails", wait_for(lambda: server.metrics()[failed] == 1), server.stderr())
            compare("the old one stays", server.metrics()[left], 60 * day)
            promtool("promtool check metrics, TLS", "check", "metrics", given=server.get("/metrics")[1])


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


test_metrics()
test_descriptors()
test_running()
test_text_log()
test_pages()
test_scopes()
test_subjects()
test_certificate()
test_drain()
test_hostile()
finish()
