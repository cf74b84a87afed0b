# SPDX-License-Identifier: Apache-2.0
"""A whole Sync from Python, with grpcio and grpcio-tools alone:  sync.py SERVER FACE VOICE OUT"""
import hashlib
import os
import sys

import grpc

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "proto"))
pb, services = grpc.protos_and_services("lipstream/v1/lip_sync.proto")  # compiled in memory
STILLS = (b"\x89PNG", b"\xff\xd8\xff")  # PNG, JPEG; a WebP says so in its bytes 8 to 12


def requests(face, voice):
    """The config, then both files by turns, so that the server never waits for one of them alone."""
    with open(face, "rb") as video, open(voice, "rb") as audio:
        head = video.read(12)
        kind = {"still": {}} if head.startswith(STILLS) or head[8:] == b"WEBP" else {"container": {}}
        video.seek(0)
        yield pb.SyncRequest(config={"audio": {"container": {}}, "video": kind})
        parts = 1 + max(os.path.getsize(face), os.path.getsize(voice)) // 65536
        sizes = [1 + os.path.getsize(f) // parts for f in (face, voice)]
        for _ in range(parts):
            yield pb.SyncRequest(video={"data": video.read(sizes[0])})
            yield pb.SyncRequest(audio={"data": audio.read(sizes[1])})


server, face, voice, out = sys.argv[1:]
digest = hashlib.sha256()
try:
    with grpc.insecure_channel(server) as channel, open(out, "wb") as file:
        for reply in services.LipSyncStub(channel).Sync(requests(face, voice)):
            kind = reply.WhichOneof("response")
            if kind == "media":
                digest.update(reply.media.data)
                file.write(reply.media.data)
            elif kind == "progress":
                print("%d of %d frames" % (reply.progress.frames_out, reply.progress.frames_total))
            elif kind == "summary":
                assert reply.summary.sha256 == digest.digest(), "a part is missing"
                done = (out, reply.summary.frames_out, reply.summary.frames_synced)
                print("%s: %d frames, %d synced" % done)
except grpc.RpcError as error:
    sys.exit("%s: %s" % (error.code().name, error.details()))
