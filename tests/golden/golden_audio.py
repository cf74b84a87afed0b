# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/mel.bin and mel.txt: mel columns as the original computes them, from librosa.

Run once, by hand, from the repository's root, in an environment with requirements-golden.txt and ffmpeg;
the outputs are committed. Voices come from ../shared/media/audio (or LS_SHARED), and one is made here
from a seed, by integer arithmetic, so that a C program makes the same samples.

mel.bin, little endian: count of voices; for each: name [32], samples, checksum of the 16-bit samples,
columns, count of sampled columns, their numbers (int32), their 80 values each (float32).
"""
import os
import platform
import struct
import subprocess

import librosa
import numpy as np
import scipy
from scipy.signal import lfilter

ROOT = os.path.join(os.environ.get("LS_SHARED", "../shared"), "media", "audio")
VOICES = ["synthetic", "jfk.wav", "librispeech_116-288045-0000.flac", "speech_en_28s_48k.wav"]


def synthetic():
    """3.21 s of noise bursts and silence in 16 bits; the last part is digital silence."""
    state, out = 20240607, []
    for i in range(51387):
        state = (state * 1103515245 + 12345) % 2**31
        level = (i // 1600 * 37 % 11) * (i % 1600) // 16  # eleven slopes
        out.append((state // 65536 % 256 - 128) * level // 128)
    out[-9000:] = [0] * 9000
    return np.array(out, np.int16)


def voice(name):
    if name == "synthetic":
        return synthetic()
    raw = subprocess.run(["ffmpeg", "-v", "error", "-i", os.path.join(ROOT, name), "-ac", "1", "-ar", "16000",
                          "-f", "s16le", "-"], stdout=subprocess.PIPE, check=True).stdout
    return np.frombuffer(raw, "<i2")


def mel(wav):
    """audio.py's melspectrogram with hparams.py's numbers; reflected padding as librosa 0.7 has it."""
    emphasised = lfilter([1, -0.97], [1], wav)  # double, because the taps are
    spectrum = librosa.stft(y=emphasised, n_fft=800, hop_length=200, win_length=800, pad_mode="reflect",
                            dtype=np.complex64)
    bank = librosa.filters.mel(sr=16000, n_fft=800, n_mels=80, fmin=55, fmax=7600)
    loud = 20 * np.log10(np.maximum(np.exp(-100 / 20 * np.log(10)), np.dot(bank, np.abs(spectrum)))) - 20
    return np.clip(8 * ((loud + 100) / 100) - 4, -4, 4).astype(np.float32)


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    out, notes = struct.pack("<i", len(VOICES)), []
    for name in VOICES:
        pcm = voice(name)
        columns = mel(pcm.astype(np.float32) / 32768)
        total = columns.shape[1]
        pick = sorted({0, 1, 2, total - 3, total - 2, total - 1} | {int(i * total / 34) for i in range(34)})
        check = int(np.sum(pcm.astype(np.int64) * (np.arange(len(pcm)) % 65521 + 1))) & 0xFFFFFFFF
        out += struct.pack("<32siIii", name.encode(), len(pcm), check, total, len(pick))
        out += np.array(pick, "<i4").tobytes() + columns[:, pick].T.astype("<f4").tobytes()
        notes.append(f"{name}: {len(pcm)} samples, {total} columns, {len(pick)} kept")
    with open(os.path.join(here, "mel.bin"), "wb") as f:
        f.write(out)
    ff = subprocess.run(["ffmpeg", "-version"], stdout=subprocess.PIPE).stdout.decode().split()[2]
    with open(os.path.join(here, "mel.txt"), "w") as f:
        f.write(f"mel.bin: python {platform.python_version()}, librosa {librosa.__version__}, numpy {np.__version__}, "
                f"scipy {scipy.__version__}, ffmpeg {ff}\n" + "\n".join(notes) + "\n")


if __name__ == "__main__":
    main()
