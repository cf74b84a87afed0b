# SPDX-License-Identifier: Apache-2.0
# A whole Sync by a server that is started under the system calls of a systemd unit: _unit_sync.py UNIT. A folder
# with a program named lipstreamd that does so stands in for the build folder.
import os
import shutil
import sys
import tempfile

import _stubs
from _stubs import check, finish, media

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    real, work = os.path.join(_stubs.BUILD, "lipstreamd"), tempfile.mkdtemp(prefix="unit-", dir=_stubs.BUILD)
    voice, face = media("voice.wav"), media("face.mp4")
    unit = os.path.join(work, "unit")
    try:
        shutil.copyfile(sys.argv[1], unit)
        program = os.path.join(work, "lipstreamd")
        with open(program, "w") as file:
            file.write('#!/bin/sh\nexec %s %s %s %s "$@"\n' % (
                sys.executable, os.path.join(HERE, "_unit_run.py"), unit, real))
        os.chmod(program, 0o755)
        _stubs.BUILD = work
        with _stubs.start_server("--admin-listen", "127.0.0.1:0") as server, server.channel() as channel:
            result = _stubs.sync(channel, _stubs.container_config(), voice, face)
            check("a Sync", result.ok(), "%s\n%s" % (result, server.stderr()[-1000:]))
    finally:
        shutil.rmtree(work)
    finish()


main()
