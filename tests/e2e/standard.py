# SPDX-License-Identifier: Apache-2.0
# What every gRPC client may expect, asked with generic clients: health, reflection (enough to build the API
# from it), GetServerInfo, unknown methods, metadata, compression, the order of messages, sizes, details of
# errors, and the drain.
import os
import resource
import signal
import socket
import sys
import threading
import time

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.rpc import error_details_pb2, status_pb2

import _stubs
from _stubs import BUILD, ROOT, check, error_of, finish, media, pb, pb_grpc, run_call, start_server, sync


def load(*names):
    """Modules made from our own protos of the standard services."""
    from grpc_tools import protoc

    folder = os.path.join(BUILD, "py", "standard-%d" % os.getpid())
    os.makedirs(folder, exist_ok=True)
    known = os.path.join(os.path.dirname(protoc.__file__), "_proto")
    for name in names:
        files = protoc.main(["protoc", "-I" + os.path.join(ROOT, "proto"), "-I" + known,
                             "--descriptor_set_out=" + os.path.join(folder, "set"), name])
        if files != 0:
            sys.exit("protoc failed")
        pool = descriptor_pool.DescriptorPool()
        with open(os.path.join(folder, "set"), "rb") as file:
            for proto in descriptor_pb2.FileDescriptorSet.FromString(file.read()).file:
                pool.Add(proto)
        yield lambda symbol, p=pool: message_factory.GetMessageClass(p.FindMessageTypeByName(symbol))


health, reflection = load("grpc/health/v1/health.proto", "grpc/reflection/v1/reflection.proto")
HealthRequest = health("grpc.health.v1.HealthCheckRequest")
HealthResponse = health("grpc.health.v1.HealthCheckResponse")
ReflectionRequest = reflection("grpc.reflection.v1.ServerReflectionRequest")
ReflectionResponse = reflection("grpc.reflection.v1.ServerReflectionResponse")
SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3


def test_health(channel):
    ask = channel.unary_unary("/grpc.health.v1.Health/Check", HealthRequest.SerializeToString,
                              HealthResponse.FromString)
    for service in ("", "lipstream.v1.LipSync"):
        check("Check of '%s'" % service, ask(HealthRequest(service=service)).status == SERVING)
    r = error_of(lambda: ask(HealthRequest(service="nobody")))
    check("Check of nobody", r.code == grpc.StatusCode.NOT_FOUND and r.reason == "SERVICE_UNKNOWN", r)
    raw = channel.unary_unary("/grpc.health.v1.Health/Check")
    r = error_of(lambda: raw(b"\xff\xff\xff"))
    check("Check with garbage", r.code == grpc.StatusCode.INVALID_ARGUMENT, r)
    watch = channel.unary_stream("/grpc.health.v1.Health/Watch", HealthRequest.SerializeToString,
                                 HealthResponse.FromString)
    for service, want in (("", SERVING), ("lipstream.v1.LipSync", SERVING), ("nobody", SERVICE_UNKNOWN)):
        call = watch(HealthRequest(service=service))
        check("Watch of '%s'" % service, next(call).status == want)
        call.cancel()


def reflect(channel, version, *requests):
    call = channel.stream_stream("/grpc.reflection.%s.ServerReflection/ServerReflectionInfo" % version,
                                 ReflectionRequest.SerializeToString, ReflectionResponse.FromString)
    return list(call(iter(requests), timeout=20))


