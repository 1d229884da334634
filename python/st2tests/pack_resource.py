"""Finding the files of the pack under test."""

import inspect
import os
import unittest

__all__ = ["BasePackResourceTestCase"]


class BasePackResourceTestCase(unittest.TestCase):
    def get_fixture_content(self, fixture_path):
        """The text of a file below the pack's tests/fixtures."""
        path = os.path.join(self._get_base_pack_path(), "tests/fixtures", fixture_path)
        with open(path, encoding="utf-8") as file:
            return file.read()

    def _get_base_pack_path(self):
        return os.path.abspath(os.path.join(os.path.dirname(inspect.getfile(type(self))), ".."))
