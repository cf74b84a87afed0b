# SPDX-License-Identifier: Apache-2.0
"""Voices whose phonemes are known to the millisecond, and what a mouth does while it says them.

A voice is (wav, phones): float32 at 16 kHz, and [(begin_s, end_s, name)] in order, names as IPA (espeak-ng, through
libespeak-ng's phoneme events) or ARPAbet (flite -psdur). `opening(phones, t)` is the known opening of a mouth at the
times t: 0 closed, about 1 wide open. It is a model of coarticulation after Cohen and Massaro ("Modeling coarticulation
in synthetic visual speech", 1993): each phoneme has a target and a dominance that decays around it, and the mouth is
where the dominance-weighted mean of the targets is. Its numbers are fitted on the lips of people of GRID
(bench/picture_fit.py), never of those held out: so lag 0 means with the sound as people's lips are, and the r that
those people themselves reach against it (about 0.7) is what a perfect generator can be expected to reach. The demo
model can reach more, for its teacher learns from this curve, too, on other voices (kernels/demo/teacher.py): what it
does beside people's own lips is said by the rows of GRID.
Needs numpy, libespeak-ng.so.1 and flite; without them `Missing` is raised.
"""
import ctypes
import os
import re
import subprocess
import tempfile
import wave

import numpy as np

RATE = 16000


class Missing(Exception):
    """A program or library that speaks is not installed."""


# What the bench judges with: never train on these voices or these texts.
UNSEEN = {
    "flite slt": ("flite", "slt", 0, 0),
    "flite rms": ("flite", "rms", 0, 0),
    "espeak us+f3": ("espeak", "en-us+f3", 165, 55),
    "espeak us+m2": ("espeak", "en-us+m2", 150, 45),
    "espeak gb+Michael": ("espeak", "en+Michael", 160, 50),
}
TEXTS = [
    "Before breakfast, Peter bought a paper map, but the wind blew most of it far above the pier. "
    "My mum imagined a simple problem: five warm apple pies, and nobody home.",
    "Ask Papa about the empty boat by the bridge. We may swim up to it, maybe, and hope for a calm morning. "
    "The old farmer often laughs at my big umbrella.",
]

SILENT = {"", "_", "_:", "pau", "sil", "ssil", "h#"}

# Kinds of phoneme, by what they do to the lips' opening. IPA by its first sign, ARPAbet by its name.
_KINDS = {
    "rest": "",
    "bilabial": "p b m",
    "labiodental": "f v ʋ β",
    "sibilant": "s z ʃ ʒ ɕ ʑ ʂ ʐ sh zh ch jh",
    "alveolar": "t d n l θ ð ɾ r ɹ ɻ ʁ ʀ ɬ ɫ ɭ th dh dx hh",
    "velar": "k ɡ g ŋ x χ ç h ɣ q ɲ c ɟ ʎ j y_ ng y",
    "round": "w u ʊ ɥ ø œ uw uh ʉ ɵ ɯ",
    "close": "i ɪ ᵻ iy ih ɨ",
    "mid": "e ɛ ə ɜ ɝ ɚ ɘ ɤ eh er ax ey",
    "low-mid": "ʌ ɐ ah",
    "back": "o ɔ ow ao oy",
    "open": "a æ ɑ ɒ ä aa ae aw ay",
}
_KIND = {name: kind for kind, names in _KINDS.items() for name in names.split()}
_ARPABET_GLIDE = {"ay": "close", "ey": "close", "oy": "close", "aw": "round", "ow": "round"}

# Target and dominance of each kind; how far in time a dominance reaches, by how much the lips are ahead of the sound,
# and how smooth they are (s). Fitted by picture_fit.py on 70 clips of 7 people (mean r 0.65); on 20 clips of two others
# r is 0.73 at 0 ms, greatest at -7 ms.
TABLE = {
    "rest": (0.00, 0.7), "bilabial": (0.00, 4.3), "labiodental": (0.00, 3.4), "sibilant": (0.37, 0.5),
    "alveolar": (0.20, 0.7), "velar": (0.45, 0.3), "round": (0.22, 4.0), "close": (0.72, 1.0), "mid": (0.87, 1.6),
    "low-mid": (0.75, 0.4), "back": (0.57, 0.6), "open": (1.00, 1.6),
}
REACH_S, LEAD_S, SMOOTH_S = 0.025, 0.020, 0.015


