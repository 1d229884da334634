"""What packs import from StackStorm, over HTTP only.

Packs are not published with a library of their own: they import `st2common`, `st2reactor`, `st2actions` and `st2tests` and
expect the names found there. These packages offer those names (see README.md for the list) with our own code. Nothing here
opens a database or a message queue; what needs the cluster asks its API.

Import time counts: an action pays for it. Modules that few actions need are imported where they are used.
"""

# The release whose behaviour packs can expect.
__version__ = "3.9.0"
