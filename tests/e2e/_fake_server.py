# SPDX-License-Identifier: Apache-2.0
# A server that behaves as it is told to: the client's other side in tests/e2e/client.py. It knows no
# media; its "video" is bytes counted from 0. Runs in the test's own process.
import contextlib
import hashlib
import threading
import time
from concurrent import futures

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from _stubs import pb, pb_grpc

MEDIA = bytes(range(256)) * 400  # 102400 bytes


def status_of(code, message, *details):
    packed = []
    for detail in details:
        any_detail = any_pb2.Any()
        any_detail.Pack(detail)
        packed.append(any_detail)
    return rpc_status.to_status(status_pb2.Status(code=code, message=message, details=packed))


def violations():
    both = [error_details_pb2.BadRequest.FieldViolation(
                field="config.output.crf", description="99 is outside 1..51", reason="OUT_OF_RANGE"),
            error_details_pb2.BadRequest.FieldViolation(
                field="config.face.pads.top", description="5000 is outside -1000..1000",
                reason="OUT_OF_RANGE")]
    return status_of(code_pb2.INVALID_ARGUMENT, "2 fields are invalid",
                     error_details_pb2.BadRequest(field_violations=both),
                     error_details_pb2.ErrorInfo(reason="FIELD_INVALID", domain="lipstream"))


def busy(seconds=2.0):
    return status_of(code_pb2.RESOURCE_EXHAUSTED, "all 4 places are taken",
                     error_details_pb2.ErrorInfo(reason="SESSIONS_FULL", domain="lipstream"),
                     error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(
                         seconds=int(seconds), nanos=round(seconds % 1 * 1e9))))


def progress(stage, out, total):
    return pb.SyncResponse(progress=pb.Progress(
        stage=stage, frames_in=out, frames_out=out, frames_total=total, frames_per_second=31.25,
        eta=duration_pb2.Duration(seconds=65) if total else None))


def segment(data, first, count):
    return pb.SyncResponse(media=pb.Media(data=data, kind=pb.MEDIA_KIND_SEGMENT, first_frame=first,
                                          frame_count=count))


def summary(sent, short=0):
    return pb.SyncResponse(summary=pb.Summary(
        frames_in=50, frames_out=50, frames_synced=48, frames_silent=2, bytes_out=len(sent) + short,
        sha256=hashlib.sha256(sent).digest(), width=320, height=240,
        frame_rate=pb.Rational(num=25, den=1), real_time_factor=0.5,
        video_duration=duration_pb2.Duration(seconds=2)))


