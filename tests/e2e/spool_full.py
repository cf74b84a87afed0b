# SPDX-License-Identifier: Apache-2.0
# The disk of the spool is full: the call that needs more is told to come again, and the next one that needs
# less is served. The disk is a small file system in memory, which only root may mount.
import os
import subprocess
import sys
import tempfile

import grpc

import _stubs
from _stubs import check, finish, media, pb, start_server, sync

with tempfile.TemporaryDirectory() as folder:
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "lipstream-test", folder]
    if os.geteuid() != 0 or subprocess.run(mount, stderr=subprocess.DEVNULL).returncode != 0:
        print("SKIP: no file system may be mounted here")
        sys.exit(77)
    try:
        with start_server("--spool-dir", folder) as server, server.channel() as channel:
            config = pb.SyncConfig(audio=pb.AudioInput(container=pb.Container()),
                                   video=pb.VideoInput(container=pb.Container()))
            # An MP4 whose index never comes is kept whole.
            endless = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + b"\1\0\0\0mdat" + bytes(4 << 20)
            r = sync(channel, config, media("voice.wav"), endless)
            check("a full disk", r.code == grpc.StatusCode.RESOURCE_EXHAUSTED and r.reason == "CAPACITY_FULL" and
                  r.retry_s, r)
            check("it says where", folder in r.text and "space" in r.text, r.text)
            r = sync(channel, _stubs.container_config(), media("voice_short.wav"), media("face_tiny.mp4"))
            check("the next call", r.code == grpc.StatusCode.OK, r)
    finally:
        subprocess.run(["umount", folder], check=True)
finish()
