# SPDX-License-Identifier: Apache-2.0
"""What the picture bench feeds the service with, and the service itself.

Service starts lipstreamd on a free port and runs `lipstream sync` on it; what comes back is raw I420, so that no
encoder hides anything. Clip is one output: luma and RGB of an area, frame by frame, with what the service says of each
frame. Faces and voices that are missing are left out and named on standard error (`SKIP: ...`).
"""
import concurrent.futures
import csv
import functools
import glob
import itertools
import json
import os
import re
import subprocess
import sys
import time

import numpy as np

import picture_voices as voices

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MEDIA = os.path.join(os.environ.get("LS_SHARED", os.path.join(ROOT, "..", "shared")), "media")
WORK = os.path.join(ROOT, "build", "picture", "work")  # whoever runs this may choose another

# Name, file, and the second of a video at which a still of it is taken. None of these people was trained on.
FACES = [
    ("astronaut", "images/astronaut.png", None),
    ("hopper", "images/grace_hopper_512x512.jpg", None),
    ("s2", "talking/id2_vcd_swwp2s.mpg", 1.0),
    ("s34", "grid/s34/*.mp4", 0.2),
    ("lbbc2a", "talking/lbbc2a.mpg", 0.2),
    ("presenter", "talking/presenter_720p_faststart.mp4", 1.0),
]
HELD_OUT = ("s2", "s34")

# Pictures that callers also send: name, face, FFmpeg's filters.
HARD = [
    ("dark", "s34", "eq=gamma=0.45:contrast=0.8"),
    ("side light", "s2", "format=yuv420p,geq=lum='16+(lum(X,Y)-16)*(0.15+0.85*X/W)':cb='cb(X,Y)':cr='cr(X,Y)'"),
    ("side light, portrait", "hopper",
     "format=yuv444p,geq=lum='16+(lum(X,Y)-16)*(1-0.85*X/W)':cb='cb(X,Y)':cr='cr(X,Y)'"),
    ("turned 20 degrees", "s34", "rotate=20*PI/180:bilinear=1"),
    ("turned -20 degrees", "astronaut", "rotate=-20*PI/180:bilinear=1"),
    ("small (half)", "s2", "scale=iw/2:-2:flags=area"),
    ("small (40 px)", "hopper", "scale=128:-2:flags=area"),
    ("drawn", "hopper", "bilateral=sigmaS=4:sigmaR=0.2,elbg=codebook_length=14,format=yuv444p"),
    ("grey", "lbbc2a", "hue=s=0"),
    ("grainy", "s34", "noise=c0s=22:c0f=t"),
]
# Other people and pictures, as they are. The network was trained on brbk7n, s16, s25 and s27.
OTHERS = [
    ("brbk7n", "grid/mixed/brbk7n.mp4"),
    ("s16", "grid/s16/*.mp4"),
    ("s25", "grid/s25/*.mp4"),
    ("s27", "grid/s27/*.mp4"),
    ("dark clip", "hard/dark.mp4"),
    ("40 px in 1080p", "hard/tiny_face_40px_1080p.mp4"),
]
# With throats that training has in no language.
LANGUAGES = [
    ("German", "de+m2", "Mein Bruder Paul arbeitet am Bahnhof. Bald kommt der Bus, und wir fahren bis zum Berg."),
    ("French", "fr+f3", "Ma belle-mère habite à Paris, près du pont. Elle aime beaucoup la pluie et le beau pain."),
    ("Spanish", "es+m2", "Mi padre compra pan y miel por la mañana. Después bajamos al pueblo para ver a la abuela."),
    ("Mandarin", "cmn-latn-pinyin+f3", "ma1ma5 he2 ba4ba5 mei3 tian1 pao3bu4. wo3men5 mai3 le5 ban4 bang4 ping2guo3."),
]

# The original's paste: the whole box with a hard edge, the face as it comes.
OLD_PASTE = {"mask": "rectangle", "feather": "0", "colour-match": "0", "sharpness": "0"}


def skip(what):
    print("SKIP: %s" % what, file=sys.stderr, flush=True)


def media(name):
    """First file of that name or pattern, or None."""
    found = sorted(glob.glob(os.path.join(MEDIA, name)))
    return found[0] if found else None


def ffmpeg(out, *arguments):
    if not os.path.exists(out):
        part = os.path.join(os.path.dirname(out), "part-" + os.path.basename(out))
        subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", *arguments, part], check=True)
        os.rename(part, out)
    return out


def work(name):
    return os.path.join(WORK, re.sub(r"[^A-Za-z0-9.+_-]+", "_", name))


@functools.cache
def size_and_rate(path):
    said = json.loads(subprocess.run(
        ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "stream=width,height,r_frame_rate",
         "-of", "json", path], check=True, stdout=subprocess.PIPE).stdout)["streams"][0]
    num, den = said["r_frame_rate"].split("/")
    return said["width"], said["height"], int(num) / int(den)


def is_still(path):
    return path.endswith((".png", ".jpg"))


