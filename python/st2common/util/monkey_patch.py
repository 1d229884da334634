"""Cooperative replacements of blocking functions, by eventlet."""

__all__ = ["monkey_patch", "use_select_poll_workaround"]


def monkey_patch(patch_thread=None):
    """Patches os, select, socket, time and, unless `patch_thread=False`, threads."""
    import eventlet

    eventlet.monkey_patch(
        os=True, select=True, socket=True, thread=patch_thread is not False, time=True
    )


def use_select_poll_workaround(nose_only=True):
    """Gives patched code the blocking `select.poll` back, which `subprocess` needs."""
    if nose_only:
        import sys

        if "nose" not in sys.modules and "pytest" not in sys.modules:
            return
    import select

    import eventlet.patcher

    select.poll = eventlet.patcher.original("select").poll
