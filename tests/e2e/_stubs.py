# SPDX-License-Identifier: Apache-2.0
# What the end-to-end tests share: Python stubs made from proto/ on first use, a server that is started and
# checked when it stops, a whole call as one function, small media made with ffmpeg, rows that are counted.
# Everything lies under $LS_BUILD; several tests may run at the same time.
import contextlib
import fcntl
import hashlib
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import grpc

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("LS_BUILD", os.path.join(ROOT, "build")))
CLIENT = os.path.join(BUILD, "lipstream")
SANITIZED = bool(os.environ.get("LS_SANITIZE"))


def skip(why):
    print("SKIP:", why)
    sys.exit(77)


@contextlib.contextmanager
def _lock(name):
    os.makedirs(BUILD, exist_ok=True)
    with open(os.path.join(BUILD, name + ".lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _load():
    source = os.path.join(ROOT, "proto", "lipstream", "v1", "lip_sync.proto")
    with open(source, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()[:16]
    folder = os.path.join(BUILD, "py", digest)
    with _lock("py"):
        if not os.path.exists(os.path.join(folder, "done")):
            from grpc_tools import protoc

            os.makedirs(folder, exist_ok=True)
            known = os.path.join(os.path.dirname(protoc.__file__), "_proto")
            r = protoc.main(["protoc", "-I" + os.path.join(ROOT, "proto"), "-I" + known,
                             "--python_out=" + folder, "--grpc_python_out=" + folder, source])
            if r != 0:
                sys.exit("protoc failed")
            open(os.path.join(folder, "done"), "w").close()
    sys.path.insert(0, folder)
    return (importlib.import_module("lipstream.v1.lip_sync_pb2"),
            importlib.import_module("lipstream.v1.lip_sync_pb2_grpc"))


pb, pb_grpc = _load()


# --- rows: a failing one is printed with its name; finish() ends the test --------------------------------
_failed = []


def check(name, ok, detail=""):
    if not ok:
        _failed.append(name)
        print("FAIL %s: %s" % (name, detail), flush=True)
    elif os.environ.get("LS_VERBOSE"):
        print("ok   %s %s" % (name, detail), flush=True)
    return ok


def finish():
    if _failed:
        print("%d failed: %s" % (len(_failed), ", ".join(_failed)))
    sys.exit(1 if _failed else 0)


# Nobody's proxy stands between a test and its own server.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


# --- the server ------------------------------------------------------------------------------------------
class Server:
    def __init__(self, process, port, log):
        self.process, self.port, self.log = process, port, log
        self.pid, self.address = process.pid, "127.0.0.1:%d" % port
        self.admin = (re.search(r"[ \"]admin\"?[=:]\"?([0-9.\[\]:a-f]+)", self.stderr()) or [None, None])[1]

    def get(self, path, headers={}, timeout=10):
        """Status and text of a page of the admin port."""
        request = urllib.request.Request("http://%s%s" % (self.admin, path), headers=headers)
        try:
            with _direct.open(request, timeout=timeout) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metrics(self):
        """Name with labels, as written, to value."""
        rows = [row.rsplit(" ", 1) for row in self.get("/metrics")[1].splitlines() if row[:1] not in ("", "#")]
        return {name: float(value) for name, value in rows}

    def channel(self):
        # A channel of its own each: gRPC would share one connection among equal channels.
        return grpc.insecure_channel(self.address, [
            ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0),
            ("grpc.max_receive_message_length", 16 << 20), ("grpc.max_send_message_length", 64 << 20)])

    def stderr(self):
        with open(self.log, errors="replace") as file:
            return file.read()

    def usage(self):
        """Threads, open files and resident kilobytes of the server, and its number of children."""
        with open("/proc/%d/status" % self.pid) as file:
            text = file.read()
        children = "/proc/%d/task/%d/children" % (self.pid, self.pid)
        with open(children) as file:
            child_count = len(file.read().split())
        return {"threads": int(re.search(r"Threads:\s+(\d+)", text)[1]),
                "fds": len(os.listdir("/proc/%d/fd" % self.pid)),
                "rss_kb": int(re.search(r"VmRSS:\s+(\d+)", text)[1]),
                "children": child_count}


def serving(channel, timeout=10):
    """The overall health status is SERVING (message and enum are one field, so no stub is needed)."""
    ask = channel.unary_unary("/grpc.health.v1.Health/Check", lambda m: m, lambda m: m)
    try:
        return ask(b"", timeout=timeout) == b"\x08\x01"
    except grpc.RpcError:
        return False


def _port_of(process, log, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        with open(log, errors="replace") as file:
            found = re.search(r"listening on \S*?:(\d+)", file.read())
        if found:
            return int(found[1])
        time.sleep(0.05)
    return None


@contextlib.contextmanager
def start_server(*flags, status=0):
    """status: with which it must end, 0 at a SIGTERM, another by itself."""
    program = os.path.join(BUILD, "lipstreamd")
    if not os.path.exists(program):
        skip("lipstreamd is not built")
    log = tempfile.NamedTemporaryFile(prefix="lipstreamd-", suffix=".log", dir=BUILD, delete=False).name
    backend = os.environ.get("LS_BACKEND", "cpu")
    if detector():
        flags = ("--detector", detector(), *flags)
    with open(log, "w") as to:
        process = subprocess.Popen([program, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
                                    "--backend", backend, *flags],
                                   stdin=subprocess.DEVNULL, stdout=to, stderr=subprocess.STDOUT)
    try:
        port = _port_of(process, log, 120)
        if port is None:
            with open(log, errors="replace") as file:
                sys.exit("lipstreamd did not start:\n" + file.read())
        server = Server(process, port, log)
        # With TLS the test itself has the keys.
        with contextlib.nullcontext() if "--tls-cert" in flags else server.channel() as channel:
            end = time.monotonic() + 60
            while channel and not serving(channel) and time.monotonic() < end:
                time.sleep(0.05)
            check("server is SERVING", not channel or serving(channel), server.stderr()[-2000:])
        yield server
        stop_server(server, status)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if not _failed:
            os.unlink(log)
        else:
            print("log of the server:", log)


def stop_server(server, status=0):
    alive = server.process.poll() is None
    check("server lives until SIGTERM", alive or status, "it ended with %s" % server.process.poll())
    if alive and not status:
        server.process.send_signal(signal.SIGTERM)
    try:
        code = server.process.wait(60)
    except subprocess.TimeoutExpired:
        code = "nothing after 60 s"
    text = server.stderr()
    check("server stops with status %d" % status, code == status, "%s\n%s" % (code, text[-3000:]))
    report = re.search(r"^.*(ERROR: \w+Sanitizer|runtime error:|WARNING: ThreadSanitizer).*$", text, re.M)
    check("no sanitizer report", not report, report and text[report.start():report.start() + 3000])


# --- calls -----------------------------------------------------------------------------------------------
class Result:
    """What a call came to. code: a grpc.StatusCode. reason and fields: of google.rpc details."""

    def __init__(self):
        self.media, self.messages, self.summary = bytearray(), [], None
        self.accepted, self.code, self.text, self.reason, self.fields = None, None, "", "", []
        self.seconds, self.retry_s = 0.0, None

    def reasons(self):
        """The error's reason and those of its violations."""
        return [self.reason] * bool(self.reason) + [reason for _, reason in self.fields]

    def warnings(self):
        return [m.warning.reason for m in self.messages if m.WhichOneof("response") == "warning"]

    def sha256(self):
        return hashlib.sha256(self.media).digest()

    def ok(self):
        return (self.code == grpc.StatusCode.OK and self.summary is not None
                and self.summary.bytes_out == len(self.media) and self.summary.sha256 == self.sha256())

    def __str__(self):
        return "%s %s %s %s" % (self.code, self.reason, self.fields, self.text)


def take_error(result, call):
    from google.rpc import error_details_pb2
    from grpc_status import rpc_status

    result.code, result.text = call.code(), call.details() or ""
    status = rpc_status.from_call(call)
    for detail in status.details if status else []:
        for kind in (error_details_pb2.BadRequest, error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo):
            value = kind()
            if not detail.Unpack(value):
                continue
            if kind is error_details_pb2.BadRequest:
                result.fields += [(v.field, getattr(v, "reason", "")) for v in value.field_violations]
            elif kind is error_details_pb2.ErrorInfo:
                result.reason, result.domain = value.reason, value.domain
            else:
                result.retry_s = value.retry_delay.seconds + value.retry_delay.nanos * 1e-9


def error_of(act):
    """What a call fails with, as a Result."""
    result = Result()
    try:
        act()
        result.code = grpc.StatusCode.OK
    except grpc.RpcError as error:
        take_error(result, error)
    return result


def pieces(audio, video, chunk=65536, order="mixed", end=True):
    """Requests with both inputs. order: audio first, video first, or mixed in proportion."""
    def cut(data, make):
        if data is None:
            return
        for at in range(0, len(data), chunk):
            last = end and at + chunk >= len(data)
            yield make(pb.InputChunk(data=data[at:at + chunk], end=last)), (at + chunk) / len(data)
        if not data and end:
            yield make(pb.InputChunk(end=True)), 1.0

    voice = cut(audio, lambda c: pb.SyncRequest(audio=c))
    face = cut(video, lambda c: pb.SyncRequest(video=c))
    if order == "mixed":
        both = sorted([*voice, *face], key=lambda p: p[1])
    else:
        both = [*voice, *face] if order == "audio" else [*face, *voice]
    return [p[0] for p in both]


def run_call(channel, requests, timeout=120):
    """Sends the requests and takes every reply."""
    result = Result()
    started = time.monotonic()
    call = pb_grpc.LipSyncStub(channel).Sync(iter(requests), timeout=timeout)
    try:
        for reply in call:
            kind = reply.WhichOneof("response")
            if kind == "media":
                result.media += reply.media.data
            else:
                result.messages.append(reply)
            if kind == "summary":
                result.summary = reply.summary
            elif kind == "accepted":
                result.accepted = reply.accepted
        result.code = call.code()
    except grpc.RpcError:
        take_error(result, call)
    result.seconds = time.monotonic() - started
    return result


def sync(channel, config, audio, video, chunk=65536, order="mixed", timeout=120):
    return run_call(channel, [pb.SyncRequest(config=config), *pieces(audio, video, chunk, order)], timeout)


def container_config(box=True, **more):
    """Both inputs found out from their bytes; with a fixed box, so that no detector is needed."""
    config = pb.SyncConfig(audio=pb.AudioInput(container=pb.Container()),
                           video=pb.VideoInput(container=pb.Container()), **more)
    if box:
        config.face.fixed_box.CopyFrom(pb.Box(left=100, top=60, right=200, bottom=180))
    return config


# --- media -----------------------------------------------------------------------------------------------
_X264 = ["-c:v", "libx264", "-preset", "superfast", "-pix_fmt", "yuv420p", "-g", "25", "-threads", "1"]


def _portrait():
    path = os.path.join(ROOT, "build", "demo", "portrait.jpg")  # docker/deps.sh puts it there
    return path if os.path.exists(path) else None


def detector():
    """A detector file, or None: then only calls with given boxes work."""
    for path in (os.environ.get("LS_DETECTOR"), os.path.join(BUILD, "blazeface.safetensors"),
                 os.path.join(ROOT, "build", "blazeface.safetensors")):
        if path and os.path.exists(path):
            return path
    return None


def has_face():
    """Detection can be tested: a detector and a portrait are at hand."""
    return detector() is not None and _portrait() is not None


def _face_source(seconds):
    """A picture that moves a little, 320x240 at 25 frames/s; with a face if there is a portrait."""
    portrait = _portrait()
    if not portrait:
        return ["-f", "lavfi", "-i", "testsrc=size=320x240:rate=25:duration=%g" % seconds]
    return ["-loop", "1", "-framerate", "25", "-t", "%g" % seconds, "-i", portrait, "-vf",
            "scale=336:252:force_original_aspect_ratio=increase,"
            "crop=320:240:x='8+6*sin(t*3)':y='4+4*sin(t*2)'"]


def _voice_source(seconds):
    # Two tones that come and go three times a second: enough for a mel spectrogram to have shape.
    wave = "(0.3*sin(140*2*PI*t)+0.2*sin(890*2*PI*t))*(0.55+0.45*sin(3*2*PI*t))"
    return ["-f", "lavfi", "-i", "aevalsrc='%s':s=16000:d=%g" % (wave, seconds)]


def _recipes():
    return {
        "voice.wav": [*_voice_source(2), "-c:a", "pcm_s16le"],
        "voice_short.wav": [*_voice_source(0.2), "-c:a", "pcm_s16le"],
        "voice_some.wav": [*_voice_source(0.36), "-c:a", "pcm_s16le"],
        "voice_long.wav": [*_voice_source(6), "-c:a", "pcm_s16le"],
        "voice.pcm": [*_voice_source(2), "-f", "s16le"],
        "voice_long.pcm": [*_voice_source(6), "-f", "s16le"],
        "voice.mp4": [*_voice_source(2), "-c:a", "aac"],
        "face.mp4": [*_face_source(2), *_X264, "-movflags", "+faststart"],
        "face_long.mp4": [*_face_source(6), *_X264, "-movflags", "+faststart"],
        "face_last.mp4": [*_face_source(2), *_X264],
        "face_fragments.mp4": [*_face_source(6), *_X264, "-movflags",
                               "+frag_keyframe+empty_moov+default_base_moof"],
        "face_tiny.mp4": [*_face_source(0.2), *_X264, "-crf", "40", "-movflags", "+faststart"],
        "face.ts": [*_face_source(6), *_X264, "-f", "mpegts"],
        "face.mkv": [*_face_source(6), *_X264, "-f", "matroska"],
        "no_face.mp4": ["-f", "lavfi", "-i", "testsrc=size=320x240:rate=25:duration=1", *_X264,
                        "-movflags", "+faststart"],
        "still.jpg": [*_face_source(0.04), "-frames:v", "1"],
        "face.i420": [*_face_source(0.2), "-pix_fmt", "yuv420p", "-f", "rawvideo"],
    }


def make_media(kind):
    """The path of a small input, made on first use."""
    if not shutil.which("ffmpeg"):
        skip("ffmpeg is not installed")
    folder = os.path.join(BUILD, "media")
    path = os.path.join(folder, kind)
    with _lock("media"):
        if not os.path.exists(path):
            os.makedirs(folder, exist_ok=True)
            part = os.path.join(folder, "part-" + kind)
            subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *_recipes()[kind], part], check=True)
            os.rename(part, path)
    return path


def media(kind):
    with open(make_media(kind), "rb") as file:
        return file.read()