@functools.cache
def _all_faces():
    out = {}
    for name, pattern, _ in FACES:
        path = media(pattern)
        if path:
            out[name] = path
        else:
            skip("face %s: no ../shared/media/%s" % (name, pattern))
    return out


def faces(names=None):
    """{name: path} of those that are there."""
    return {name: path for name, path in _all_faces().items() if names is None or name in names}


def still_of(name, path):
    """A picture of that face."""
    at = {n: s for n, _, s in FACES}[name]
    if at is None:
        return path
    return ffmpeg(work("still-%s.png" % name), "-ss", str(at), "-i", path, "-frames:v", "1")


def changed(name, path, filters):
    """A face through FFmpeg's filters, without loss that shows."""
    if is_still(path):
        return ffmpeg(work(name + ".png"), "-i", path, "-vf", filters, "-frames:v", "1")
    return ffmpeg(work(name + ".mp4"), "-i", path, "-vf", filters + ",format=yuv420p", "-an", "-c:v", "libx264",
                  "-crf", "8", "-preset", "superfast")


def still_frames(path, count, noise, seed=0):
    """A still as raw frames of a sensor that has noise of that deviation: (path, "WxH@25:i420")."""
    width, height = (v // 2 * 2 for v in size_and_rate(path)[:2])
    out = work("still-%s-%g.i420" % (os.path.basename(path), noise))
    if not os.path.exists(out):
        raw = subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-i", path, "-vf",
                              "crop=%d:%d:0:0,format=yuv420p" % (width, height), "-f", "rawvideo", "-"], check=True,
                             stdout=subprocess.PIPE).stdout
        frame = np.frombuffer(raw, np.uint8).astype(np.float32)
        rng = np.random.default_rng(seed)
        with open(out, "wb") as f:
            for _ in range(count):
                f.write((frame + rng.normal(0, noise, len(frame))).round().clip(0, 255).astype(np.uint8).tobytes())
    return out, "%dx%d@25:i420" % (width, height)


def rgb_frames(path):
    """A clip as raw RGB24, which is what WAV2LIP_EXACT takes: (path, "WxH@25:rgb24")."""
    width, height, rate = size_and_rate(path)
    out = ffmpeg(work("rgb-%s.raw" % os.path.basename(path)), "-i", path, "-an", "-pix_fmt", "rgb24", "-f", "rawvideo")
    return out, "%dx%d@%d:rgb24" % (width, height, round(rate))


@functools.cache
def said(name, text=0):
    """An unseen voice: (path of a WAV, wav, phones)."""
    wav, phones = voices.speak(name, voices.TEXTS[text])
    return save("voice-%s-%d" % (name, text), wav), wav, phones


def save(name, wav):
    path = work(name + ".wav")
    voices.write_wav(path, wav)
    return path


def own_voice(path):
    """The sound of a clip as a WAV, from the time of its first frame."""
    out = work("own-%s.wav" % os.path.basename(path))
    return ffmpeg(out, "-i", path, "-af", "aresample=async=1:first_pts=0", "-ac", "1", "-ar", "16000")


# --- the service ----------------------------------------------------------------------------------------------------
def _rgb(y, u, v, hd):
    """Limited range 4:2:0 to RGB; chroma by repetition."""
    y = (y.astype(np.float32) - 16) * (255 / 219)
    u, v = (np.repeat(np.repeat(c.astype(np.float32) - 128, 2, 0), 2, 1)[: y.shape[0], : y.shape[1]] * (255 / 224)
            for c in (u, v))
    kr, kb = (0.2126, 0.0722) if hd else (0.299, 0.114)
    r, b = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    g = (y - kr * r - kb * b) / (1 - kr - kb)
    return np.stack([r, g, b], -1).round().clip(0, 255).astype(np.uint8)


