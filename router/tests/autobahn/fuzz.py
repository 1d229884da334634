"""Runs the Autobahn suite's cases against a server and prints as JSON how each went.

What a case sends, waits for and thinks of it is the suite's. Ours is how long it waits for a server before it gives it
up (half a second, in many cases), because machines are busy with other tests, and how often the cases that measure
repeat themselves. The suite's own program runs one case after the other; here many are under way at once.
"""

import library  # first: see there

import argparse
import json
import sys
import traceback

import cases
from autobahn.exception import Disconnected
from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from library import octets
from twisted.internet import reactor

# Groups of cases that keep the machine busy, and how many are under way at once of them and of the others.
WORKING = ("9", "12", "13")
AT_ONCE_WORKING, AT_ONCE = 3, 24


class Fuzzer(WebSocketClientProtocol):
    """The side of the suite: sends what its case wants sent, valid or not, and tells it what came."""

    def __init__(self, factory, case, patience):
        super().__init__()
        self.factory, self.patience = factory, patience
        # The suite's cases read and write these.
        self.connectionWasOpen = False
        self.createWirelog = False
        self.txFrameStats = {}
        self.broken = None
        self.case = case(self)
        # Cases with test data of their own tell octets from characters.
        self.heard = bytes if hasattr(case, "TESTDATA") else cases.characters

    def tell(self, what, *arguments):
        try:
            what(*arguments)
        except Disconnected:
            pass
        except Exception:
            self.broken = traceback.format_exc()
            self.transport.abortConnection()

    def onOpen(self):
        self.connectionWasOpen = True
        self.tell(self.case.onOpen)

    def onMessage(self, payload, isBinary):
        self.tell(self.case.onMessage, self.heard(payload), isBinary)

    def onPong(self, payload):
        self.tell(self.case.onPong, self.heard(payload))

    def onClose(self, wasClean, code, reason):
        self.tell(self.case.onClose, wasClean, code, reason)

    def connectionLost(self, reason):
        super().connectionLost(reason)
        self.tell(self.case.onConnectionLost, self.failedByMe)
        case = self.case
        if self.broken:
            case.behavior, case.result = "THE SUITE BROKE", self.broken
        self.factory.over(case.behavior, case.behaviorClose, f"{case.result} {case.resultClose}")

    def enableWirelog(self, enable):
        self.createWirelog = enable

    def logTxFrame(self, header, payload, repeated, chopped, synchronous):
        self.txFrameStats[header.opcode] = self.txFrameStats.get(header.opcode, 0) + 1

    def later(self, delay, what):
        def act():
            if self.state != self.STATE_CLOSED:
                self.tell(what)

        reactor.callLater(delay, act)

    def continueLater(self, delay, what, tag=None):
        self.later(delay, what)

    def killAfter(self, delay):
        self.later(delay * self.patience, self._fail_connection)

    def closeAfter(self, delay):
        # A case that expects nothing goes on when this is over: that is no patience.
        patience = 1 if [] in self.case.expected.values() else self.patience
        self.later(delay * patience, self.sendClose)

    def sendFrame(self, opcode, payload=b"", **more):
        super().sendFrame(opcode, octets(payload), **more)

    def sendMessage(self, payload, *more, **named):
        super().sendMessage(octets(payload), *more, **named)

    def sendMessageFrameData(self, payload, sync=False):
        return super().sendMessageFrameData(octets(payload), sync)

    def sendCloseFrame(self, code=None, reasonUtf8=None, isReply=False):
        super().sendCloseFrame(code, octets(reasonUtf8), isReply)


class Run(WebSocketClientFactory):
    """One case on a connection of its own; `done` gets how it went, once."""

    def __init__(self, url, case, patience, done):
        super().__init__(url)
        self.case, self.patience, self.done = case, patience, done
        self.logFrames = True
        self.setProtocolOptions(
            failByDrop=False,
            openHandshakeTimeout=5 * patience,
            closeHandshakeTimeout=patience,
            serverConnectionDropTimeout=patience,
        )

    def buildProtocol(self, address):
        return Fuzzer(self, self.case, self.patience)

    def clientConnectionFailed(self, connector, reason):
        self.over("FAILED", "FAILED", f"no connection: {reason.getErrorMessage()}")

    def over(self, behavior, close, why):
        self.done({"behavior": behavior, "close": close, "why": why})


class Suite:
    """All that is wanted: those that wait, then those that work."""

    def __init__(self, port, patience, wanted):
        self.port, self.patience, self.wanted = port, patience, wanted
        working = [name for name in wanted if name.split(".")[0] in WORKING]
        waiting = [name for name in wanted if name not in working]
        self.left = [(waiting, AT_ONCE), (working, AT_ONCE_WORKING)]
        self.running, self.outcomes = set(), {}

    def go_on(self):
        for names, at_once in self.left:
            while names and len(self.running) < at_once:
                self.start(names.pop(0))
            if self.running:
                return
        reactor.stop()

    def start(self, name):
        self.running.add(name)

        def done(outcome):
            self.outcomes[name] = outcome
            self.running.remove(name)
            if not self.running or any(names for names, _ in self.left):
                self.go_on()

        # (The name is for whoever reads an access log.)
        run = Run(f"ws://127.0.0.1:{self.port}/{name}", self.wanted[name], self.patience, done)
        reactor.connectTCP("127.0.0.1", self.port, run)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patience", type=float, default=10, help="times as long as the suite waits")
    parser.add_argument("--rounds", type=int, default=12, help="messages of a case that measures, of 1,000")
    parser.add_argument("port", type=int)
    parser.add_argument("groups", nargs="*", help="cases or groups of them, as 1.1; all, if none is named")
    options = parser.parse_intermixed_args()
    wanted = {
        name: case
        for name, case in cases.load().items()
        if not options.groups or any(f"{name}.".startswith(f"{group}.") for group in options.groups)
    }
    for case in wanted.values():
        if hasattr(case, "COUNT"):
            case.COUNT = min(case.COUNT, options.rounds)
    suite = Suite(options.port, options.patience, wanted)
    reactor.callWhenRunning(suite.go_on)
    reactor.run()
    json.dump(suite.outcomes, sys.stdout)


main()
