# SPDX-License-Identifier: Apache-2.0
# What an operator sees: /metrics against what was done (frames, bytes, refusals, classes, ids), its format by
# promtool, its label sets bounded whatever strangers call, the dashboard's and the rules' names; the log line of
# a call in both forms; W3C trace ids in and out; certificates and reloads.
import json
import os
import re
import signal
import tempfile
import threading
import time

import grpc

import _certs
import _stubs
from _seeing import Hold, lines_of, media, promtool, take_all, wait_for
from _stubs import ROOT, check, finish, pb, pb_grpc, run_call, start_server, sync

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = ("traceparent", "00-%s-%s-01" % (TRACE, SPAN))
SYNC, INFO = "lipstream.v1.LipSync/Sync", "lipstream.v1.LipSync/GetServerInfo"


def family_of(series):
    return re.sub(r"_(bucket|sum|count)$", "", series.partition("{")[0])


# --- metrics against what was done ------------------------------------------------------------------------
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


def check_expressions(expressions):
    """Grafana's variables filled in, each is PromQL."""
    filled = [re.sub(r"\$(job|instance)", ".*", e.replace("$__rate_interval", "5m")) for e in expressions]
    rules = [{"record": "panel:%d" % i, "expr": e} for i, e in enumerate(filled)]
    with tempfile.NamedTemporaryFile("w", suffix=".yml", dir=_stubs.BUILD) as file:
        json.dump({"groups": [{"name": "panels", "rules": rules}]}, file)  # JSON is YAML
        file.flush()
        promtool("expressions of the dashboard", "check", "rules", file.name)


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
    check_expressions(expressions)
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
              wait_for(lambda: tail["lipstream-session-id"] in server.stderr(), 5), tail)
        for _ in range(60):
            run_call(channel, [pb.SyncRequest(audio=pb.InputChunk())])
        time.sleep(1.1)
        run_call(channel, [pb.SyncRequest(audio=pb.InputChunk())])
        check("the rest is counted", wait_for(lambda: " dropped=" in server.stderr(), 5), server.stderr())
        count = server.stderr().count("reason=MESSAGE_ORDER")
        told = sum(int(n) for n in re.findall(r" dropped=(\d+)", server.stderr()))
        check("lines and those left out are all", count + told == 62 and count < 40, (count, told))


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


test_metrics()
test_running()
test_text_log()
test_certificate()
finish()