class Clip:
    """Raw I420, or RGB24, on disk, which goes with the object. boxes [n][4], NaN where there was no face."""

    def __init__(self, path, width, height, rate, rows, rgb24=False):
        self.path, self.width, self.height, self.rate, self.rgb24 = path, width, height, rate, rgb24
        self.chroma = (width + 1) // 2, (height + 1) // 2
        size = width * height * 3 if rgb24 else width * height + 2 * self.chroma[0] * self.chroma[1]
        self.data = np.memmap(path, np.uint8, "r").reshape(-1, size)
        self.source_frames = np.array([int(r["source_frame"]) for r in rows])
        self.times = np.array([float(r["pts_s"]) for r in rows])
        self.boxes = np.array([[float(r[k] or "nan") for k in ("left", "top", "right", "bottom")] for r in rows])
        self.synced = np.array([r["action"] in ("synced", "held") for r in rows])

    def __len__(self):
        return len(self.data)

    def luma(self, area=None):
        """Of I420 alone."""
        x0, y0, x1, y1 = area or (0, 0, self.width, self.height)
        y = self.data[:, : self.width * self.height].reshape(-1, self.height, self.width)
        return np.array(y[:, y0:y1, x0:x1])

    def rgb(self, i, area=None):
        """Frame i in an area whose left and top are even."""
        x0, y0, x1, y1 = area or (0, 0, self.width, self.height)
        if self.rgb24:
            return np.array(self.data[i].reshape(self.height, self.width, 3)[y0:y1, x0:x1])
        w, h = self.chroma
        y, u, v = np.split(self.data[i], [self.width * self.height, self.width * self.height + w * h])
        y = y.reshape(self.height, self.width)[y0:y1, x0:x1]
        u, v = (c.reshape(h, w)[y0 // 2 : (y1 + 1) // 2, x0 // 2 : (x1 + 1) // 2] for c in (u, v))
        return _rgb(y, u, v, self.height >= 720 or self.width >= 1280)

    def area(self, grow=0.45):
        """Around all boxes, even, inside the frame."""
        box = self.boxes[~np.isnan(self.boxes[:, 0])]
        if not len(box):
            return (0, 0, self.width // 2 * 2, self.height // 2 * 2)
        left, top, right, bottom = box[:, 0].min(), box[:, 1].min(), box[:, 2].max(), box[:, 3].max()
        dx, dy = grow * (box[:, 2] - box[:, 0]).max(), grow * (box[:, 3] - box[:, 1]).max()
        even = lambda v, top: int(np.clip(v, 0, top)) // 2 * 2  # noqa: E731
        return (even(left - dx, self.width), even(top - dy, self.height), even(right + dx, self.width),
                even(bottom + dy, self.height))

    def close(self):
        if self.path:
            self.data = None
            os.unlink(self.path)
            self.path = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


_numbers = itertools.count(1)


class Service:
    def __init__(self, build, weights=None, detector=None):
        self.build = build
        os.makedirs(WORK, exist_ok=True)
        self.log = os.path.join(WORK, "server.log")
        options = [o for name, value in (("--model", weights), ("--detector", detector)) if value
                   for o in (name, value)]
        with open(self.log, "w") as to:
            self.process = subprocess.Popen([os.path.join(build, "lipstreamd"), "--listen", "127.0.0.1:0",
                                             "--admin-listen", "none", "--backend", "cpu", *options],
                                            stdin=subprocess.DEVNULL, stdout=to, stderr=to)
        self.address = None
        end = time.monotonic() + 60
        while not self.address:
            found = re.search(r"listening on ([^ ,]+:\d+)", self.said())
            self.address = found and found[1]
            if self.process.poll() is not None or time.monotonic() > end:
                self.process.kill()
                sys.exit("picture: the server did not start:\n" + self.said())
            time.sleep(0.05)
        self.unknown = set()
        self.knows = set(re.findall(r"^  --([a-z0-9-]+)", subprocess.run(
            [os.path.join(build, "lipstream"), "--help"], stdout=subprocess.PIPE, text=True).stdout, re.M))

    def said(self):
        with open(self.log) as f:
            return f.read()

    def call(self, face, voice, out, *options, **named):
        """Runs the client; options that it does not know are left out (an older one, to compare with)."""
        named = {k.replace("_", "-"): v for k, v in named.items()}
        for name in named.keys() - self.knows - self.unknown:
            self.unknown.add(name)
            skip("option --%s, which this client has not" % name)
        options = [*options, *(w for k, v in named.items() if k in self.knows for w in ("--" + k, str(v)))]
        done = subprocess.run([os.path.join(self.build, "lipstream"), "sync", "--server", self.address, "--progress",
                               "none", "--timeout", "300", *options, face, voice, out], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise RuntimeError("lipstream sync %s: exit %d: %s" %
                               (os.path.basename(face), done.returncode, done.stdout))

    def sync(self, face, raw=None, voice=None, **named):
        """-> Clip. raw: what still_frames and rgb_frames say of theirs; RGB24 comes back as it is."""
        out = work("out-%d.raw" % next(_numbers))
        rows = out + ".csv"
        options = ["--container", "none", "--frame-info", rows]
        rgb24 = bool(raw) and raw.endswith("rgb24")
        if raw:
            options += ["--raw-frames", raw]
            width, height, rate = (int(v) for v in re.match(r"(\d+)x(\d+)@(\d+)", raw).groups())
        else:
            width, height, rate = size_and_rate(face)
            rate = 25 if is_still(face) else rate
        self.call(face, voice, out, *options, video="rgb24" if rgb24 else "i420", **named)
        with open(rows, newline="") as f:
            info = list(csv.DictReader(f))
        os.unlink(rows)
        return Clip(out, width, height, rate, info, rgb24)

    def each(self, jobs):
        """sync of [(key, arguments, options)], as (key, Clip); the next one is made while one is looked at."""
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            ahead = None
            for key, arguments, options in jobs:
                after = (key, pool.submit(self.sync, *arguments, **options))
                if ahead:
                    yield ahead[0], ahead[1].result()
                ahead = after
            if ahead:
                yield ahead[0], ahead[1].result()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.process.terminate()
        if self.process.wait(60) and not kind:
            sys.exit("picture: the server ended badly:\n" + self.said())
