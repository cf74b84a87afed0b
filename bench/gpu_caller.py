#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Live callers of the service, for gpu_service.py: gpu_caller.py ADDRESS CLIP raw|h264 STREAMS SECONDS

Prints "ready", waits for a line, then sends an H.264 clip in MPEG-TS frame by frame at 25 frames/s on each of the
streams, with the voice half a second ahead of the picture (the network hears a quarter of a second of voice
after each frame, and whoever makes voices has them early). A frame's latency is from the moment at which it was
due to be sent to the moment at which the last message with a part of it came; the first second is left out.
Prints a JSON list with an entry for each stream.

Needs grpcio and nothing else: the few messages are put together and taken apart here (proto/lipstream/v1).
"""
import json
import os
import struct
import sys
import threading
import time

import grpc

import gpu_media

VOICE_AHEAD = 0.5
METHOD = "/lipstream.v1.LipSync/Sync"


# --- protobuf's wire format, as much as is needed ----------------------------------------------------------
def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number, value):
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(data):
    """(number, value) of a message; the value is an int, or bytes."""
    at = 0

    def number():
        nonlocal at
        n = shift = 0
        while True:
            byte = data[at]
            at += 1
            n |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return n

    while at < len(data):
        key = number()
        kind = key & 7
        if kind == 0:
            yield key >> 3, number()
            continue
        size = {1: 8, 5: 4}.get(kind) or number()
        yield key >> 3, data[at:at + size]
        at += size


def config(size, video_in, output):
    """A SyncRequest with the configuration. output: raw, h264, or clip (MPEG-TS without sound)."""
    rate = field(1, gpu_media.RATE) + field(2, 1)
    frames = field(1, size[0]) + field(2, size[1]) + field(3, rate)
    source = field(3, frames) if video_in == "raw" else field(1, b"")
    out = {"raw": field(1, 3) + field(2, 2), "h264": field(1, 1) + field(2, 1),
           "clip": field(1, 2) + field(2, 1) + field(3, 2)}[output]
    box = b"".join(field(i + 1, float(v)) for i, v in enumerate(gpu_media.face_box(*size)))
    message = (field(1, field(2, field(1, 16000))) + field(2, source) + field(3, out + field(7, 2)) +
               field(5, field(6, box)) + field(7, field(1, 1)))
    return field(1, message)


def chunk(kind, data, end=False):
    """kind: 2 voice, 3 picture."""
    return field(kind, field(1, data) + (field(2, 1) if end else b""))


def replies(call):
    """(first frame, frame count, data) of media, with the moment of their arrival."""
    for reply in call:
        now = time.monotonic()
        for number, value in fields(reply):
            if number == 3:
                media = dict(fields(value))
                yield now, media.get(3, 0), media.get(4, 0), media.get(1, b"")


def open_call(address, requests, seconds):
    channel = grpc.insecure_channel(address, [
        ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0),
        ("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)])
    return channel, channel.stream_stream(METHOD, lambda m: m, lambda m: m)(requests, timeout=seconds)


# --- the clip ----------------------------------------------------------------------------------------------
def make_clip(address, frames_path, size, path):
    """Raw frames to MPEG-TS by the service itself, without B-frames, and how many bytes each frame has."""
    if os.path.exists(path + ".json"):
        return path + ".json"
    frame_size = size[0] * size[1] * 3 // 2
    count = os.path.getsize(frames_path) // frame_size

    def requests():
        yield config(size, "raw", "clip")
        yield chunk(2, gpu_media.voice(count / gpu_media.RATE, 0), True)
        with open(frames_path, "rb") as f:
            for i in range(count):
                data = f.read(frame_size)
                for at in range(0, frame_size, 1 << 20):
                    yield chunk(3, data[at:at + (1 << 20)], i == count - 1 and at + (1 << 20) >= frame_size)

    channel, call = open_call(address, requests(), 120)
    with open(path + ".ts", "wb") as out:
        for _, _, _, data in replies(call):
            out.write(data)
    channel.close()
    with open(path + ".ts", "rb") as f:
        sizes = frame_sizes(f.read())
    if len(sizes) != count:
        sys.exit("gpu_caller: %d frames in the clip, not %d" % (len(sizes), count))
    with open(path + ".json", "w") as out:
        json.dump({"size": size, "sizes": sizes, "file": path + ".ts"}, out)
    return path + ".json"


def frame_sizes(data):
    """Bytes of each frame of an MPEG-TS with one video; tables go with the frame before them."""
    sizes = []
    for at in range(0, len(data), 188):
        packet = data[at:at + 188]
        payload = 5 + packet[4] if packet[3] & 0x20 else 4
        if packet[1] & 0x40 and packet[payload:payload + 3] == b"\0\0\1" and packet[payload + 3] & 0xF0 == 0xE0:
            sizes.append(188 + (at if not sizes else 0))
        elif sizes:
            sizes[-1] += 188
    return sizes


# --- a live stream -----------------------------------------------------------------------------------------
class Stream(threading.Thread):
    def __init__(self, address, clip, output, seconds, kind):
        super().__init__(daemon=True)
        self.address, self.clip, self.output, self.seconds = address, clip, output, seconds
        self.count = int(seconds * gpu_media.RATE)
        self.voice = gpu_media.voice(seconds, kind)
        with open(clip["file"], "rb") as f:
            self.data = f.read()
        self.result = {"error": "not run"}

    def requests(self):
        """Due times are kept to; where the server does not take more, what follows is late."""
        rate = gpu_media.RATE
        yield config(self.clip["size"], "ts", self.output)
        ahead = int(VOICE_AHEAD * rate)
        step = 2 * 16000 // rate
        sent = at = 0
        for i, size in enumerate(self.clip["sizes"][:self.count]):
            wait = self.start_at + i / rate - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            upto = min(len(self.voice), (i + 1 + ahead) * step)
            if upto > sent:
                yield chunk(2, self.voice[sent:upto], upto == len(self.voice))
                sent = upto
            yield chunk(3, self.data[at:at + size])
            at += size
        if sent < len(self.voice):
            yield chunk(2, self.voice[sent:], True)
        yield chunk(3, b"", True)

    def run(self):
        self.start_at = time.monotonic()
        frame_size = self.clip["size"][0] * self.clip["size"][1] * 3 // 2
        channel, call = open_call(self.address, self.requests(), self.seconds * 3 + 20)
        late, first_at, whole, frames, size = [], None, 0, 0, 0
        try:
            for came_at, first, count, data in replies(call):
                first_at = first_at or came_at
                if self.output == "raw":  # a frame is there when its last byte is
                    size += len(data)
                    upto = size // frame_size
                else:
                    upto = first + count if count else frames
                for i in range(frames, upto):
                    if i >= gpu_media.RATE or self.count <= gpu_media.RATE:
                        late.append(came_at - self.start_at - i / gpu_media.RATE)
                frames = max(frames, upto)
            self.result = {"late": late, "first": (first_at or self.start_at) - self.start_at, "frames": frames}
            if frames < self.count - 1:
                self.result = {"error": "%d of %d frames came" % (frames, self.count)}
        except grpc.RpcError as error:
            self.result = {"error": "%s %s" % (error.code(), error.details())}
        channel.close()


def main():
    address, clip_path, output, streams, seconds = sys.argv[1:]
    with open(clip_path) as f:
        clip = json.load(f)
    seconds = min(float(seconds), len(clip["sizes"]) / gpu_media.RATE)
    threads = [Stream(address, clip, output, seconds, i % 4) for i in range(int(streams))]
    print("ready", flush=True)
    sys.stdin.readline()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps([thread.result for thread in threads]))


if __name__ == "__main__":
    main()