class _Event(ctypes.Structure):
    class _Id(ctypes.Union):
        _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("text", ctypes.c_char * 8)]

    _fields_ = [("type", ctypes.c_int), ("id_of_text", ctypes.c_uint), ("text_position", ctypes.c_int),
                ("length", ctypes.c_int), ("audio_ms", ctypes.c_int), ("sample", ctypes.c_int),
                ("user", ctypes.c_void_p), ("id", _Id)]


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
_PHONEME_EVENT, _SYNCHRONOUS, _PHONEMES_AS_IPA, _NO_EXIT = 7, 2, 1 | 2, 0x8000
_RATE, _PITCH, _UTF8 = 1, 3, 1
_library = None


def resample(wav, rate_in, rate_out=RATE):
    """By a windowed sinc, so that 22 kHz voices do not alias."""
    if rate_in == rate_out:
        return wav.astype(np.float32)
    step, reach = rate_in / rate_out, 16
    cut = min(1.0, 1 / step) * 0.95
    at = np.arange(int(len(wav) / step)) * step
    first = np.floor(at).astype(int)
    padded = np.pad(wav.astype(np.float64), 2 * reach)
    out = np.zeros(len(at))
    for k in range(-2 * reach + 1, 2 * reach):
        d = first + k - at
        window = np.where(np.abs(d) < 2 * reach, 0.5 + 0.5 * np.cos(np.pi * d / (2 * reach)), 0)
        out += padded[first + k + 2 * reach] * cut * np.sinc(cut * d) * window
    return out.astype(np.float32)


def espeak(text, voice="en-us", rate=160, pitch=50):
    global _library
    if _library is None:
        try:
            library = ctypes.CDLL("libespeak-ng.so.1")
        except OSError:
            raise Missing("libespeak-ng.so.1 is not installed") from None
        hertz = library.espeak_Initialize(_SYNCHRONOUS, 200, None, _PHONEMES_AS_IPA | _NO_EXIT)
        if hertz <= 0:
            raise Missing("espeak-ng's data is not installed")
        _library = library, hertz
    library, hertz = _library
    pcm, marks = [], []

    def on_sound(samples, count, event):
        if samples and count > 0:
            pcm.append(np.ctypeslib.as_array(samples, (count,)).copy())
        i = 0
        while event[i].type:
            if event[i].type == _PHONEME_EVENT:
                marks.append((event[i].sample / hertz, event[i].id.text.decode("utf-8", "ignore")))
            i += 1
        return 0

    callback = _CALLBACK(on_sound)
    library.espeak_SetSynthCallback(callback)
    if library.espeak_SetVoiceByName(voice.encode()):
        raise Missing("espeak-ng has no voice %s" % voice)
    library.espeak_SetParameter(_RATE, rate, 0)
    library.espeak_SetParameter(_PITCH, pitch, 0)
    data = text.encode()
    library.espeak_Synth(data, len(data) + 1, 0, 1, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    wav = np.concatenate(pcm).astype(np.float32) / 32768
    ends = [begin for begin, _ in marks[1:]] + [len(wav) / hertz]
    wav = resample(wav, hertz)
    return wav, _with_closures(wav, [(a, b, name) for (a, name), b in zip(marks, ends)
                               if b > a and not name.startswith("(")])  # "(en)" is a change of language


def _with_closures(wav, phones):
    """espeak-ng's mark of a stop stands at its burst, after the silence of the closure, which it counts to the phone
    before. Lips close with the silence and part with the burst: so the stop's phone becomes the silence, and what
    follows the burst belongs to the next phone."""
    hop = RATE // 200
    level = np.sqrt(np.convolve(wav**2, np.ones(2 * hop) / (2 * hop), "same")[::hop]) + 1e-5
    out = [list(phone) for phone in phones]
    for i in range(1, len(out)):
        begin, end, name = out[i]
        if not name.strip("ˈˌ").startswith(("p", "t", "k", "b", "d", "ɡ", "g")):
            continue
        at = int(begin * 200)
        loud = level[max(0, at - 40) : at + 40].max()
        first = at - 1
        while first > max(out[i - 1][0] * 200 + 2, at - 30) and level[first] < 0.05 * loud:
            first -= 1
        if at - first < 4:
            continue
        out[i - 1][1] = out[i][0] = (first + 1) / 200
        if i + 1 < len(out) and out[i + 1][0] == end:
            out[i][1] = out[i + 1][0] = begin + 0.25 * (end - begin)
    return [tuple(phone) for phone in out]


def read_wav(path):
    with wave.open(path) as f:
        pcm = np.frombuffer(f.readframes(f.getnframes()), "<i2").reshape(-1, f.getnchannels())
        return resample(pcm.mean(1) / 32768, f.getframerate())


def write_wav(path, wav):
    with wave.open(path, "wb") as f:
        f.setnchannels(1)
        f.setsampwidth(2)
        f.setframerate(RATE)
        f.writeframes((np.clip(wav, -1, 1) * 32767).round().astype("<i2").tobytes())


def flite(text, voice="slt"):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "voice.wav")
        try:
            said = subprocess.run(["flite", "-voice", voice, "-psdur", "-t", text, "-o", path], check=True,
                                  capture_output=True, text=True).stdout
        except (OSError, subprocess.CalledProcessError):
            raise Missing("flite is not installed") from None
        wav = read_wav(path)
    phones, begin = [], 0.0
    for name, end in re.findall(r"([a-z#_]+):([\d.]+)", said):
        phones.append((begin, float(end), name))
        begin = float(end)
    return wav, phones


