# SPDX-License-Identifier: Apache-2.0
# The command-line client against a server that behaves as told (_fake_server.py), and once against the
# real one: bar on a terminal, plain lines and JSON elsewhere, standard input and output, exit codes,
# errors with their fields, bounded memory in both directions, cancelling.
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import tempfile
import termios
import time

import _stubs
from _fake_server import MEDIA, fake_server
from _stubs import CLIENT, check, pb

ENV = {**os.environ, "LC_ALL": "C.UTF-8", "TERM": "xterm"}
HERE = tempfile.TemporaryDirectory(prefix="lipstream-client-")
FACE = os.path.join(HERE.name, "face.bin")
VOICE = os.path.join(HERE.name, "voice.bin")
STILL = os.path.join(HERE.name, "face.png")
OUT = os.path.join(HERE.name, "out.mp4")


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def client(fake, *args, **more):
    return subprocess.run([CLIENT, "sync", "--server", fake.address, *args], capture_output=True,
                          timeout=60, env=ENV, **more)


def start_client(fake, *args, **more):
    return subprocess.Popen([CLIENT, "sync", "--server", fake.address, *args], env=ENV, **more)


def wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def test_good_file():
    with fake_server("good") as fake:
        run = client(fake, FACE, VOICE, OUT)
    text = run.stdout.decode()
    check("good: exit", run.returncode == 0, run)
    check("good: output", read(OUT) == MEDIA and not os.path.exists(OUT + ".part"))
    check("good: inputs", fake.audio == read(VOICE) and fake.video == read(FACE))
    check("good: ends", sorted(fake.ends) == ["audio", "video"], fake.ends)
    check("good: plain lines", "running   0%  0/50 frames  31.2 frames/s  1:05 left" in text
          and "\r" not in text, text)
    check("good: warning", "warning: MOOV_LAST: index last?]0;evil??" in text, text)
    check("good: summary", "48 synced" in text and "320x240 at 25 frames/s" in text, text)
    check("good: quiet stderr", run.stderr == b"", run.stderr)
    half = [kind for kind, _ in fake.order[:len(fake.order) // 2]]
    check("good: interleaved", half.count("audio") >= 2 and half.count("video") >= 4, fake.order)


def test_config():
    with fake_server("good") as fake:
        regions = os.path.join(HERE.name, "regions.csv")
        write(regions, b"frame,left,top,right,bottom,bypass\n0,1,2,30.5,40,\n1,,,,,1\n5,1,2,3,4\n")
        frames = os.path.join(HERE.name, "frames.csv")
        run = client(fake, "--container", "ts", "--crf=18", "--speed", "medium", "--latency", "low",
                     "--fit-audio-longer", "ping", "--fit-video-longer", "keep", "--missing", "fail",
                     "--pads", "1,2,-3,4", "--fixed-box", "1,2,30,40.5", "--mask", "rectangle",
                     "--feather", "0", "--colour-match", "0.5", "--strength", "0.25", "--sharpness", "1.5",
                     "--fade-frames", "0", "--align", "none", "--silence",
                     "generate", "--silence-threshold", "-40", "--silence-hold", "0", "--offset-ms", "-80",
                     "--profile", "exact", "--pcm", "48000:2:f32le", "--raw-frames", "64x48@30000/1001:rgb",
                     "--media-chunk", "4096", "--smoothing", "1", "--progress-interval", "0.25", "--regions",
                     regions, "--frame-info", frames, "--chunk", "1000", FACE, VOICE, OUT)
    want = pb.SyncConfig()
    want.audio.pcm.sample_rate_hz, want.audio.pcm.channels, want.audio.pcm.format = 48000, 2, 2
    want.video.frames.width, want.video.frames.height, want.video.frames.format = 64, 48, 2
    want.video.frames.frame_rate.num, want.video.frames.frame_rate.den = 30000, 1001
    want.output.container, want.output.crf, want.output.speed, want.output.latency = 2, 18, 5, 2
    want.output.chunk_bytes_max = 4096
    want.fit.audio_longer, want.fit.video_longer = 2, 2
    want.face.choose, want.face.missing, want.face.smoothing_frames = 4, 3, 1
    want.face.pads.top, want.face.pads.bottom, want.face.pads.left, want.face.pads.right = 1, 2, -3, 4
    want.face.fixed_box.left, want.face.fixed_box.top = 1, 2
    want.face.fixed_box.right, want.face.fixed_box.bottom = 30, 40.5
    want.paste.mask, want.paste.feather_px.value, want.paste.colour_match.value = 3, 0, 0.5
    want.paste.feather_px.SetInParent()
    want.paste.strength.value, want.paste.sharpness.value, want.face.align = 0.25, 1.5, 2
    want.paste.fade_frames.SetInParent()
    want.silence.policy, want.silence.threshold_dbfs.value = 1, -40
    want.silence.hold_ms.SetInParent()
    want.timing.audio_offset_ms, want.profile, want.report.frame_info = -80, 2, True
    want.report.progress_interval.nanos = 250000000
    check("config: exit", run.returncode == 0, run)
    check("config: every field", fake.config == want, fake.config)
    check("config: chunks", max(size for _, size in fake.order) == 1000)
    runs = [(r.first_frame, len(r.regions)) for r in fake.regions]
    check("config: regions", runs == [(0, 2), (5, 1)] and fake.regions[0].regions[1].bypass
          and not fake.regions[0].regions[1].HasField("box"), fake.regions)
    lines = read(frames).decode().split("\n")
    check("config: frame info", lines[1] == "0,0,0.000000,1.00,2.00,30.00,40.00,0.900,1,synced,-4.500,0.750"
          and lines[2] == "1,0,0.000000,,,,,0.000,0,passed-through,0.000,0.000", lines)


def test_still():
    with fake_server("good") as fake:
        run = client(fake, "--still-rate", "30000/1001", STILL, VOICE, OUT)
    check("still: told by content", run.returncode == 0 and fake.config.video.HasField("still")
          and fake.config.video.still.frame_rate.num == 30000, fake.config)
    check("still: goes first", fake.order[0][0] == "video", fake.order[:3])


def test_pipes():
    with fake_server("early") as fake:
        run = start_client(fake, FACE, "-", "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE)
        run.stdin.write(b"voice")
        run.stdin.flush()
        first = os.read(run.stdout.fileno(), 1000)
        check("pipes: media while input is open", first == MEDIA[:1000], len(first))
        fake.go.set()
        check("pipes: small pieces leave at once", wait_for(lambda: bytes(fake.audio) == b"voice"),
              fake.audio)
        out, err = run.communicate(b" and more", timeout=20)
    check("pipes: all of it", out == MEDIA[1000:] and fake.audio == b"voice and more", len(out))
    check("pipes: words on stderr", run.returncode == 0 and b"48 synced" in err, err)


def test_bar():
    try:
        os.close(pty.openpty()[0])
    except OSError as error:  # a chroot without /dev/pts
        print("SKIP: the progress bar: %s" % error)
        return
    with fake_server("good") as fake:
        for name, columns, utf8 in (("wide", 100, True), ("narrow", 30, True), ("ascii", 80, False)):
            master, slave = pty.openpty()
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            env = {**ENV, "LC_ALL": "C.UTF-8" if utf8 else "C"}
            run = subprocess.Popen([CLIENT, "sync", "--server", fake.address, FACE, VOICE, OUT],
                                   stdout=slave, stderr=slave, env=env)
            os.close(slave)
            raw = b""
            while True:
                try:
                    raw += os.read(master, 4096)
                except OSError:
                    break
            os.close(master)
            text = raw.decode()
            check("bar %s: exit" % name, run.wait(20) == 0, text)
            lines = re.split(r"[\r\n]+", text.replace("\x1b[K", ""))
            drawn = [line for line in lines if "/50" in line]
            check("bar %s: drawn" % name, len(drawn) > 0, text)
            check("bar %s: fits" % name, max(map(len, drawn)) < columns, drawn)
            check("bar %s: blocks" % name, any("█" in l for l in drawn) == (utf8 and columns > 60)
                  and ("#" in "".join(drawn)) == (not utf8), drawn)
            check("bar %s: wiped" % name, "\r\x1b[Kdone" in text, text[-400:])
            check("bar %s: no escape of the server's" % name, "\x1b]" not in text)


def test_json():
    with fake_server("good") as fake:
        run = client(fake, "--progress", "json", FACE, VOICE, OUT)
        lines = [json.loads(line) for line in run.stdout.decode().splitlines()]
        info = subprocess.run([CLIENT, "info", "--json", "--server", fake.address], capture_output=True,
                              timeout=20)
        table = subprocess.run([CLIENT, "info"], capture_output=True, timeout=20,
                               env={**ENV, "LIPSTREAM_SERVER": fake.address})
    check("json: exit", run.returncode == 0 and lines[0]["accepted"]["sessionId"] == "s-1", lines)
    check("json: summary", lines[-1]["summary"]["framesSynced"] == "48"
          and lines[-1]["summary"]["videoDuration"] == "2.000000000s", lines[-1])
    reply = json.loads(info.stdout)
    check("info: json", reply["generator"]["mask"] == "MASK_MOUTH" and reply["sessionsFree"] == 3
          and reply["containers"][1] == "OUTPUT_CONTAINER_MPEG_TS", reply)
    text = table.stdout.decode()
    check("info: table", table.returncode == 0 and "sessions-max" in text
          and "3.20 M parameters, mask mouth" in text and "fmp4, mpeg-ts" in text,
          (table.returncode, text, table.stderr))
    check("info: cleaned", "\x1b" not in text, text)


def test_errors():
    for behaviour, code, words in (
            ("refuses", 13, ["INVALID_ARGUMENT (FIELD_INVALID): 2 fields are invalid",
                             "config.output.crf: 99 is outside 1..51 [OUT_OF_RANGE]",
                             "config.face.pads.top: 5000 is outside"]),
            ("full", 18, ["RESOURCE_EXHAUSTED (SESSIONS_FULL)", "try again in 2.0 s"]),
            ("breaks", 23, ["INTERNAL: a bug of ours"]),
            ("ends_without_summary", 1, ["without a summary"]),
            ("loses_media", 1, ["without all of the output"])):
        write(OUT, b"the old one")
        with fake_server(behaviour) as fake:
            run = client(fake, FACE, VOICE, OUT)
        text = run.stderr.decode()
        check(behaviour + ": exit", run.returncode == code, run)
        check(behaviour + ": words", all(word in text for word in words), text)
        check(behaviour + ": the old output stays", read(OUT) == b"the old one"
              and not os.path.exists(OUT + ".part"))
    with fake_server("vanishes") as fake:
        run = client(fake, FACE, VOICE, OUT)
    check("vanishes: exit", run.returncode in (11, 24), run)


def test_session_id():
    for behaviour in ("refuses", "full", "breaks"):
        with fake_server(behaviour) as fake:
            run = client(fake, FACE, VOICE, OUT)
        check(behaviour + ": the session's id", b"\n  session id-1\n" in run.stderr, run.stderr)


def test_retry():
    with fake_server("before_twice_full") as fake:
        run = client(fake, "--retry", "2", FACE, VOICE, OUT)
    gaps = [b - a for a, b in zip(fake.times, fake.times[1:])]
    check("retry: in the end", run.returncode == 0 and fake.calls == 3 and read(OUT) == MEDIA, run)
    check("retry: all of the input", fake.audio == read(VOICE) and fake.video == read(FACE),
          (len(fake.audio), len(fake.video)))
    check("retry: not before the time", min(gaps) >= 0.2 and max(gaps) < 2, gaps)
    check("retry: told", run.stderr.count(b"try again in 0.2 s") == 2
          and b"(2 of 2)" in run.stderr, run.stderr)
    for name, args, more, calls in (
            ("too few", ["--retry", "1", FACE, VOICE, OUT], {}, 2),
            ("not asked for", [FACE, VOICE, OUT], {}, 1),
            ("a pipe is read once", ["--retry", "2", FACE, "-", OUT], {"input": b"voice"}, 1),
            ("no time left", ["--retry", "2", "--timeout", "0.19", FACE, VOICE, OUT], {}, 1)):
        with fake_server("before_twice_full") as fake:
            run = client(fake, *args, **more)
        check("retry: " + name, run.returncode == 18 and fake.calls == calls, (run, fake.calls))
    with fake_server("before_ages") as fake:
        run = client(fake, "--retry", "2", FACE, VOICE, OUT)
    check("retry: nobody waits for years", run.returncode == 18 and fake.calls == 1, run)
    for behaviour in ("full", "breaks", "refuses"):  # the first after it was accepted
        with fake_server(behaviour) as fake:
            client(fake, "--retry", "3", FACE, VOICE, OUT)
        check("retry: not after " + behaviour, fake.calls == 1, fake.calls)
    started = time.monotonic()
    run = subprocess.run([CLIENT, "sync", "--server", "127.0.0.1:1", "--retry", "1", FACE, VOICE, OUT],
                         capture_output=True, timeout=20)
    check("retry: nobody there", run.returncode == 24 and time.monotonic() - started >= 1, run)
    with open(VOICE, "rb") as voice, fake_server("before_twice_full") as fake:
        run = client(fake, "--retry", "2", FACE, "-", OUT, stdin=voice)
    check("retry: a file as standard input", run.returncode == 0 and fake.audio == read(VOICE), run)


def test_retry_signal():
    with fake_server("before_full") as fake:
        run = start_client(fake, "--retry", "9", FACE, VOICE, OUT, stderr=subprocess.PIPE)
        while b"trying again" not in run.stderr.readline():
            pass
        started = time.monotonic()
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=20)
    check("retry: a signal ends the waiting", run.returncode == 11 and time.monotonic() - started < 2,
          (run.returncode, fake.calls))


def test_line():
    with fake_server("before_line") as fake:
        run = client(fake, FACE, VOICE, OUT)
    check("line: told", b"waiting   2 before you\nwaiting   1 before you\n" in run.stdout, run.stdout)
    check("line: then as always", run.returncode == 0 and read(OUT) == MEDIA, run)


def test_metadata():
    token = os.path.join(HERE.name, "token")
    write(token, b"from.the-file~1\r\nsecond line")
    for name, env, args, want in (
            ("none", {}, [], (None, None)),
            ("environment", {"LIPSTREAM_TOKEN": "abc.def"}, [], ("Bearer abc.def", None)),
            ("file", {"LIPSTREAM_TOKEN": "abc.def"}, ["--token-file", token],
             ("Bearer from.the-file~1", None)),
            ("priority", {}, ["--priority", "batch"], (None, "batch"))):
        with fake_server("good") as fake:
            run = subprocess.run([CLIENT, "sync", "--server", fake.address, *args, FACE, VOICE, OUT],
                                 capture_output=True, timeout=20, env={**ENV, **env})
        got = (fake.metadata.get("authorization"), fake.metadata.get("lipstream-priority"))
        check("metadata: " + name, run.returncode == 0 and got == want, (run, got))
    with fake_server("good") as fake:
        run = client(fake, "--live", FACE, VOICE, OUT)
    check("live", run.returncode == 0 and fake.config.timing.live, fake.config)
    for name, data in (("empty", b"\n"), ("a blank", b"a b"), ("a line feed in it", b"a\x0bb"),
                       ("not ASCII", "é".encode())):
        write(token, data)
        run = subprocess.run([CLIENT, "sync", "--token-file", token, FACE, VOICE, OUT],
                             capture_output=True, timeout=20)
        check("token: " + name, run.returncode == 1 and b"--token-file" not in run.stdout
              and token.encode() in run.stderr, run)


def test_health():
    with fake_server("good") as fake:
        for status, code, word in ((1, 0, b"SERVING\n"), (2, 1, b"NOT_SERVING\n"), (0, 1, b"UNKNOWN\n")):
            fake.health = status
            run = subprocess.run([CLIENT, "health", "--server", fake.address], capture_output=True,
                                 timeout=20)
            check("health: %d" % status, run.returncode == code and run.stdout == word, run)
    run = subprocess.run([CLIENT, "health", "--server", "127.0.0.1:1"], capture_output=True, timeout=20)
    check("health: nobody there", run.returncode == 24 and b"UNAVAILABLE" in run.stderr, run)
    run = subprocess.run([CLIENT, "health", "--server=%s" % fake.address, "x"], capture_output=True,
                         timeout=20)
    check("health: usage", run.returncode == 2, run)


def secure_server(authority, *names, client_ca=None):
    import grpc

    cert, key = authority.issue("server", *names)
    roots = read(client_ca) if client_ca else None
    return fake_server("good", grpc.ssl_server_credentials([(read(key), read(cert))], roots,
                                                           client_ca is not None))


def test_tls():
    try:
        from _certs import Authority
    except ImportError as error:
        print("SKIP: TLS of the client: %s" % error)
        return
    ours, other = Authority(HERE.name, "ours"), Authority(HERE.name, "other")
    cert, key = ours.issue("client", "caller.test", client=True)

    def info(fake, *args, env=ENV):
        return subprocess.run([CLIENT, "info", "--server", fake.address, *args], capture_output=True,
                              timeout=20, env=env).returncode

    with secure_server(ours, "127.0.0.1", "lips.test") as fake:
        check("tls: ca", info(fake, "--ca", ours.cert) == 0)
        check("tls: system's authorities", info(fake, "--tls", env={**ENV, "SSL_CERT_FILE": ours.cert}) == 0)
        check("tls: not among them", info(fake, "--tls") == 24)
        check("tls: another authority", info(fake, "--ca", other.cert) == 24)
        check("tls: name", info(fake, "--ca", ours.cert, "--server-name", "lips.test") == 0)
        check("tls: another name", info(fake, "--ca", ours.cert, "--server-name", "other.test") == 24)
        check("tls: plain", info(fake) in (24, 10 + 14))
        run = client(fake, "--ca", ours.cert, FACE, VOICE, OUT)
        check("tls: sync", run.returncode == 0 and read(OUT) == MEDIA, run)
        run = subprocess.run([CLIENT, "health", "--server", fake.address, "--ca", ours.cert],
                             capture_output=True, timeout=20)
        check("tls: health", run.returncode == 0, run)
    with secure_server(ours, "127.0.0.1", client_ca=ours.cert) as fake:
        check("mutual: certificate", info(fake, "--ca", ours.cert, "--cert", cert, "--key", key) == 0)
        check("mutual: none", info(fake, "--ca", ours.cert) == 24)
        for name, args, code in (("key alone", ["--key", key], 2), ("certificate alone", ["--cert", cert], 2),
                                 ("no such file", ["--ca", "/nonexistent"], 1),
                                 ("no PEM", ["--ca", FACE], 1),
                                 ("keys swapped", ["--ca", ours.cert, "--cert", key, "--key", cert], 1)):
            check("tls: " + name, info(fake, *args) == code)


def test_usage():
    missing = os.path.join(HERE.name, "missing")
    for name, args, code in (
            ("no server", ["sync", "--server", "127.0.0.1:1", FACE, VOICE, OUT], 24),
            ("no face", ["sync", missing, VOICE, OUT], 1),
            ("no folder", ["sync", FACE, VOICE, missing + "/x/y"], 1),
            ("flag with a value", ["sync", "--live=1", FACE, VOICE, OUT], 2),
            ("bad class", ["sync", "--priority", "urgent", FACE, VOICE, OUT], 2),
            ("bad option", ["sync", "--nonsense", "1", FACE, VOICE, OUT], 2),
            ("bad value", ["sync", "--speed", "warp", FACE, VOICE, OUT], 2),
            ("ambiguous value", ["sync", "--latency", "o", FACE, VOICE, OUT], 2),
            ("few", ["sync", FACE], 2), ("many", ["sync", FACE, VOICE, OUT, "x"], 2),
            ("two stdins", ["sync", "-", "-", OUT], 2), ("no command", [], 2)):
        run = subprocess.run([CLIENT, *args], capture_output=True, timeout=20, stdin=subprocess.DEVNULL)
        check("usage %s" % name, run.returncode == code and run.stderr, run)
    run = subprocess.run([CLIENT, "--help"], capture_output=True, timeout=20)
    check("help", run.returncode == 0 and b"--fit-audio-longer" in run.stdout)
    run = subprocess.run([CLIENT, "--version"], capture_output=True, timeout=20)
    check("version", run.returncode == 0 and run.stdout.startswith(b"lipstream "), run.stdout)


def test_deadline():
    with fake_server("waits") as fake:
        started = time.monotonic()
        run = client(fake, "--timeout", "0.5", FACE, VOICE, OUT)
        check("deadline", run.returncode == 14 and time.monotonic() - started < 5, run)


def test_signals():
    for name, number in (("SIGINT", signal.SIGINT), ("SIGTERM", signal.SIGTERM)):
        with fake_server("waits") as fake:
            run = start_client(fake, FACE, VOICE, OUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            wait_for(lambda: os.path.exists(OUT + ".part") and os.path.getsize(OUT + ".part") == 1000)
            run.send_signal(number)
            _, err = run.communicate(timeout=20)
            check(name + ": exit", run.returncode == 11 and b"CANCELLED" in err, (run.returncode, err))
            check(name + ": the server knows", fake.cancelled.wait(5))
            check(name + ": nothing is left", not os.path.exists(OUT + ".part"))


def test_stop():
    with fake_server("good") as fake:
        run = start_client(fake, "--stop-after", "0.3", FACE, "-", OUT, stdin=subprocess.PIPE,
                           stdout=subprocess.PIPE)
        code = run.wait(20)
        run.stdin.close()
    check("stop after", code == 0 and fake.stops == 1 and read(OUT) == MEDIA, (code, fake.stops))


def test_closed_pipe():
    with fake_server("big") as fake:
        run = start_client(fake, FACE, VOICE, "-", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        os.read(run.stdout.fileno(), 1000)
        run.stdout.close()
        err = run.stderr.read()
        check("closed pipe", run.wait(20) == 1 and b"went away" in err, err)


def rss_kb(process):
    with open("/proc/%d/status" % process.pid) as file:
        return int(re.search(r"VmHWM:\s+(\d+)", file.read())[1])


def test_memory():
    huge = os.path.join(HERE.name, "huge.bin")
    with open(huge, "wb") as file:
        file.truncate(200 << 20)
    with fake_server("good") as fake:
        base = start_client(fake, FACE, "-", OUT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        wait_for(lambda: len(fake.video) == os.path.getsize(FACE))
        least = rss_kb(base)
        base.communicate(timeout=20)
    with fake_server("deaf") as fake:
        run = start_client(fake, huge, VOICE, OUT, stdout=subprocess.DEVNULL)
        time.sleep(1)
        grown = rss_kb(run) - least
        check("memory: a server that does not read", grown < 16 << 10, "%d kB more" % grown)
        run.kill()
        run.wait()
    with fake_server("big") as fake:
        run = start_client(fake, FACE, VOICE, "-", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        time.sleep(1)
        grown = rss_kb(run) - least
        check("memory: an output that is not read", grown < 16 << 10, "%d kB more" % grown)
        size = len(run.stdout.read())
        check("memory: all arrives in the end", size == 60000000 and run.wait(20) == 0, size)


def test_pace():
    with fake_server("good") as fake:
        write(VOICE + ".pcm", bytes(32000))
        started = time.monotonic()
        run = client(fake, "--pcm", "16000:1:s16le", "--pace", "real", FACE, VOICE + ".pcm", OUT)
        took = time.monotonic() - started
    check("pace: real time", run.returncode == 0 and 0.9 < took < 4 and len(fake.audio) == 32000, took)
    check("pace: small pieces", len(fake.order) > 20, len(fake.order))


def test_real():
    face, voice = _stubs.make_media("face.mp4"), _stubs.make_media("voice.wav")
    with _stubs.start_server() as server:
        run = subprocess.run([CLIENT, "sync", "--server", server.address, "--frame-info",
                              OUT + ".csv", face, voice, OUT], capture_output=True, timeout=120)
        check("real: exit", run.returncode == 0, run)
        check("real: summary", b"50 in, 50 out" in run.stdout, run.stdout.decode())
        check("real: frame info", len(read(OUT + ".csv").splitlines()) == 51)
        probe = subprocess.run(["ffprobe", "-v", "error", "-count_frames", "-show_entries",
                                "stream=codec_name,nb_read_frames", "-of", "csv=p=0", OUT],
                               capture_output=True, text=True)
        check("real: video", "h264,50" in probe.stdout and "aac" in probe.stdout, probe)
        run = subprocess.run("%s sync --server %s %s - - < %s | ffprobe -v error -show_entries "
                             "format=format_name -of csv=p=0 -" % (CLIENT, server.address, face, voice),
                             shell=True, capture_output=True, text=True, timeout=120)
        check("real: piped", "mp4" in run.stdout, run)
        run = subprocess.run([CLIENT, "sync", "--server", server.address, "--crf", "99", "--smoothing",
                              "77", face, voice, OUT], capture_output=True, timeout=60)
        check("real: every violation", run.returncode == 13 and b"config.output.crf" in run.stderr
              and b"config.face.smoothing_frames" in run.stderr, run)
        run = subprocess.run([CLIENT, "info", "--server", server.address], capture_output=True, timeout=20)
        check("real: info", run.returncode == 0 and b"sessions-max" in run.stdout, run)


def main():
    if not os.path.exists(CLIENT):
        _stubs.skip("lipstream is not built")
    write(FACE, os.urandom(500000))
    write(VOICE, os.urandom(300000))
    write(STILL, b"\x89PNG\r\n\x1a\n" + os.urandom(200000))
    for name, test in list(globals().items()):
        only = os.environ.get("LS_ONLY", "")
        if name.startswith("test_") and only in name:
            test()
    _stubs.finish()


main()