def test_reflection(channel, version):
    wrong = ["a.B", "lipstream.v1.Nobody", "lipstream.v1", "lipstream.v1.SyncRequest.none", ""]
    replies = reflect(channel, version, ReflectionRequest(list_services="*", host="h"),
                      ReflectionRequest(file_containing_symbol="lipstream.v1.LipSync"),
                      *[ReflectionRequest(file_containing_symbol=w) for w in wrong],
                      ReflectionRequest(file_by_filename="no/such.proto"),
                      ReflectionRequest(all_extension_numbers_of_type="lipstream.v1.Box"))
    if not check(version + ": one reply each", len(replies) == 4 + len(wrong), len(replies)):
        return
    names = [s.name for s in replies[0].list_services_response.service]
    for name in ("lipstream.v1.LipSync", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
                 "grpc.reflection.v1alpha.ServerReflection"):
        check("%s lists %s" % (version, name), name in names, names)
    check(version + ": host and request come back",
          replies[0].valid_host == "h" and replies[0].original_request.list_services == "*")
    for name, reply in zip([*wrong, "no/such.proto"], replies[2:3 + len(wrong)]):
        check("%s: '%s' is not found" % (version, name), reply.error_response.error_code == 5, reply)
    check(version + ": no extensions", replies[-1].all_extension_numbers_response.base_type_name ==
          "lipstream.v1.Box" and not replies[-1].all_extension_numbers_response.extension_number)
    # The files alone are enough to build every message and to call by it.
    files = [descriptor_pb2.FileDescriptorProto.FromString(f)
             for f in replies[1].file_descriptor_response.file_descriptor_proto]
    check(version + ": the file itself comes first", files[0].name == "lipstream/v1/lip_sync.proto")
    pool = descriptor_pool.DescriptorPool()
    for file in reversed(files):
        pool.Add(file)
    service = pool.FindServiceByName("lipstream.v1.LipSync")
    for message in pool.FindFileByName("lipstream/v1/lip_sync.proto").message_types_by_name.values():
        symbols = [message.full_name] + [f.full_name for f in message.fields]
        found = reflect(channel, version, *[ReflectionRequest(file_containing_symbol=s) for s in symbols])
        check("%s: symbols of %s" % (version, message.name),
              all(r.WhichOneof("message_response") == "file_descriptor_response" for r in found))
    method = service.methods_by_name["GetServerInfo"]
    call = channel.unary_unary("/%s/%s" % (service.full_name, method.name))
    info = message_factory.GetMessageClass(method.output_type).FromString(call(b""))
    check(version + ": called by reflected types", info.version and len(info.limits) > 10)
    for symbol in ("lipstream.v1.LipSync.Sync", "lipstream.v1.MASK_MOUTH", "lipstream.v1.Mask",
                   "google.rpc.BadRequest.FieldViolation", "grpc.health.v1.HealthCheckResponse.SERVING"):
        reply = reflect(channel, version, ReflectionRequest(file_containing_symbol=symbol))[0]
        check("%s finds %s" % (version, symbol), reply.HasField("file_descriptor_response"), reply)


def test_info(channel):
    info = pb_grpc.LipSyncStub(channel).GetServerInfo(pb.GetServerInfoRequest())
    check("version and back end", info.version and info.backend and info.arithmetic and info.device)
    check("generator", info.generator.parameter_count > 100000 and info.generator.mask, info.generator)
    limits = {limit.name: limit for limit in info.limits}
    check("a limit with unit and text", limits["message-bytes-max"].value == 65536 and
          limits["message-bytes-max"].unit == "bytes" and limits["message-bytes-max"].description)
    check("sessions free", info.sessions_free == limits["sessions-max"].value and not info.sessions_running)
    check("formats", "mov" in info.input_formats and "h264" in info.input_codecs)
    check("outputs", len(info.containers) == 3 and len(info.video_codecs) == 3)


def test_unknown(channel):
    for path in ("/lipstream.v1.LipSync/Nothing", "/nobody.Service/Method", "/lipstream.v1.LipSync/"):
        r = error_of(lambda p=path: channel.unary_unary(p)(b"", timeout=10))
        check("unknown method " + path, r.code == grpc.StatusCode.UNIMPLEMENTED and
              r.reason == "METHOD_UNKNOWN" and path in r.text, r)


def test_metadata(server):
    with server.channel() as channel:
        stub = pb_grpc.LipSyncStub(channel)
        ask = lambda m: stub.GetServerInfo(pb.GetServerInfoRequest(), metadata=m, timeout=10)
        check("metadata of a kind unknown to us", ask([("x-a", "b"), ("x-a", "c"), ("y-bin", b"\0\xff")]))
        r = error_of(lambda: ask([("x-big", "x" * 40000)]))
        check("metadata of 40 kB is refused", r.code in (grpc.StatusCode.RESOURCE_EXHAUSTED,
                                                        grpc.StatusCode.INTERNAL), r)
    with server.channel() as channel:
        check("the next connection is served",
              pb_grpc.LipSyncStub(channel).GetServerInfo(pb.GetServerInfoRequest(), timeout=10).version)


