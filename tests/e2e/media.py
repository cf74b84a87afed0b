# SPDX-License-Identifier: Apache-2.0
# Every clip, picture and voice of the shared media goes through the service; what came out is counted by
# ffprobe and printed as a table (file, frames in and out, with a face, seconds, frames/s). Broken files must
# be refused with a reason. Skips by name where the media are not at hand. Clips get the first 3 s of a voice;
# LS_MEDIA_SECONDS=11 gives them all of it.
import io
import os
import subprocess
import sys
import tempfile
import wave

import grpc

from _stubs import BUILD, ROOT, check, detector, finish, pb, skip, start_server, sync

SHARED = os.environ.get("LS_SHARED", os.path.join(ROOT, "..", "shared"))
MEDIA = os.path.join(SHARED, "media")
BROKEN = {"empty.mp4": "MEDIA_INVALID", "garbage.mp4": None, "truncated.mp4": "MEDIA_INVALID"}
# What the detector may miss: no face, or one of 40 of 1920 pixels; black and dark pictures in part.
FACELESS = {"clip_02_caminandes.mp4", "tiny_face_40px_1080p.mp4", "no_face_IceBlock_640.jpg"}
VOICE_S = float(os.environ.get("LS_MEDIA_SECONDS", 3))


def read(*path):
    with open(os.path.join(MEDIA, *path), "rb") as file:
        return file.read()


def jfk_voice():
    """The first VOICE_S seconds of jfk.wav, 16 kHz mono."""
    with wave.open(os.path.join(MEDIA, "audio", "jfk.wav")) as whole:
        samples = whole.readframes(int(VOICE_S * 16000))
    out = io.BytesIO()
    with wave.open(out, "wb") as cut:
        cut.setparams((1, 2, 16000, 0, "NONE", ""))
        cut.writeframes(samples)
    return out.getvalue()


def probe(data):
    """Frames in the output, and the lengths of its streams in seconds, as a decoder sees them."""
    with tempfile.NamedTemporaryFile(dir=BUILD, suffix=".mp4") as file:
        file.write(data)
        file.flush()
        out = subprocess.run(["ffprobe", "-v", "error", "-count_frames", "-select_streams", "v:0", "-show_entries",
                              "stream=nb_read_frames,width,height", "-of", "csv=p=0", file.name],
                             capture_output=True, text=True)
    fields = out.stdout.strip().rstrip(",").split(",")
    return (int(fields[2]), int(fields[0]), int(fields[1])) if len(fields) >= 3 else (0, 0, 0)


def row(name, result):
    s = result.summary
    faces = s.frames_synced + s.frames_held + s.frames_silent
    print("%-44s %5d %5d %5d %8.2f %7.1f  %s" % (name, s.frames_in, s.frames_out, faces, result.seconds,
                                               s.frames_out / max(result.seconds, 1e-6),
                                               " ".join(sorted(set(result.warnings())))), flush=True)
    return faces


def nominal(summary):
    rate = summary.frame_rate
    return rate.num / rate.den if rate.den else 0


def config(still=False):
    face = pb.VideoInput(still=pb.Still()) if still else pb.VideoInput(container=pb.Container())
    return pb.SyncConfig(audio=pb.AudioInput(container=pb.Container()), video=face)


def pictures(channel):
    own = {"talking"}  # these clips have their speaker's sound: it is the voice
    jfk = jfk_voice()
    for folder in ("talking", "hard", "scenes", "images"):
        for name in sorted(os.listdir(os.path.join(MEDIA, folder))):
            if name.startswith("audio_") or name.endswith(".align"):
                continue
            data = read(folder, name)
            voice = data if folder in own and name.endswith(".mpg") else jfk
            result = sync(channel, config(folder == "images"), voice, data, timeout=200)
            if name in BROKEN:
                check(name, result.code == grpc.StatusCode.INVALID_ARGUMENT and
                      (not BROKEN[name] or BROKEN[name] in result.reasons()), str(result))
                continue
            if not check(name, result.ok(), str(result)):
                continue
            faces = row(folder + "/" + name, result)
            frames, width, height = probe(bytes(result.media))
            s = result.summary
            check(name + ": frames", frames == s.frames_out, "%d decoded, %d told" % (frames, s.frames_out))
            check(name + ": size", (width, height) == (s.width, s.height),
                  "%dx%d" % (width, height))
            check(name + ": length", abs(s.video_duration.ToMicroseconds() - s.audio_duration.ToMicroseconds())
                  <= 1e6 / max(nominal(s), 5), "%s of %s" % (s.video_duration, s.audio_duration))
            if voice is jfk and "vfr" not in name and nominal(s):
                want = int(VOICE_S * nominal(s) + 0.5)
                check(name + ": count", s.frames_out == want, "%d, not %d" % (s.frames_out, want))
            if name not in FACELESS and "first_second" not in name:
                check(name + ": faces", faces > 0.25 * s.frames_out, "%d of %d" % (faces, s.frames_out))
            else:
                check(name + ": passes", s.frames_out == faces + s.frames_passed_through)


def voices(channel):
    face = read("images", "grace_hopper_512x512.jpg")
    for folder, names in (("audio", os.listdir(os.path.join(MEDIA, "audio"))),
                          ("hard", [n for n in os.listdir(os.path.join(MEDIA, "hard")) if n.startswith("audio_")])):
        for name in sorted(names):
            result = sync(channel, config(True), read(folder, name), face, timeout=200)
            if not check(name, result.ok(), str(result)):
                continue
            row(folder + "/" + name, result)
            s = result.summary
            want = int(s.audio_duration.ToMicroseconds() * 25 / 1e6 + 0.5)
            check(name + ": count", s.frames_out == want, "%d, not %d" % (s.frames_out, want))
            if "silence" in name:
                check(name + ": still", s.frames_silent == s.frames_out)
            elif "short" not in name:
                check(name + ": speaks", s.frames_synced > 0.5 * s.frames_out, str(s.frames_synced))


def main():
    if not os.path.isdir(MEDIA):
        skip("no shared media")
    if not detector():
        skip("no detector")
    print("%-44s %5s %5s %5s %8s %7s" % ("file", "in", "out", "faces", "seconds", "fps"))
    with start_server(*sys.argv[1:]) as server, server.channel() as channel:
        pictures(channel)
        voices(channel)
    finish()


main()