def speak(name, text):
    """One of UNSEEN."""
    kind, voice, rate, pitch = UNSEEN[name]
    return flite(text, voice) if kind == "flite" else espeak(text, voice, rate, pitch)


def kind_of(name):
    """Kind of a phoneme, and of its glide if it is a diphthong. Stress, length and tone marks are no sounds."""
    name = name.strip("ˈˌː:'|~-").lower() if name not in SILENT else ""
    if name in SILENT:
        return "rest", None
    if name in _KIND:
        return _KIND[name], _ARPABET_GLIDE.get(name)
    signs = [c for c in name if c in _KIND]
    if not signs:
        return "mid", None
    first = _KIND[signs[0]]
    glide = _KIND[signs[1]] if len(signs) > 1 else None
    return (first, glide if glide in ("round", "close", "mid") and first not in ("alveolar", "sibilant") else None)


def closes(name):
    """The lips meet for this phoneme (p, b, m)."""
    return kind_of(name)[0] == "bilabial"


def segments(phones):
    """Phones as (begin, end, kind); diphthongs in two parts, silences of under 60 ms left out (flite and espeak have
    some inside words, where no mouth rests)."""
    out = []
    for begin, end, name in phones:
        kind, glide = kind_of(name)
        if kind == "rest" and end - begin < 0.06:
            continue
        if glide:
            middle = begin + 0.6 * (end - begin)
            out += [(begin, middle, kind), (middle, end, glide)]
        else:
            out.append((begin, end, kind))
    return out


def opening(phones, t, table=None, reach_s=REACH_S, lead_s=LEAD_S, smooth_s=SMOOTH_S):
    table = table or TABLE
    parts = segments(phones)
    t = np.asarray(t, float)
    step = 0.005
    grid = np.arange(min(t.min(), 0) - 0.3, t.max() + 0.3, step)
    # Before the first and after the last phone the mouth rests.
    first, last = (parts[0][0], parts[-1][1]) if parts else (0, 0)
    parts = [(-10, first, "rest"), *parts, (last, last + 1e3, "rest")]
    above, below = np.zeros(len(grid)), np.full(len(grid), 1e-9)
    for begin, end, kind in parts:
        target, dominance = table[kind]
        away = np.maximum(0, np.maximum(begin - grid, grid - end))
        weight = dominance * np.exp(-away / reach_s)
        above += weight * target
        below += weight
    kernel = np.exp(-0.5 * (np.arange(-30, 31) * step / smooth_s) ** 2)
    smooth = np.convolve(np.pad(above / below, 30, mode="edge"), kernel / kernel.sum(), "valid")
    return np.interp(t + lead_s, grid, smooth)


def closures(phones):
    """[(begin, end)] of p, b, m; one after another counts once."""
    out = []
    for begin, end, name in phones:
        if closes(name) and end > begin:
            if out and begin - out[-1][1] < 0.03:
                out[-1] = (out[-1][0], end)
            else:
                out.append((begin, end))
    return out


def silence(seconds, dbfs=None, seed=0):
    """Digital silence, or a room's noise (low frequencies louder, as rooms have it)."""
    count = int(seconds * RATE)
    if dbfs is None:
        return np.zeros(count, np.float32)
    spectrum = np.fft.rfft(np.random.default_rng(seed).normal(size=count))
    spectrum /= np.sqrt(np.maximum(np.fft.rfftfreq(count, 1 / RATE), 50))
    noise = np.fft.irfft(spectrum, count)
    return (noise / np.sqrt(np.mean(noise**2)) * 10 ** (dbfs / 20)).astype(np.float32)


def join(*parts):
    """Voices one after another; a part is (wav, phones) or a wav alone, which is silent."""
    wavs, phones, at = [], [], 0.0
    for part in parts:
        wav, names = part if isinstance(part, tuple) else (part, [(0, len(part) / RATE, "_")])
        wavs.append(wav)
        phones += [(a + at, b + at, name) for a, b, name in names]
        at += len(wav) / RATE
    return np.concatenate(wavs), phones