def test_compression(server):
    for name in ("Gzip", "Deflate"):
        with server.channel() as channel:
            ask = channel.unary_unary("/grpc.health.v1.Health/Check", HealthRequest.SerializeToString,
                                      HealthResponse.FromString)
            kind = getattr(grpc.Compression, name)
            # Long enough that the client does compress it.
            r = error_of(lambda: ask(HealthRequest(service="n" * 2000), compression=kind, timeout=10))
            check(name + " is inflated", r.code == grpc.StatusCode.NOT_FOUND, r)
            bomb = pb.SyncRequest(audio=pb.InputChunk(data=b"\0" * 10_000_000))
            call = pb_grpc.LipSyncStub(channel).Sync(iter([bomb]), compression=kind, timeout=10)
            r = error_of(lambda: list(call))
            check(name + " bomb stops at the limit", r.code == grpc.StatusCode.RESOURCE_EXHAUSTED and
                  r.reason == "LIMIT_EXCEEDED", r)


def pcm_config(**more):
    return pb.SyncConfig(audio=pb.AudioInput(pcm=pb.Pcm(sample_rate_hz=16000)),
                         video=pb.VideoInput(container=pb.Container()), **more)


def test_order(channel):
    config = pb.SyncRequest(config=pcm_config())
    audio = pb.SyncRequest(audio=pb.InputChunk(data=b"\0\0"))
    end = pb.SyncRequest(audio=pb.InputChunk(data=b"\0\0", end=True))
    rows = [
        ("nothing at all", [], "MESSAGE_ORDER", "config"),
        ("audio first", [audio], "MESSAGE_ORDER", "audio"),
        ("video first", [pb.SyncRequest(video=pb.InputChunk())], "MESSAGE_ORDER", "video"),
        ("control first", [pb.SyncRequest(control=pb.Control(action=1))], "MESSAGE_ORDER", "control"),
        ("empty message", [config, pb.SyncRequest()], "MESSAGE_ORDER", ""),
        ("config twice", [config, config], "MESSAGE_ORDER", "config"),
        ("audio after its end", [config, end, audio], "MESSAGE_ORDER", "audio"),
        ("regions without GIVEN", [config, pb.SyncRequest(regions=pb.Regions(regions=[pb.Region()]))],
         "MESSAGE_ORDER", "regions"),
        ("control without action", [config, pb.SyncRequest(control=pb.Control())], "FIELD_INVALID",
         "control.action"),
        ("control unknown", [config, pb.SyncRequest(control=pb.Control(action=77))], "FIELD_INVALID",
         "control.action"),
        ("neither input", [config], "INPUT_MISSING", "audio"),
    ]
    for name, requests, reason, field in rows:
        r = run_call(channel, requests, timeout=20)
        check(name, r.code == grpc.StatusCode.INVALID_ARGUMENT and r.reason == reason, r)
        check(name + ": field", not field or [f for f, _ in r.fields] == [field], r.fields)
    given = pb.SyncRequest(config=pcm_config(face=pb.Face(choose=pb.FACE_CHOICE_GIVEN)))
    box = lambda **b: pb.Region(box=pb.Box(**b))
    for name, regions, field in (
            ("thin box", pb.Regions(regions=[box(left=1, top=1, right=2, bottom=9)]), "regions.regions.box"),
            ("NaN box", pb.Regions(regions=[box(left=float("nan"), right=9, bottom=9)]), "regions.regions.box"),
            ("frame below 0", pb.Regions(first_frame=-1, regions=[pb.Region()]), "regions.first_frame")):
        r = run_call(channel, [given, pb.SyncRequest(regions=regions)], timeout=20)
        check(name, r.code == grpc.StatusCode.INVALID_ARGUMENT and [f for f, _ in r.fields] == [field], r)


