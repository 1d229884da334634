"""The library `autobahn` on Twisted, with two of its parts in the terms of what Python has in C.

Its own go through every octet in Python, which is most of what a run would take. Import this before the library.
"""

import codecs

import txaio

txaio.use_twisted()

import autobahn.websocket.utf8validator
import autobahn.websocket.xormasker


def octets(text):
    """A `str` whose characters are octets, as bytes; see cases.py."""
    return text.encode("latin-1") if isinstance(text, str) else text


class Utf8Validator:
    """Says whether all so far is valid, and whether it ends with a character; not where it stopped being so."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.decoder = codecs.getincrementaldecoder("utf-8")()

    def validate(self, data):
        try:
            self.decoder.decode(octets(data))
        except UnicodeDecodeError:
            return False, False, 0, 0
        return True, not self.decoder.getstate()[0], 0, 0


class Masker:
    def __init__(self, mask):
        self.mask, self.done = mask, 0

    def pointer(self):
        return self.done

    def process(self, data):
        length, turn = len(data), self.done & 3
        mask = (self.mask[turn:] + self.mask[:turn]) * (length // 4 + 1)
        self.done += length
        whole = int.from_bytes(data, "little") ^ int.from_bytes(mask[:length], "little")
        return whole.to_bytes(length, "little")


autobahn.websocket.utf8validator.Utf8Validator = Utf8Validator
autobahn.websocket.xormasker.create_xor_masker = lambda mask, length=None: Masker(mask)
