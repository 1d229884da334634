"""Follows files that rules name and reports their new lines.

A file that does not exist yet is waited for and then read from its beginning. A file that was replaced (rotated) is read to
its end and then followed under its new identity; one that became shorter is read from its beginning.
"""

import os
import threading

from st2reactor.sensor.base import Sensor

PAUSE_SECONDS = 0.25


class FileWatchSensor(Sensor):
    def setup(self):
        self._logger = self.sensor_service.get_logger(__name__)
        self._stopped = threading.Event()
        # Path to (trigger reference, event that ends its thread).
        self._watched = {}

    def run(self):
        self._stopped.wait()

    def cleanup(self):
        for path in list(self._watched):
            self._unwatch(path)
        self._stopped.set()

    def add_trigger(self, trigger):
        path = (trigger.get("parameters") or {}).get("file_path")
        if not path:
            self._logger.error("trigger %s names no file_path", trigger.get("ref"))
            return
        self._unwatch(path)
        file = _open(path)
        if file is not None:
            # What was there before the rule is not news.
            file.seek(0, os.SEEK_END)
        end = threading.Event()
        self._watched[path] = (trigger["ref"], end)
        threading.Thread(target=self._follow, args=(path, file, trigger["ref"], end), daemon=True).start()
        self._logger.info("following %s", path)

    def update_trigger(self, trigger):
        self.add_trigger(trigger)

    def remove_trigger(self, trigger):
        self._unwatch((trigger.get("parameters") or {}).get("file_path"))

    def _unwatch(self, path):
        _, end = self._watched.pop(path, (None, None))
        if end is not None:
            end.set()

    def _follow(self, path, file, ref, end):
        rest = b""
        while not end.is_set():
            data = file.read(64 * 1024) if file is not None else b""
            if data:
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._report(path, ref, line)
                continue
            if file is None or _was_replaced(file, path):
                following = _open(path)
                if following is not None:
                    if file is not None:
                        file.close()
                    file, rest = following, b""
                    continue
            end.wait(PAUSE_SECONDS)
        if file is not None:
            file.close()

    def _report(self, path, ref, line):
        text = line.decode("utf-8", "replace").strip()
        payload = {"file_path": path, "file_name": os.path.basename(path), "line": text}
        self.sensor_service.dispatch(trigger=ref, payload=payload)


def _open(path):
    try:
        return open(path, "rb")
    except OSError:
        return None


def _was_replaced(file, path):
    ours = os.fstat(file.fileno())
    try:
        current = os.stat(path)
    except OSError:
        return False
    return (current.st_dev, current.st_ino) != (ours.st_dev, ours.st_ino) or current.st_size < file.tell()