def test_garbage(channel):
    """Bytes that are no protobuf, or hold unknown fields, at each place where bytes are walked by hand."""
    call = channel.stream_stream("/lipstream.v1.LipSync/Sync")
    config = pb.SyncRequest(config=pcm_config()).SerializeToString()
    for name, data in (("cut tag", b"\x80"), ("cut length", b"\x0a\xff"), ("group", b"\x0b\x0c"),
                       ("field 0", b"\x02\x00"), ("long varint", b"\x10" + b"\xff" * 11),
                       ("chunk of garbage", b"\x12\x02\x0a\x7f"), ("regions of garbage", b"\x22\x01\xff"),
                       ("config of garbage", b"\x0a\x02\x0a\x7f"), ("control of garbage", b"\x2a\x01\x80")):
        for first in ([], [config]):
            r = error_of(lambda d=data, f=first: list(call(iter([*f, d]), timeout=20)))
            check("garbage: " + name, r.code == grpc.StatusCode.INVALID_ARGUMENT and
                  r.reason == "MESSAGE_ORDER", r)
    unknown = b"\x98\x06\x01\xa2\x06\x03abc\xad\x06\0\0\0\0\xa9\x06" + b"\0" * 8  # fields 99 to 101
    r = error_of(lambda: list(call(iter([config + unknown, b"\x12\x04\x0a\x02\0\0" + unknown]), timeout=20)))
    check("unknown fields are passed over", r.reason == "INPUT_MISSING", r)


def test_violations(channel):
    """All at once, each with its field and reason; more than fit are counted."""
    bad = pb.SyncConfig(
        audio=pb.AudioInput(pcm=pb.Pcm(sample_rate_hz=1, channels=99, format=9)),
        video=pb.VideoInput(frames=pb.RawFrames(width=1, height=99999, frame_rate=pb.Rational(num=25))),
        output=pb.Output(container=9, crf=77, chunk_bytes_max=1),
        face=pb.Face(choose=pb.FACE_CHOICE_NEAREST, pads=pb.Pads(top=9999), smoothing_frames=99,
                     align=9),
        paste=pb.Paste(sharpness={"value": 3}, fade_frames={"value": 9}),
        profile=9)
    r = run_call(channel, [pb.SyncRequest(config=bad)])
    want = {("config.audio.pcm.sample_rate_hz", "OUT_OF_RANGE"), ("config.audio.pcm.channels", "OUT_OF_RANGE"),
            ("config.audio.pcm.format", "NOT_SUPPORTED"), ("config.video.frames.width", "OUT_OF_RANGE"),
            ("config.video.frames.frame_rate", "OUT_OF_RANGE"), ("config.output.container", "NOT_SUPPORTED"),
            ("config.output.crf", "OUT_OF_RANGE"), ("config.face.nearest", "REQUIRED"),
            ("config.face.pads.top", "OUT_OF_RANGE"), ("config.face.smoothing_frames", "OUT_OF_RANGE"),
            ("config.output.chunk_bytes_max", "OUT_OF_RANGE"), ("config.profile", "NOT_SUPPORTED"),
            ("config.face.align", "NOT_SUPPORTED"), ("config.paste.sharpness", "OUT_OF_RANGE"),
            ("config.paste.fade_frames", "OUT_OF_RANGE")}
    check("every violation at once", r.code == grpc.StatusCode.INVALID_ARGUMENT and
          want <= set(r.fields) or all(not reason for _, reason in r.fields), r.fields)
    check("none twice", len(r.fields) == len(set(r.fields)), r.fields)
    exact = pb.PROFILE_WAV2LIP_EXACT
    one = pb.SyncConfig(profile=exact, paste=pb.Paste(mask=pb.MASK_MOUTH, sharpness={"value": 1},
                                                      fade_frames={"value": 3}),
                        face=pb.Face(align=pb.FACE_ALIGN_UPRIGHT), timing=pb.Timing(audio_offset_ms=9),
                        audio=pb.AudioInput(container=pb.Container()),
                        video=pb.VideoInput(container=pb.Container()))
    r = run_call(channel, [pb.SyncRequest(config=one)])
    check("conflicts with WAV2LIP_EXACT", {f for f, _ in r.fields} ==
          {"config.paste.mask", "config.paste.sharpness", "config.paste.fade_frames", "config.face.align",
           "config.timing.audio_offset_ms"}, r.fields)