def sing(wav, phones, slower=1.5, glide=0.18, vibrato=0.025):
    """Slower, with a pitch that glides up and down and trembles at 5.5 Hz: by moving along the voice at a speed that
    changes. The phonemes' times are moved with it."""
    t = np.arange(int(len(wav) * slower) + RATE) / RATE
    speed = (1 + glide * np.sin(2 * np.pi * 0.4 * t) + vibrato * np.sin(2 * np.pi * 5.5 * t)) / slower
    place = np.cumsum(speed) / RATE
    keep = place < len(wav) / RATE
    out = np.interp(place[keep], np.arange(len(wav)) / RATE, wav).astype(np.float32)
    moved = lambda x: float(np.interp(x, place, t))  # noqa: E731
    return out, [(moved(a), moved(b), name) for a, b, name in phones]


def music(seconds, seed=0):
    """Chords of saw-like tones with a beat: something to put under a voice."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    out = np.zeros(len(t))
    for begin in np.arange(0, seconds, 0.5):
        root = 110 * 2 ** (rng.choice([0, 3, 5, 7, 10]) / 12)
        d = t - begin
        envelope = np.where((d >= 0) & (d < 0.6), np.exp(-4 * np.maximum(d, 0)), 0)
        for ratio in (1, 1.25, 1.5, 2):
            for k in range(1, 7):
                out += envelope * np.sin(2 * np.pi * root * ratio * k * d + k) / k
        out += np.where((d >= 0) & (d < 0.05), rng.normal(size=len(t)), 0)
    return out.astype(np.float32)


def under(wav, other, below_db):
    """wav with `other` under it, quieter by so many dB."""
    other = np.resize(other, len(wav))
    gain = np.sqrt(np.mean(wav**2) / np.mean(other**2)) * 10 ** (-below_db / 20)
    mix = wav + gain * other
    return (mix / max(1, np.abs(mix).max() / 0.95)).astype(np.float32)


# --- GRID: a sentence's phonemes on a recording of it ----------------------------------------------------------------
_GRID = [dict(zip("blps", "bin lay place set".split())), dict(zip("bgrw", "blue green red white".split())),
         dict(zip("abiw", "at by in with".split())), None,
         dict(zip("z123456789", "zero one two three four five six seven eight nine".split())),
         dict(zip("anps", "again now please soon".split()))]


def grid_sentence(name):
    """bbaf2n.mp4 -> "bin blue at F two now"."""
    return " ".join(words[sign] if words else sign.upper() for words, sign in zip(_GRID, name))


def _spectrum(wav):
    """[n][24] at 100 frames a second: log energies of mel-like bands, mean and spread taken out."""
    window = np.hanning(400)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wav, 200), 400)[::160] * window
    power = np.abs(np.fft.rfft(frames, 512)) ** 2
    edges = 700 * (10 ** (np.linspace(0.1, 1.1, 26)) / 10 ** 0.1) - 650
    hertz = np.arange(power.shape[1]) * RATE / 512
    bands = np.stack([np.clip(np.minimum((hertz - a) / (b - a), (c - hertz) / (c - b)), 0, 1)
                      for a, b, c in zip(edges, edges[1:], edges[2:])], 1)
    out = np.log(power @ bands + 1e-7)
    out = np.maximum(out, out.max() - 12)
    level = out.mean(1, keepdims=True)
    return np.concatenate([(out - out.mean(0)) / out.std(), 2 * (level - level.mean()) / level.std()], 1)


def align(wav, text, voice="en", rate=170):
    """Phones of `text` at their times in `wav`, a recording of it."""
    said, phones = join(silence(0.5, -70), espeak(text, voice, rate), silence(0.5, -70, 1))
    a, b = _spectrum(said), _spectrum(wav)
    cost = np.sqrt(((a[:, None] - b[None]) ** 2).mean(-1))
    total = np.full((len(a) + 1, len(b) + 1), np.inf)
    total[0, 0] = 0
    for i in range(len(a)):
        for j in range(len(b)):
            total[i + 1, j + 1] = cost[i, j] + min(total[i, j], total[i, j + 1] + 0.1, total[i + 1, j] + 0.1)
    i, j = len(a), len(b)
    path = []
    while i and j:
        path.append((i - 1, j - 1))
        i, j = min(((i - 1, j - 1), (i - 1, j), (i, j - 1)), key=lambda p: total[p])
    path = np.array(path[::-1]) / 100
    moved = lambda x: float(np.interp(x, path[:, 0] + 1e-6 * np.arange(len(path)), path[:, 1]))  # noqa: E731
    return [(moved(x), moved(y), name) for x, y, name in phones if moved(y) > moved(x)]
