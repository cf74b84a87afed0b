# SPDX-License-Identifier: Apache-2.0
# A server for tests in shell: prints "ADDRESS FACE VOICE", runs until standard input ends, then checks that
# the server stopped as it should. Its exit code says so.
import sys

import _stubs


def main():
    face, voice = _stubs.make_media("face.mp4"), _stubs.make_media("voice.wav")
    with _stubs.start_server(*sys.argv[1:]) as server:
        print(server.address, face, voice, flush=True)
        sys.stdin.read()
    _stubs.finish()


main()
