"""The main process of a warm pack sandbox.

An interpreter takes 25 ms to start and an action's imports much longer. So one interpreter per pack stays warm: it has the
usual modules imported and keeps idle workers, forked ahead, each of which runs exactly one execution and ends.
`PROTOCOL.md` is the contract with the agent.

    host.py       the event loop: socket, workers, executions
    execution.py  one execution as the host sees it; mailbox.py: its events; timers.py: its limits
    orders.py     what a `run` request may contain
    worker.py     the forked child: becomes the execution
    kinds/        what a worker does: Python action, shell command, HTTP request, SSH

Beginners get wrong: the host must stay single-threaded (a fork copies one thread and every lock as it was), and must not
import a pack's own code (what that does at import time would reach every later execution).
"""
