# SPDX-License-Identifier: Apache-2.0
"""What all engines of bench/peers are given: the same weights, faces and voices, in files under build/peers.

inputs() cuts faces out of a picture of a talking person (or, where the media are missing, of the demo's portrait, moved
about) and windows out of a voice; net() is Wav2Lip-96 in torch (kernels/demo/network.py) with a file's weights;
onnx_file() what torch exports of it, which onnxruntime and OpenVINO read; int8_file() what NNCF makes of that;
calibration_file() what lipstream-calibrate finds out for ours.
"""
import logging
import os
import subprocess
import sys
import warnings

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SHARED = os.environ.get("LS_SHARED", os.path.join(ROOT, "..", "shared"))
WORK = os.path.join(ROOT, "build", "peers")
PRESENTER = os.path.join(SHARED, "media", "talking", "presenter_720p_faststart.mp4")
VOICE = os.path.join(SHARED, "media", "audio", "speech_en_28s_48k.wav")
YUNET = os.path.join(SHARED, "models", "yunet", "face_detection_yunet_2023mar.onnx")
PORTRAIT = os.path.join(ROOT, "build", "demo", "portrait.jpg")
COUNT = 64  # faces, each with a window of its own
MASKED_ROW = 48

sys.path[:0] = [os.path.join(ROOT, "kernels", "demo"), os.path.join(ROOT, "bench")]


# --- voices and faces ------------------------------------------------------------------------------------------
def voice_file():
    if os.path.exists(VOICE):
        return VOICE
    out = os.path.join(WORK, "flite.wav")
    if not os.path.exists(out):
        text = "This is a longer text for a measurement. It is read aloud again and again."
        subprocess.run(["flite", "-voice", "slt", "-t", text, "-o", out], check=True)
    return out


def read_voice(path):
    """16 kHz, mono, float32."""
    raw = subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-i", path, "-ac", "1", "-ar", "16000", "-f", "f32le", "-"],
                         check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.float32)


def read_pictures(count):
    """Frames that have a face each, BGR, and the boxes."""
    import cv2
    if os.path.exists(PRESENTER) and os.path.exists(YUNET):
        film = cv2.VideoCapture(PRESENTER)
        detector = cv2.FaceDetectorYN.create(YUNET, "", (640, 360), 0.6)
        while count > 0:
            ok, frame = film.read()
            if not ok:
                sys.exit("prepare.py: too few faces in %s" % PRESENTER)
            _, found = detector.detect(cv2.resize(frame, (640, 360)))
            if found is not None:
                x, y, w, h = found[found[:, -1].argmax(), :4] * frame.shape[1] / 640
                count -= 1
                yield frame, (x, y, w, h)
        return
    portrait = cv2.imread(PORTRAIT)
    if portrait is None:
        sys.exit("prepare.py: neither %s nor %s is there" % (PRESENTER, PORTRAIT))
    for i in range(count):
        yield portrait, (165 + i % 9, 115 + i % 7, 170 + i % 5, 220)


def inputs():
    """uint8 [COUNT][96][96][3] BGR and float32 [COUNT][16][80], and the files that hold them. Faces have the levels that
    the service gives them for the demo's network, which was trained with those."""
    import cv2
    from sound import mel
    from vary import level
    paths = [os.path.join(WORK, name) for name in ("faces.u8", "mels.f32")]
    if not all(map(os.path.exists, paths)):
        faces = []
        for frame, (x, y, w, h) in read_pictures(COUNT):
            x0, y0, x1, y1 = (max(0, int(v)) for v in (x, y, x + w, y + h + 0.06 * h))
            faces.append(cv2.resize(frame[y0:y1, x0:x1], (96, 96), interpolation=cv2.INTER_AREA))
        columns = mel(read_voice(voice_file())).T
        starts = (40 + np.arange(COUNT) * (len(columns) - 100) / COUNT).astype(int)
        levelled = level(np.stack(faces)[:, None].repeat(2, 1) / 255.0)[:, 1]
        (255 * levelled + 0.5).astype(np.uint8).tofile(paths[0])
        np.stack([columns[s:s + 16] for s in starts]).astype(np.float32).tofile(paths[1])
    return (np.fromfile(paths[0], np.uint8).reshape(COUNT, 96, 96, 3),
            np.fromfile(paths[1], np.float32).reshape(COUNT, 16, 80), paths)