class Fake(pb_grpc.LipSyncServicer):
    def __init__(self, behaviour):
        self.behaviour = behaviour
        self.config, self.audio, self.video, self.regions = None, bytearray(), bytearray(), []
        self.order, self.ends, self.stops = [], [], 0
        self.read_bytes = 0
        self.calls, self.metadata, self.times = 0, {}, []
        self.health = 1  # SERVING
        self.go = threading.Event()  # the test lets the server go on
        self.cancelled = threading.Event()

    def GetServerInfo(self, request, context):
        return pb.GetServerInfoResponse(
            version="0.1.0", backend="cpu", device="a \x1b[31mmachine", arithmetic="fp32",
            generator=pb.Model(name="demo", parameter_count=3200000, mask=pb.MASK_MOUTH),
            containers=[pb.OUTPUT_CONTAINER_FMP4, pb.OUTPUT_CONTAINER_MPEG_TS],
            input_formats=["mov", "matroska"], sessions_free=3, sessions_running=1,
            limits=[pb.Limit(name="sessions-max", value=4, unit="sessions", description="at once")])

    def take(self, request):
        kind = request.WhichOneof("request")
        if kind == "config":
            self.config = request.config
        elif kind == "regions":
            self.regions.append(request.regions)
        elif kind == "control":
            self.stops += 1
        else:
            chunk = getattr(request, kind)
            getattr(self, kind).extend(chunk.data)
            self.order.append((kind, len(chunk.data)))
            if chunk.end:
                self.ends.append(kind)
            self.read_bytes += len(chunk.data)

    def Sync(self, requests, context):
        context.add_callback(lambda: self.cancelled.set() if not self.go.is_set() else None)
        self.calls += 1
        self.times.append(time.monotonic())
        self.metadata = dict(context.invocation_metadata())
        context.send_initial_metadata((("lipstream-session-id", "id-%d" % self.calls),))
        if self.behaviour.startswith("before_"):
            yield from getattr(self, self.behaviour)(requests, context)
        self.take(next(requests))
        yield pb.SyncResponse(accepted=pb.Accepted(session_id="s-1", model="demo", device="cpu"))
        behaviour = "good" if self.behaviour.startswith("before_") else self.behaviour
        yield from getattr(self, behaviour)(requests, context)

    def before_twice_full(self, requests, context):
        """Refuses two calls at once, takes the third."""
        if self.calls <= 2:
            context.abort_with_status(busy(0.2))
        yield from ()

    def before_full(self, requests, context):
        context.abort_with_status(busy(5))
        yield

    def before_ages(self, requests, context):
        """Refuses, for 3000 years."""
        context.abort_with_status(busy(1e11))
        yield

    def before_line(self, requests, context):
        for before in (2, 1, 0):
            yield pb.SyncResponse(progress=pb.Progress(stage=pb.STAGE_WAITING, queue_position=before))

    def good(self, requests, context):
        yield progress(pb.STAGE_PROBING, 0, 0)
        yield pb.SyncResponse(warning=pb.Warning(
            reason="MOOV_LAST", message="index last\x1b]0;evil\x07\n", count=1))
        for request in requests:
            self.take(request)
        for i in range(5):
            yield progress(pb.STAGE_RUNNING, 10 * i, 50)
            yield segment(MEDIA[20480 * i:20480 * (i + 1)], 10 * i, 10)
        yield pb.SyncResponse(frames=pb.Frames(frames=[
            pb.FrameInfo(index=0, box=pb.Box(left=1, top=2, right=30, bottom=40), score=0.9, track_id=1,
                         action=pb.FRAME_ACTION_SYNCED, roll_degrees=-4.5, opacity=0.75),
            pb.FrameInfo(index=1, action=pb.FRAME_ACTION_PASSED_THROUGH)]))
        yield progress(pb.STAGE_DONE, 50, 50)
        yield summary(MEDIA)

    def early(self, requests, context):
        """Media before the input has ended; the rest only when the test says so."""
        self.take(next(requests))
        yield segment(MEDIA[:1000], 0, 1)
        self.go.wait(20)
        for request in requests:
            self.take(request)
        yield segment(MEDIA[1000:], 1, 49)
        yield summary(MEDIA)

    def waits(self, requests, context):
        """Never ends by itself."""
        yield segment(MEDIA[:1000], 0, 1)
        while context.is_active():
            time.sleep(0.02)

    def deaf(self, requests, context):
        """Reads nothing until the test says so."""
        self.go.wait(20)
        for request in requests:
            self.take(request)
        yield segment(MEDIA, 0, 50)
        yield summary(MEDIA)

    def big(self, requests, context):
        for request in requests:
            self.take(request)
        digest = bytearray()
        for i in range(60):
            digest += bytes([i]) * 1000000
            yield segment(bytes([i]) * 1000000, i, 1)
        yield summary(bytes(digest))

    def refuses(self, requests, context):
        context.abort_with_status(violations())
        yield

    def full(self, requests, context):
        context.abort_with_status(busy())
        yield

    def breaks(self, requests, context):
        yield segment(MEDIA[:1000], 0, 1)
        context.abort(grpc.StatusCode.INTERNAL, "a bug of ours")

    def ends_without_summary(self, requests, context):
        yield segment(MEDIA, 0, 50)

    def loses_media(self, requests, context):
        yield segment(MEDIA, 0, 50)
        yield summary(MEDIA, short=5)

    def vanishes(self, requests, context):
        yield segment(MEDIA[:1000], 0, 1)
        self.server.stop(0)
        time.sleep(0.2)


def health_of(fake):
    """The health service, its messages as bytes."""
    check = grpc.unary_unary_rpc_method_handler(lambda request, context: bytes([8, fake.health]))
    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": check})


@contextlib.contextmanager
def fake_server(behaviour, credentials=None):
    """credentials: of grpc.ssl_server_credentials."""
    fake = Fake(behaviour)
    server = grpc.server(futures.ThreadPoolExecutor(4), options=[
        ("grpc.max_receive_message_length", 16 << 20), ("grpc.so_reuseport", 0),
        ("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65536)])
    pb_grpc.add_LipSyncServicer_to_server(fake, server)
    fake.server = server
    server.add_generic_rpc_handlers((health_of(fake),))
    port = (server.add_secure_port("127.0.0.1:0", credentials) if credentials
            else server.add_insecure_port("127.0.0.1:0"))
    fake.address = "127.0.0.1:%d" % port
    server.start()
    try:
        yield fake
    finally:
        fake.go.set()
        server.stop(0)
