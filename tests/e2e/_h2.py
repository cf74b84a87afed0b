# SPDX-License-Identifier: Apache-2.0
# A peer that speaks HTTP/2 by hand, frame by frame (RFC 9113), so that it can do what no library does. Header
# blocks are literals without Huffman codes and without the dynamic table unless told otherwise (RFC 7541).
import contextlib
import select
import socket
import ssl
import struct
import time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END, ACK, READY, PADDED = 1, 1, 4, 8
CANCEL = 8
SYNC = "/lipstream.v1.LipSync/Sync"
INFO = "/lipstream.v1.LipSync/GetServerInfo"


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def number(value, bits, first=0):
    """An integer with a prefix of so many bits (RFC 7541, 5.1)."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes([first | value])
    out = bytearray([first | limit])
    value -= limit
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + bytes([value]))


def text(value):
    value = value.encode() if isinstance(value, str) else value
    return number(len(value), 7) + value


def literal(name, value, index=False):
    """A header as it stands; index: it goes into the dynamic table."""
    return bytes([0x40 if index else 0]) + text(name) + text(value)


def request(path, *more):
    fields = (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "test"), \
        ("content-type", "application/grpc"), ("te", "trailers"), *more
    return b"".join(literal(name, value) for name, value in fields)


def call(stream, path=SYNC, *more, flags=READY):
    return frame(HEADERS, flags, stream, request(path, *more))


def message(body, compressed=0, size=None):
    """A message of gRPC; size: what it claims."""
    return struct.pack(">BI", compressed, len(body) if size is None else size) + body


def data(stream, body, flags=0):
    """DATA frames of the usual size."""
    pieces = [body[i:i + 16384] for i in range(0, len(body), 16384)] or [b""]
    return b"".join(frame(DATA, flags if piece is pieces[-1] else 0, stream, piece) for piece in pieces)


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def tls_context():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


class Peer:
    """greet: preface and SETTINGS are sent. reads: what comes is read while something is sent."""

    def __init__(self, port, tls=False, greet=True, first=None, reads=True):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.socket = tls_context().wrap_socket(self.socket)
        self.socket.setblocking(False)
        self.reads, self.open, self.rest, self.seen = reads, True, b"", []
        if greet:
            self.send(PREFACE + (first or settings()))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()
        self.open = False

    def reset(self):
        """Ends the connection with RST, not FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def send(self, content, seconds=10):
        """Sends all of it, unless the server ends the connection or does not read on. True: all was sent."""
        view, end = memoryview(content), time.monotonic() + seconds
        while view and self.open and time.monotonic() < end:
            with self._broken():
                try:
                    view = view[self.socket.send(view[:65536]):]
                except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                    if not self.reads:
                        select.select([], [self.socket], [], 0.05)
                    else:
                        select.select([self.socket], [self.socket], [], 0.05)
            if self.reads:
                self._take()
        return not view

    @contextlib.contextmanager
    def _broken(self):
        try:
            yield
        except (OSError, ValueError) as error:
            if not isinstance(error, (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)):
                self.open = False

    def _take(self):
        """Reads what is there. Frames go to `seen`: kind, flags, stream, payload."""
        while self.open:
            with self._broken():
                try:
                    content = self.socket.recv(1 << 18)
                except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    return
                if not content:
                    self.open = False
                self.rest += content
        # Whole frames are cut off below, also when the connection has just ended.

    def frames(self):
        """Takes the frames that have come."""
        self._take()
        while len(self.rest) >= 9:
            size = int.from_bytes(self.rest[:3], "big")
            if len(self.rest) < 9 + size:
                break
            kind, flags, stream = struct.unpack(">BBI", self.rest[3:9])
            self.seen.append((kind, flags, stream, self.rest[9:9 + size]))
            self.rest = self.rest[9 + size:]
        return self.seen

    def wait(self, done, seconds):
        """Until done() says so or the connection ends. Settings and pings are answered."""
        end, answered = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            frames = self.frames()
            for kind, flags, _, payload in frames[answered:]:
                if kind in (SETTINGS, PING) and not flags & ACK:
                    self.send(frame(kind, ACK, 0, payload if kind == PING else b""))
            answered = len(frames)
            if done():
                return True
            if not self.open:
                return False
            select.select([self.socket], [], [], 0.05)
        return False

    def closed(self, seconds=5):
        """The server ends the connection in time."""
        self.wait(lambda: False, 0 if not self.open else seconds)
        return not self.open

    def goaway(self):
        """The code of the last GOAWAY, or None."""
        codes = [struct.unpack(">I", f[3][4:8])[0] for f in self.frames() if f[0] == GOAWAY]
        return codes[-1] if codes else None

    def ended(self, stream):
        """The server has ended this stream."""
        return any(f[2] == stream and (f[0] == RST or (f[0] in (DATA, HEADERS) and f[1] & END))
                   for f in self.frames())

    def trailers(self, stream):
        """The header blocks of a stream, decoded, as one list of pairs."""
        import hpack

        decoder, fields = hpack.Decoder(), []
        for kind, _, of, payload in self.frames():
            if kind == HEADERS:
                block = decoder.decode(payload, raw=True)
                if of == stream:
                    fields += [(name.decode(), value.decode()) for name, value in block]
        return fields
