# SPDX-License-Identifier: Apache-2.0
# Streaming is real: inputs are paced like live sources, and the first media message must leave before the
# input is complete. Prints the time from the first byte of the voice to the first byte of media. An MP4
# whose index comes last cannot be streamed: it works all the same, and a warning says so.
import threading
import time

import _stubs
from _stubs import check, container_config, media, pb, pb_grpc

SECONDS = 6.0
STEP_S = 0.04


class Pace:
    """Requests at the speed of a live source; notes when the first voice byte and the last piece left."""

    def __init__(self, config, voice, face, still):
        self.config, self.voice, self.face, self.still = config, voice, face, still
        self.first_voice_s, self.last_s = None, None

    def __iter__(self):
        yield pb.SyncRequest(config=self.config)
        sent = {"audio": 0, "video": 0}
        inputs = {"audio": self.voice, "video": self.face}
        start = time.monotonic()
        if self.still:
            yield pb.SyncRequest(video=pb.InputChunk(data=self.face, end=True))
            sent["video"] = len(self.face)
        while any(sent[k] < len(inputs[k]) for k in inputs):
            part = min(1.0, (time.monotonic() - start + STEP_S) / SECONDS)
            for kind, data in inputs.items():
                upto = int(part * len(data))
                if upto <= sent[kind]:
                    continue
                chunk = pb.InputChunk(data=data[sent[kind]:upto], end=upto == len(data))
                sent[kind] = upto
                if kind == "audio" and self.first_voice_s is None:
                    self.first_voice_s = time.monotonic()
                self.last_s = time.monotonic()
                yield pb.SyncRequest(**{kind: chunk})
            time.sleep(STEP_S)


def paced(server, name, config, voice, face, still=False):
    pace, first_s, size = Pace(config, voice, face, still), None, 0
    with server.channel() as channel:
        call = pb_grpc.LipSyncStub(channel).Sync(iter(pace), timeout=60)
        summary = None
        for reply in call:
            kind = reply.WhichOneof("response")
            if kind == "media" and reply.media.kind != pb.MEDIA_KIND_INIT:
                first_s = first_s or time.monotonic()
            if kind == "media":
                size += len(reply.media.data)
            if kind == "summary":
                summary = reply.summary
    if not check(name + ": summary", summary is not None and summary.frames_out == SECONDS * 25, summary):
        return
    server_s = summary.first_audio_to_first_media.seconds + summary.first_audio_to_first_media.nanos * 1e-9
    latency_s = first_s - pace.first_voice_s
    check(name + ": media before the input is complete", first_s < pace.last_s,
          "first media %.2f s after the last input" % (first_s - pace.last_s))
    check(name + ": the whole", summary.bytes_out == size)
    print("streaming: %s: first voice byte to first media %.2f s (by the server's clock %.2f s), "
          "%.2f s before the input's end" % (name, latency_s, server_s, pace.last_s - first_s), flush=True)


def index_last(server):
    with server.channel() as channel:
        result = _stubs.sync(channel, container_config(), media("voice.wav"), media("face_last.mp4"))
        check("index last: works", result.ok() and result.summary.frames_out == 50, result)
        check("index last: warning", "MOOV_LAST" in result.warnings(), result.warnings())
        result = _stubs.sync(channel, container_config(), media("voice.wav"), media("face.mp4"))
        check("index first: no warning", result.ok() and "MOOV_LAST" not in result.warnings(),
              result.warnings())


def main():
    voice = media("voice_long.pcm")
    pcm = pb.AudioInput(pcm=pb.Pcm(sample_rate_hz=16000, channels=1))
    low = pb.Output(latency=pb.LATENCY_MODE_LOW)
    rows = [("front-loaded MP4", "face_long.mp4", None), ("fragmented MP4", "face_fragments.mp4", None),
            ("MPEG-TS", "face.ts", None), ("Matroska", "face.mkv", None),
            ("fragmented MP4, low latency", "face_fragments.mp4", low),
            ("a still, low latency", "still.jpg", low)]

    def row(name, file, output):
        still = file.endswith(".jpg")
        config = container_config(output=output)
        config.audio.CopyFrom(pcm)
        if still:
            config.video.CopyFrom(pb.VideoInput(still=pb.Still()))
        paced(server, name, config, voice, media(file), still)

    with _stubs.start_server() as server:
        # Two at a time: the test would take a minute one by one.
        for i in range(0, len(rows), 2):
            pair = [threading.Thread(target=row, args=r) for r in rows[i:i + 2]]
            for thread in pair:
                thread.start()
            for thread in pair:
                thread.join()
        index_last(server)
    _stubs.finish()


main()