def tensors(faces, mels):
    """What the network takes: mel [n][1][80][16], face [n][6][96][96]."""
    x = (faces / 255.0).astype(np.float32)
    masked = x.copy()
    masked[:, MASKED_ROW:] = 0
    both = np.concatenate([masked, x], 3).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(mels.transpose(0, 2, 1)[:, None]), np.ascontiguousarray(both)


# --- the network -----------------------------------------------------------------------------------------------
def weights_file(name):
    """wide: full size, seeded, for time; demo: trained, for differences that mean something."""
    if name == "demo":
        return os.path.join(ROOT, "kernels", "demo", "lipstream_demo_fp16.safetensors")
    return os.path.join(WORK, "wide.safetensors")


def fresh(out, name):
    """Whether it was made of the weights as they are."""
    return os.path.exists(out) and os.path.getmtime(out) >= os.path.getmtime(weights_file(name))


def net(name):
    from network import Wav2Lip, widths
    from safetensors.torch import load_file
    state = {key: value.float() for key, value in load_file(weights_file(name)).items()}
    module = Wav2Lip(widths(state))
    missing, unknown = module.load_state_dict(state, strict=False)
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unknown:
        sys.exit("prepare.py: %s: missing %s, unknown %s" % (name, missing[:3], unknown[:3]))
    return module.eval()


def onnx_file(name, batch):
    """A file for each batch: fixed shapes are the faster ones for whoever plans ahead."""
    import torch
    out = os.path.join(WORK, "%s-%d.onnx" % (name, batch))
    if not fresh(out, name):
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(net(name), (torch.zeros(batch, 1, 80, 16), torch.zeros(batch, 6, 96, 96)), out + ".part",
                              input_names=["mel", "face"], output_names=["out"], opset_version=17, dynamo=False,
                              do_constant_folding=True)
        os.rename(out + ".part", out)
    return out


def int8_file(name):
    """OpenVINO's own way to int8: NNCF's quantisation after training, its defaults, on the faces that are measured. For
    one face at a time; OpenVINO makes other batches of it."""
    import nncf
    import openvino
    out = os.path.join(WORK, name + "-int8.xml")
    if not fresh(out, name):
        nncf.set_log_level(logging.ERROR)
        faces, mels, _ = inputs()
        mel, face = tensors(faces, mels)
        rows = [{"mel": mel[i:i + 1], "face": face[i:i + 1]} for i in range(COUNT)]
        model = nncf.quantize(openvino.Core().read_model(onnx_file(name, 1)), nncf.Dataset(rows), subset_size=COUNT)
        openvino.save_model(model, out, compress_to_fp16=False)
    return out


def calibration_file(name, build=""):
    """Of the service on seconds of the same person and voice. None where it cannot be made."""
    out = os.path.join(WORK, name + ".calibration")
    program = os.path.join(build, "lipstream-calibrate")
    if build and os.path.exists(program) and not fresh(out, name):
        voice = os.path.join(WORK, "calibrate.wav")
        subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", "-i", voice_file(), "-t", "8", voice], check=True)
        face = PRESENTER if os.path.exists(PRESENTER) else PORTRAIT
        detector = ["--detector", YUNET] if os.path.exists(YUNET) else []
        subprocess.run([program, out, face, voice, "--", "--model", weights_file(name), *detector], check=True)
    return out if os.path.exists(out) else None


def main():
    """Makes all files, one after the other, so that no measurement waits for one: prepare.py BUILD BATCHES"""
    os.makedirs(WORK, exist_ok=True)
    inputs()
    for name in ("wide", "demo"):
        calibration_file(name, sys.argv[1])
    for name, batches in (("wide", [int(b) for b in sys.argv[2].split(",")]), ("demo", [1])):
        for batch in sorted({1, *batches}):
            onnx_file(name, batch)
        int8_file(name)
        print("prepared: " + name, flush=True)


if __name__ == "__main__":
    main()
