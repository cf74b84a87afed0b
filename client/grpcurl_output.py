# SPDX-License-Identifier: Apache-2.0
"""grpcurl's JSON replies from standard input as a video:  grpcurl ... Sync | grpcurl_output.py OUT.mp4

Writes the media as it comes, prints progress and the summary, and compares the digest. Exit 0 only if the
output is whole. Standard library only.
"""
import base64
import hashlib
import json
import sys


def replies(lines):
    """grpcurl writes one indented object after another: each ends with a brace in the first column."""
    text = []
    for line in lines:
        text.append(line)
        if line.rstrip() == "}":
            yield json.loads("".join(text))
            text = []


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    digest, summary = hashlib.sha256(), None
    with open(sys.argv[1], "wb") as out:
        for reply in replies(sys.stdin):
            if "media" in reply:
                data = base64.b64decode(reply["media"].get("data", ""))
                digest.update(data)
                out.write(data)
                out.flush()
            elif "progress" in reply:
                p = reply["progress"]
                print("%s: %s of %s frames" % (p.get("stage", "?"), p.get("framesOut", 0),
                                               p.get("framesTotal", "?")))
            elif "warning" in reply:
                print("warning: %s: %s" % (reply["warning"].get("reason"), reply["warning"].get("message")))
            elif "summary" in reply:
                summary = reply["summary"]
    if not summary:
        sys.exit("no summary: the call failed, or its output was cut")
    if base64.b64decode(summary.get("sha256", "")) != digest.digest():
        sys.exit("the digest differs: a part is missing")
    print("%s: %s frames, %s synced" % (sys.argv[1], summary.get("framesOut", 0),
                                        summary.get("framesSynced", 0)))


main()