def test_echo(channel):
    """The effective config is complete, and is itself accepted and unchanged."""
    first = run_call(channel, [pb.SyncRequest(config=pcm_config())])
    check("config comes back filled in", first.accepted and first.accepted.config.output.crf == 23 and
          first.accepted.config.paste.mask and first.accepted.session_id, first)
    filled = first.accepted.config
    check("what nobody set comes back as it is used", filled.paste.sharpness.value == 1 and
          filled.paste.fade_frames.value == 3 and filled.face.align == pb.FACE_ALIGN_UPRIGHT, filled)
    own = pcm_config()
    own.paste.sharpness.value, own.paste.fade_frames.value, own.face.align = 0, 0, pb.FACE_ALIGN_NONE
    own.paste.sharpness.SetInParent(), own.paste.fade_frames.SetInParent()
    got = run_call(channel, [pb.SyncRequest(config=own)]).accepted
    check("what was set comes back", got and got.config.paste.HasField("sharpness") and
          got.config.paste.sharpness.value == 0 and got.config.paste.HasField("fade_frames") and
          got.config.paste.fade_frames.value == 0 and got.config.face.align == pb.FACE_ALIGN_NONE, got)
    again = run_call(channel, [pb.SyncRequest(config=first.accepted.config)])
    check("an effective config is a config", again.accepted and
          again.accepted.config == first.accepted.config, again)
    check("session ids differ", first.accepted.session_id != again.accepted.session_id)


def test_sizes(channel):
    config = pb.SyncRequest(config=pcm_config())
    for size in (65536 + 1, 100000, 10_000_000):
        r = run_call(channel, [config, pb.SyncRequest(audio=pb.InputChunk(data=b"\0" * size))], timeout=20)
        check("message of %d bytes" % size, r.code == grpc.StatusCode.RESOURCE_EXHAUSTED, r)
        check("message of %d bytes: reason" % size, size > 131072 or r.reason == "LIMIT_EXCEEDED", r)
    r = run_call(channel, [config, pb.SyncRequest(audio=pb.InputChunk(data=b"\0" * 65000))], timeout=20)
    check("message of 65000 bytes passes", r.reason == "INPUT_MISSING", r)


def test_details(channel):
    """Code and text are the same in the status and in its details."""
    call = pb_grpc.LipSyncStub(channel).Sync(iter([]))
    error_of(lambda: list(call))
    trailers = dict(call.trailing_metadata())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    check("status in the details", status.code == call.code().value[0] and status.message == call.details())
    kinds = [d.TypeName() for d in status.details]
    check("BadRequest and ErrorInfo", kinds == ["google.rpc.BadRequest", "google.rpc.ErrorInfo"], kinds)
    info = error_details_pb2.ErrorInfo()
    status.details[1].Unpack(info)
    check("domain", info.domain == "lipstream" and info.metadata["field"] == "config", info)


def test_busy(channel):
    """The third session of two places is refused, and told when to try again."""
    held = []
    for _ in range(2):
        hold = threading.Event()

        def requests(event=hold):
            yield pb.SyncRequest(config=pcm_config())
            event.wait(30)

        call = pb_grpc.LipSyncStub(channel).Sync(requests())
        check("a place", next(call).HasField("accepted"))
        held.append((hold, call))
    r = run_call(channel, [pb.SyncRequest(config=pcm_config())])
    check("SESSIONS_FULL", r.code == grpc.StatusCode.RESOURCE_EXHAUSTED and r.reason == "SESSIONS_FULL" and
          r.retry_s, r)
    for hold, call in held:
        call.cancel()
        hold.set()
    end = time.monotonic() + 10
    free = 0
    while free < 2 and time.monotonic() < end:
        free = pb_grpc.LipSyncStub(channel).GetServerInfo(pb.GetServerInfoRequest()).sessions_free
        time.sleep(0.05)
    check("cancelled sessions give their places back", free == 2, free)


