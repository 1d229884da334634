"""Length-prefixed JSON frames (see PROTOCOL.md)."""

import json
import os
import struct

FRAME_LIMIT = 64 * 1024 * 1024
_LENGTH = struct.Struct(">I")


class FrameError(Exception):
    """The peer sent something that is no frame; the connection cannot go on."""


def encode(body):
    """The bytes of one frame."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return wrap(text.encode("utf-8", "replace"))


def wrap(data):
    """A frame around a body that is already encoded."""
    if len(data) > FRAME_LIMIT:
        raise FrameError("a frame of %d bytes exceeds the limit of %d" % (len(data), FRAME_LIMIT))
    return _LENGTH.pack(len(data)) + data


class Decoder:
    """Cuts a stream of bytes into frames."""

    def __init__(self):
        self._buffer = bytearray()

    def feed(self, data):
        self._buffer += data

    def next(self):
        """The next complete frame as `(object, its bytes)`, or None."""
        buffer = self._buffer
        if len(buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(buffer)
        if length > FRAME_LIMIT:
            raise FrameError("a frame of %d bytes exceeds the limit of %d" % (length, FRAME_LIMIT))
        end = _LENGTH.size + length
        if len(buffer) < end:
            return None
        data = bytes(buffer[_LENGTH.size:end])
        del buffer[:end]
        try:
            body = json.loads(data)
        except ValueError as error:
            raise FrameError("a frame is not JSON: %s" % error) from error
        if not isinstance(body, dict):
            raise FrameError("a frame is not an object")
        return body, data


def read_exactly(fd, count):
    """`count` bytes of a blocking descriptor, or None if it ends before the first."""
    chunks = []
    missing = count
    while missing:
        chunk = os.read(fd, min(missing, 1 << 20))
        if not chunk:
            if missing == count:
                return None
            raise FrameError("the stream ends inside a frame")
        chunks.append(chunk)
        missing -= len(chunk)
    return b"".join(chunks)


def read_blocking(fd):
    """The body of the next frame of a blocking descriptor, or None at its end."""
    header = read_exactly(fd, _LENGTH.size)
    if header is None:
        return None
    (length,) = _LENGTH.unpack(header)
    body = read_exactly(fd, length) if length else b""
    if body is None:
        raise FrameError("the stream ends inside a frame")
    return body


def write_all(fd, data):
    """Writes everything to a blocking descriptor."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view):]
