"""What a worker does before its orders leaves nothing that an action could see."""

import contextlib
import importlib
import io
import os
import pwd
import sys
import tempfile
import unittest
from unittest import mock

from yard_host import rehearsal


class Rehearsal(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        files = [os.path.join(self.folder.name, name) for name in ("passwd", "group")]
        for path in files:
            open(path, "w").close()
        self.passwd = files[0]
        changes = {"USUAL_USER": "daemon", "_FILES": files, "_found": None}
        patch = mock.patch.multiple(rehearsal, **changes)
        patch.start()
        self.addCleanup(patch.stop)

    def test_it_plays_an_action_and_leaves_paths_modules_and_streams_alone(self):
        played = []
        importlib.import_module("st2common.runners.base_action")
        load = importlib.import_module("yard_host.kinds.python").load_class
        before = list(sys.path), set(sys.modules)

        def loaded(*arguments):
            played.append(load(*arguments))
            return played[-1]

        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            with mock.patch("yard_host.kinds.python.load_class", loaded):
                rehearsal.rehearse()
        self.assertEqual([one.__name__ for one in played], ["YardRehearsal"])
        self.assertEqual((sys.path, set(sys.modules)), before)
        self.assertEqual(said.getvalue(), "")

    def test_the_usual_user_is_looked_up_again_only_when_the_files_changed(self):
        rehearsal.rehearse()
        entry = pwd.getpwnam("daemon")
        expected = rehearsal.User(entry.pw_uid, entry.pw_gid, os.getgrouplist("daemon", entry.pw_gid))
        with mock.patch.object(rehearsal, "_look_up", side_effect=KeyError):
            self.assertEqual(rehearsal.user("daemon"), expected)
            with self.assertRaises(KeyError):
                rehearsal.user("root")
            with open(self.passwd, "w") as file:
                file.write("changed")
            with self.assertRaises(KeyError):
                rehearsal.user("daemon")
        self.assertEqual(rehearsal.user(str(entry.pw_uid)), expected)

    def test_without_the_usual_user_or_the_files_others_are_found(self):
        with mock.patch.object(rehearsal, "USUAL_USER", "no-such-user"):
            rehearsal.rehearse()
            with self.assertRaises(KeyError):
                rehearsal.user("no-such-user")
        os.remove(self.passwd)
        rehearsal.rehearse()
        self.assertEqual(rehearsal.user("daemon").uid, pwd.getpwnam("daemon").pw_uid)


if __name__ == "__main__":
    unittest.main()