def test_drain():
    """SIGTERM: watchers hear it, a running call finishes, new ones are refused, the exit code is 0."""
    with start_server("--drain-timeout", "20000") as server, server.channel() as channel:
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
        check("watcher sees SERVING", next(watch) == b"\x08\x01")
        go = threading.Event()

        def requests():
            yield pb.SyncRequest(config=_stubs.container_config())
            yield from _stubs.pieces(media("voice_short.wav"), None)
            go.wait(20)
            yield from _stubs.pieces(None, media("face_tiny.mp4"))

        call = pb_grpc.LipSyncStub(channel).Sync(requests(), timeout=60)
        check("call runs", next(call).HasField("accepted"))
        idle = pb_grpc.LipSyncStub(channel).Sync(iter_never(go))
        server.process.send_signal(signal.SIGTERM)
        check("watcher sees NOT_SERVING", next(watch) == b"\x08\x02")
        check("watch ends", error_of(lambda: list(watch)).code == grpc.StatusCode.OK)
        r = error_of(lambda: list(idle))
        check("a call without config is let go", r.code == grpc.StatusCode.UNAVAILABLE, r)
        with server.channel() as other:
            r = error_of(lambda: pb_grpc.LipSyncStub(other).GetServerInfo(pb.GetServerInfoRequest(), timeout=5))
            check("the port is closed", r.code == grpc.StatusCode.UNAVAILABLE, r)
        go.set()
        last = [m.WhichOneof("response") for m in call]
        check("the running call finishes", call.code() == grpc.StatusCode.OK and last[-1] == "summary", last)
        check("exit code", server.process.wait(20) == 0)
        server.process.poll = lambda: None  # the shared stop expects a living process
        server.process.send_signal = lambda number: None


def test_descriptors():
    """Out of file descriptors: connections wait; when some are free again, the port still accepts."""
    with start_server() as server:
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (server.usage()["fds"] + 8,) * 2)
        address = ("127.0.0.1", server.port)
        crowd = [socket.create_connection(address, timeout=10) for _ in range(40)]
        end = time.monotonic() + 10
        while "accept: " not in server.stderr() and time.monotonic() < end:
            time.sleep(0.05)
        check("descriptors do run out", "accept: " in server.stderr())
        for one in crowd:
            one.close()
        with server.channel() as channel:
            end = time.monotonic() + 20
            while not _stubs.serving(channel, 2) and time.monotonic() < end:
                time.sleep(0.05)
            check("accepts again", _stubs.serving(channel))


def iter_never(event):
    event.wait(30)
    return
    yield


def test_drain_limit():
    """A call that does not end is ended at the limit, with a reason."""
    with start_server("--drain-timeout", "300") as server, server.channel() as channel:
        never = threading.Event()

        def requests():
            yield pb.SyncRequest(config=pcm_config())
            never.wait(20)

        call = pb_grpc.LipSyncStub(channel).Sync(requests())
        check("call runs", next(call).HasField("accepted"))
        server.process.send_signal(signal.SIGTERM)
        r = error_of(lambda: list(call))
        check("ended at the drain's limit", r.code == grpc.StatusCode.UNAVAILABLE and
              r.reason == "SHUTTING_DOWN" and r.retry_s, r)
        never.set()
        check("exit code", server.process.wait(20) == 0)
        server.process.poll = lambda: None
        server.process.send_signal = lambda number: None


with start_server("--message-bytes-max", "65536", "--sessions-max", "2") as lipstreamd:
    with lipstreamd.channel() as shared:
        test_health(shared)
        test_reflection(shared, "v1")
        test_reflection(shared, "v1alpha")
        test_info(shared)
        test_unknown(shared)
        test_order(shared)
        test_garbage(shared)
        test_violations(shared)
        test_echo(shared)
        test_sizes(shared)
        test_details(shared)
        test_busy(shared)
    test_metadata(lipstreamd)
    test_compression(lipstreamd)
test_descriptors()
test_drain()
test_drain_limit()
finish()
