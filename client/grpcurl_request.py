# SPDX-License-Identifier: Apache-2.0
"""Two files as the JSON lines that grpcurl reads (-d @):  grpcurl_request.py FACE VOICE [CONFIG.json]

The config first (of CONFIG.json, or made from what FACE begins with), then both files by turns in
base64. Standard library only.
"""
import base64
import json
import os
import sys

CHUNK = 65535  # a multiple of 3, so that base64 needs no padding inside


def chunks(path, field):
    """(part of the file that is sent by then, request) for each chunk."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        for at in range(0, max(size, 1), CHUNK):
            data = base64.b64encode(file.read(CHUNK)).decode()
            yield (at + CHUNK) / max(size, 1), {field: {"data": data, "end": at + CHUNK >= size}}


def default_config(face):
    with open(face, "rb") as file:
        head = file.read(12)
    still = head.startswith((b"\x89PNG", b"\xff\xd8\xff")) or (head[:4] == b"RIFF" and head[8:] == b"WEBP")
    return {"audio": {"container": {}}, "video": {"still": {}} if still else {"container": {}}}


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    face, voice = sys.argv[1:3]
    config = default_config(face)
    if len(sys.argv) == 4:
        with open(sys.argv[3]) as file:
            config = json.load(file)
    print(json.dumps({"config": config}))
    pair = [chunks(face, "video"), chunks(voice, "audio")]
    heads = [next(p, None) for p in pair]
    while any(heads):
        # Whichever file is behind, so that both end together and little waits in memory.
        behind = min((i for i in range(2) if heads[i]), key=lambda i: heads[i][0])
        print(json.dumps(heads[behind][1]), flush=True)
        heads[behind] = next(pair[behind], None)


main()
