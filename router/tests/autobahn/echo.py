"""A WebSocket server that says everything again, with permessage-deflate.

It prints its port and ends when its standard input does, so with whoever started it.
"""

import library  # first: see there

import sys

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept
from twisted.internet import reactor, stdio
from twisted.internet.protocol import Protocol


class Echo(WebSocketServerProtocol):
    def onMessage(self, payload, isBinary):
        self.sendMessage(payload, isBinary)


class Starter(Protocol):
    def connectionLost(self, reason):
        reactor.stop()


def accept(offers):
    for offer in offers:
        if isinstance(offer, PerMessageDeflateOffer):
            return PerMessageDeflateOfferAccept(offer)
    return None


factory = WebSocketServerFactory()
factory.protocol = Echo
factory.setProtocolOptions(failByDrop=False, perMessageCompressionAccept=accept)
port = reactor.listenTCP(0, factory, interface="127.0.0.1")
print(port.getHost().port, flush=True)
stdio.StandardIO(Starter())
reactor.run()
