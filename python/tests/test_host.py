"""The pack host against a real client: real forks, real signals, real pipes."""

import os
import resource
import signal
import subprocess
import time
import unittest

from tests.client import RunningHost, eventually, is_alive, result_of
from yard_host import frames, processes
from yard_host.timers import Timers


class HostTestCase(unittest.TestCase):
    arguments = ()

    def setUp(self):
        self.host = RunningHost(*self.arguments)
        self.addCleanup(self.host.close)
        self.client, self.hello = self.host.connect()
        # Whichever client is the current one by then.
        self.addCleanup(lambda: self.client.close())

    def _two_idle(self):
        """Idle workers by pid. A host that has just begun may have fewer than it will."""
        self.client.send(request="prefork", count=2)
        self._eventually_idle(2)
        self.client.close()
        self.client, hello = self.host.connect()
        return hello["idle"]

    def _eventually_idle(self, count):
        def idle():
            self.client.send(request="ping", nonce=count)
            return self.client.wait_for(lambda event: event["event"] == "pong")["idle"]

        eventually(lambda: idle() == count, "there are not %d idle workers" % count)

    def python(self, source, parameters=None, **orders):
        orders.setdefault("id", "run")
        path = self.host.action("action_" + orders["id"], source)
        return self.client.run(kind="python", pack="tests", file=path, parameters=parameters or {}, **orders)

    def shell(self, command, **orders):
        orders.setdefault("id", "run")
        return self.client.run(kind="shell", command=command, **orders)

    def assert_serves(self):
        end, output, _ = self.shell("echo still here", id="after")
        self.assertEqual((end["status"], output), (0, "still here\n"))


class PythonActions(HostTestCase):
    def test_the_result_and_the_output_arrive(self):
        end, output, errors = self.python(
            """
            class Greet(Action):
                def run(self, name):
                    print("hello", name)
                    self.logger.info("greeted %s", name)
                    return True, {"name": name, "color": self.config["color"]}
            """,
            {"name": "Ada \u2713"},
            config={"color": "red"},
        )
        self.assertEqual(end["status"], 0)
        self.assertEqual(output, "hello Ada \u2713\n")
        self.assertEqual(errors, "st2.actions.python.Greet: INFO     greeted Ada \u2713\n")
        self.assertEqual(result_of(end), {"result": {"name": "Ada \u2713", "color": "red"}, "status": True})

    def test_returning_only_data_leaves_the_status_open(self):
        end, _, _ = self.python("class A(Action):\n    def run(self): return [1, 2]\n")
        self.assertEqual(result_of(end), {"result": [1, 2], "status": None})

    def test_a_pair_with_false_is_a_failure_with_a_result(self):
        end, _, _ = self.python("class A(Action):\n    def run(self): return (False, 'no')\n")
        self.assertEqual((end["status"], result_of(end)), (0, {"result": "no", "status": False}))

    def test_a_pair_without_a_bool_exits_with_220_and_no_result(self):
        end, _, errors = self.python("class A(Action):\n    def run(self): return ('a', 'b')\n")
        self.assertEqual((end["status"], end["result"]), (220, None))
        self.assertIn("True or False", errors)

    def test_what_json_cannot_carry_becomes_text(self):
        end, _, _ = self.python("class A(Action):\n    def run(self): return True, {1, }\n")
        self.assertEqual(result_of(end), {"result": "{1}", "status": True})

    def test_a_value_that_contains_itself_becomes_text(self):
        end, _, _ = self.python(
            "class A(Action):\n    def run(self):\n        a = []\n        a.append(a)\n        return a\n"
        )
        self.assertEqual(result_of(end)["result"], "[[...]]")

    def test_what_is_not_a_number_becomes_null(self):
        end, _, _ = self.python("class A(Action):\n    def run(self): return {'x': [float('nan'), 1.5]}\n")
        self.assertEqual(result_of(end)["result"], {"x": [None, 1.5]})

    def test_an_exception_shows_the_users_frames_only(self):
        end, _, errors = self.python("class A(Action):\n    def run(self): return 1 / 0\n")
        self.assertEqual((end["status"], end["result"]), (1, None))
        self.assertIn("ZeroDivisionError", errors)
        self.assertIn("action_run.py", errors)
        self.assertNotIn("yard_host", errors)

    def test_exit_statuses_are_the_actions_own(self):
        end, _, _ = self.python("import sys\nclass A(Action):\n    def run(self): sys.exit(7)\n")
        self.assertEqual((end["status"], end["result"]), (7, None))

    def test_the_first_class_by_name_that_implements_run_is_taken(self):
        end, _, _ = self.python(
            """
            class Zebra(Action):
                def run(self): return "zebra"
            class Middle(Action):
                def run(self): return "middle"
            class Abstract(Action):
                pass
            """
        )
        self.assertEqual(result_of(end)["result"], "middle")

    def test_an_action_that_does_not_know_the_service_gets_it_afterwards(self):
        end, _, _ = self.python(
            """
            class Old(Action):
                def __init__(self, config):
                    super().__init__(config)
                def run(self): return type(self.action_service).__name__
            """
        )
        self.assertEqual(result_of(end)["result"], "ActionService")

    def test_a_missing_key_of_the_configuration_says_what_to_do(self):
        _, _, errors = self.python("class A(Action):\n    def run(self): return self.config['token']\n")
        self.assertIn('The configuration of pack "tests" has no key "token"', errors)
        self.assertIn("ValueError", errors)

    def test_a_module_that_does_not_load_tells_why(self):
        end, _, errors = self.python("import nowhere_to_be_found\n")
        self.assertEqual(end["status"], 1)
        self.assertIn("nowhere_to_be_found", errors)

    def test_a_module_without_an_action_tells_so(self):
        end, _, errors = self.python("x = 1\n")
        self.assertEqual(end["status"], 1)
        self.assertIn("defines no class with a method run", errors)

    def test_an_action_named_like_the_library_it_uses_gets_the_library(self):
        path = self.host.action("json", "import json\nclass A(Action):\n    def run(self): return json.dumps([1])\n")
        end, _, _ = self.client.run(id="run", kind="python", pack="tests", file=path, parameters={})
        self.assertEqual(result_of(end)["result"], "[1]")

    def test_the_given_folders_come_first_on_the_path(self):
        library = os.path.join(self.host.folder, "lib")
        os.mkdir(library)
        with open(os.path.join(library, "shared.py"), "w") as file:
            file.write("word = 'found'\n")
        end, _, _ = self.python(
            "import shared, sys\nclass A(Action):\n    def run(self): return [shared.word, sys.path[0], sys.path[-1]]\n",
            path=[library],
        )
        self.assertEqual(result_of(end)["result"], ["found", library, self.host.folder])

    def test_a_large_result_arrives_whole(self):
        end, _, _ = self.python("class A(Action):\n    def run(self): return 'x' * (8 << 20)\n")
        self.assertEqual(len(result_of(end)["result"]), 8 << 20)

    def test_a_result_beyond_the_limit_is_told_and_dropped(self):
        end, _, errors = self.python(
            "class A(Action):\n    def run(self): return 'x' * 5000\n", result_limit=1000
        )
        self.assertEqual((end["status"], end["result"], end["result_over_limit"]), (1, None, True))
        self.assertIn("more than the limit of 1000", errors)

    def test_large_parameters_arrive_whole(self):
        end, _, _ = self.python("class A(Action):\n    def run(self, text): return len(text)\n", {"text": "y" * (6 << 20)})
        self.assertEqual(result_of(end)["result"], 6 << 20)

    def test_nothing_of_one_execution_reaches_the_next(self):
        source = """
            import builtins, os
            class A(Action):
                def run(self):
                    seen = (getattr(builtins, "left_behind", None), os.environ.get("LEFT"))
                    builtins.left_behind = "x"
                    os.environ["LEFT"] = "x"
                    return seen[0] or seen[1]
            """
        for number in range(3):
            end, _, _ = self.python(source, id="run%d" % number)
            self.assertEqual(result_of(end)["result"], None)

    def test_threads_and_exit_handlers_finish(self):
        _, output, _ = self.python(
            """
            import atexit, threading, time
            class A(Action):
                def run(self):
                    atexit.register(lambda: print("handler"))
                    threading.Thread(target=lambda: (time.sleep(0.1), print("thread"))).start()
            """
        )
        self.assertEqual(output, "thread\nhandler\n")


class ShellCommands(HostTestCase):
    def test_output_status_environment_and_directory(self):
        end, output, errors = self.shell(
            'echo "$GREETING in $(pwd)"; echo oops >&2; exit 3',
            env={"GREETING": "hello", "PATH": os.environ["PATH"]},
            cwd="/usr",
        )
        self.assertEqual((end["status"], output, errors), (3, "hello in /usr\n", "oops\n"))

    def test_the_command_is_on_no_command_line(self):
        _, output, _ = self.shell("word=sesame; tr '\\0' ' ' </proc/$$/cmdline; ls /proc/self/fd")
        self.assertNotIn("sesame", output)
        self.assertNotIn("\n9\n", output, "the text of the command stays open in its children")

    def test_a_program_with_arguments(self):
        end, output, _ = self.client.run(id="run", kind="shell", argv=["printf", "%s|", "a b", ""])
        self.assertEqual((end["status"], output), (0, "a b||"))

    def test_a_program_that_does_not_exist_is_127(self):
        end, _, errors = self.client.run(id="run", kind="shell", argv=["/no/such/program"])
        self.assertEqual(end["status"], 127)
        self.assertIn("/no/such/program", errors)

    def test_standard_input_is_empty(self):
        _, output, _ = self.shell("cat; echo end")
        self.assertEqual(output, "end\n")

    def test_signals_have_their_default_action(self):
        end, _, _ = self.shell("yes | head -n 1 >/dev/null; kill -PIPE $$")
        self.assertEqual(end["signal"], signal.SIGPIPE)

    def test_a_directory_that_does_not_exist_is_told(self):
        end, _, errors = self.shell("true", cwd="/no/such/folder")
        self.assertEqual(end["status"], 1)
        self.assertIn("/no/such/folder", errors)

    def test_bytes_that_are_no_text_do_not_break_the_stream(self):
        _, output, _ = self.shell("printf 'a\\377b'; printf '\\342'; sleep 0.1; printf '\\234\\223'")
        self.assertEqual(output, "a\ufffdb\u2713")

    @unittest.skipUnless(os.geteuid() == 0, "only root can become another user")
    def test_it_runs_as_the_user_asked_for(self):
        _, output, _ = self.shell("id -un", user="nobody")
        self.assertEqual(output, "nobody\n")

    def test_an_unknown_user_is_told(self):
        end, _, errors = self.shell("true", user="no-such-user")
        self.assertEqual(end["status"], 1)
        self.assertIn("no-such-user", errors)


class Ends(HostTestCase):
    def test_a_time_limit_ends_an_action_that_ignores_term(self):
        began = time.monotonic()
        end, output, _ = self.python(
            """
            import signal, time
            class Stubborn(Action):
                def run(self):
                    signal.signal(signal.SIGTERM, lambda *_: print("no"))
                    while True:
                        time.sleep(0.05)
            """,
            timeout_ms=500,
            grace_ms=300,
        )
        self.assertEqual((end["signal"], end["timed_out"], end["stopped"]), (signal.SIGKILL, True, False))
        self.assertEqual(output, "no\n")
        self.assertLess(time.monotonic() - began, 10)

    def test_stop_ends_the_whole_tree_however_it_hides(self):
        self.client.send(
            request="run",
            id="tree",
            kind="shell",
            command="""
                trap '' TERM
                sleep 1000 & echo $!
                (setsid sh -c 'trap "" TERM; sleep 1000 & echo $!; wait' &)
                setsid -f sleep 1000
                wait
            """,
        )
        leader = self.client.wait_for(lambda event: event["event"] == "started")["pid"]
        eventually(lambda: len(processes.descendants_of(leader)) >= 4, "the tree did not grow")
        tree = processes.descendants_of(leader)
        self.client.send(request="stop", id="tree", grace_ms=100)
        end, _, _ = self.client.finish("tree")
        self.assertTrue(end["stopped"])
        self.assertEqual(end["signal"], signal.SIGKILL)
        eventually(lambda: not any(map(is_alive, tree)), "a part of the tree survived")
        self.assert_serves()

    def test_term_is_enough_for_who_obeys(self):
        self.client.send(request="run", id="polite", kind="shell", command="echo ready; exec sleep 1000")
        self.client.wait_for(lambda event: event["event"] == "output")
        self.client.send(request="stop", id="polite", grace_ms=20000)
        end, _, _ = self.client.finish("polite")
        self.assertEqual(end["signal"], signal.SIGTERM)

    def test_what_a_finished_action_left_behind_is_ended(self):
        end, output, _ = self.shell("setsid -f sh -c 'echo $$; exec sleep 1000'; sleep 0.3")
        self.assertEqual(end["status"], 0)
        left = int(output)
        eventually(lambda: not is_alive(left), "the background process outlived its action")

    def test_a_worker_that_crashes_harms_nobody(self):
        end, _, _ = self.python(
            "import os, signal\nclass A(Action):\n    def run(self): os.kill(os.getpid(), signal.SIGSEGV)\n"
        )
        self.assertEqual((end["signal"], end["result"]), (signal.SIGSEGV, None))
        self.assert_serves()

    def test_an_idle_worker_that_dies_is_replaced(self):
        pid = self._two_idle()[0]
        os.kill(pid, signal.SIGKILL)
        lost = self.client.wait_for(lambda event: event["event"] == "worker_lost")
        self.assertEqual(lost["pid"], pid)
        self.client.wait_for(lambda event: event["event"] == "worker")
        self.assert_serves()

    def test_closing_the_standard_streams_does_not_end_an_execution_early(self):
        end, _, _ = self.shell("exec >&- 2>&-; sleep 0.3; exit 4")
        self.assertEqual(end["status"], 4)
        self.assertGreaterEqual(end["wall_ms"], 250)

    def test_stopping_what_does_not_run_is_refused(self):
        self.client.send(request="stop", id="nobody")
        refused = self.client.wait_for(lambda event: event["event"] == "refused")
        self.assertEqual(refused["code"], "unknown_execution")


class Limits(HostTestCase):
    def test_a_flood_is_cut_and_memory_stays_bounded(self):
        end, output, _ = self.shell("head -c 50000000 /dev/zero | tr '\\0' 'z'", output_limit=1000000)
        self.assertEqual((end["status"], len(output), end["truncated"]), (0, 1000000, ["stdout"]))

    def test_a_client_that_does_not_read_stops_the_flood(self):
        self.client.send(
            request="run", id="flood", kind="shell", command="yes", output_limit=1 << 40
        )
        time.sleep(1.5)
        with open("/proc/%d/statm" % self.host.process.pid) as file:
            resident = int(file.read().split()[1]) * resource.getpagesize()
        self.assertLess(resident, 80 << 20)
        self.client.send(request="stop", id="flood", grace_ms=0)
        end, output, _ = self.client.finish("flood")
        self.assertTrue(end["stopped"])
        self.assertGreater(len(output), 2 << 20)
        self.assert_serves()

    def test_memory_beyond_the_limit_fails_the_action_alone(self):
        end, _, errors = self.python(
            "class A(Action):\n    def run(self): return len('x' * (1 << 30))\n",
            limits={"memory_bytes": 400 << 20},
        )
        self.assertEqual(end["status"], 1)
        self.assertIn("MemoryError", errors)
        self.assert_serves()

    @unittest.skipUnless(os.geteuid() == 0, "RLIMIT_NPROC needs a user of its own, and so root")
    def test_a_fork_bomb_within_a_process_limit_is_killed(self):
        # RLIMIT_NPROC counts all processes of the user: `games` has no other.
        end, _, _ = self.python(
            """
            import os
            class Bomb(Action):
                def run(self):
                    while True:
                        try:
                            os.fork()
                        except OSError:
                            pass
            """,
            user="games",
            limits={"processes": 60},
            timeout_ms=1500,
            grace_ms=200,
        )
        self.assertTrue(end["timed_out"])
        eventually(lambda: _processes_of_user("games") == 0, "the bomb went on")
        self.assert_serves()

    def test_a_hundred_at_once(self):
        path = self.host.action(
            "many", "import time\nclass A(Action):\n    def run(self, n):\n        time.sleep(0.5)\n        return n * n\n"
        )
        for number in range(100):
            self.client.send(
                request="run", id="n%d" % number, kind="python", pack="tests", file=path, parameters={"n": number}
            )
        for number in range(100):
            ended = [e for e in self.client.events if e["event"] == "exited" and e["id"] == "n%d" % number]
            end = ended[0] if ended else self.client.finish("n%d" % number)[0]
            self.assertEqual(result_of(end), {"result": number * number, "status": None})

    def test_warm_actions_start_quickly(self):
        path = self.host.action("quick", "import time\nprint(time.time())\nclass A(Action):\n    def run(self): pass\n")
        delays = []
        for number in range(10):
            time.sleep(0.1)
            sent = time.time()
            _, output, _ = self.client.run(
                id="q%d" % number, kind="python", pack="tests", file=path, parameters={}
            )
            delays.append(float(output) - sent)
        # A new interpreter takes 25 ms on an idle machine; this one may be busy.
        self.assertLess(sorted(delays)[len(delays) // 2], 0.025)


class Protocol(HostTestCase):
    def test_every_problem_of_a_request_is_named_at_once(self):
        self.client.send(
            request="run", id="bad", kind="python", file="", parameters=[], timeout_ms=-1, speed=3, limits={"cpu": 1}
        )
        refused = self.client.wait_for(lambda event: event["event"] == "refused")
        self.assertEqual((refused["id"], refused["code"]), ("bad", "invalid"))
        text = "\n".join(refused["problems"])
        for word in ("pack is missing", "file must be", "parameters must be", "timeout_ms", "speed", "limits.cpu"):
            self.assertIn(word, text)

    def test_unknown_requests_are_refused(self):
        for request in ("dance", None, {"x": 1}):
            self.client.send(request=request)
            refused = self.client.wait_for(lambda event: event["event"] == "refused")
            self.assertEqual(refused["code"], "invalid")

    def test_an_identifier_is_used_once(self):
        self.shell("true", id="one")
        end, _, _ = self.shell("true", id="one")
        self.assertEqual((end["event"], end["code"]), ("refused", "duplicate"))
        self.client.send(request="forget", id="one")
        end, _, _ = self.shell("true", id="one")
        self.assertEqual(end["event"], "exited")

    def test_the_client_chooses_the_worker_it_prepared(self):
        chosen = self._two_idle()[-1]
        end, output, _ = self.shell("echo $$", worker=chosen)
        self.assertEqual((end["pid"], output), (chosen, "%d\n" % chosen))
        end, _, _ = self.shell("true", worker=chosen, id="again")
        self.assertEqual(end["code"], "no_such_worker")

    def test_the_number_of_idle_workers_follows_the_client(self):
        self.client.send(request="prefork", count=6)
        self._eventually_idle(6)
        self.client.send(request="prefork", count=1)
        self._eventually_idle(1)
        eventually(
            lambda: len(processes.children_of(self.host.process.pid)) == 1, "surplus workers did not end"
        )

    def test_an_idle_worker_that_cannot_be_used_is_replaced(self):
        pid = self._two_idle()[0]
        self.client.send(request="retire", worker=pid)
        lost = self.client.wait_for(lambda event: event["event"] == "worker_lost")
        self.assertEqual(lost["pid"], pid)
        eventually(lambda: processes.parent_of(pid) is None, "the worker did not end")
        self.client.send(request="retire", worker=pid)
        refused = self.client.wait_for(lambda event: event["event"] == "refused")
        self.assertEqual(refused["code"], "no_such_worker")
        self._eventually_idle(2)

    def test_executions_go_on_without_a_client_and_are_told_to_the_next(self):
        self.client.send(
            request="run", id="long", kind="shell", command="echo one; sleep 0.5; echo two; exit 5"
        )
        self.client.wait_for(lambda event: event["event"] == "output")
        self.client.close()
        time.sleep(1)
        self.client, hello = self.host.connect()
        end, output, _ = self.client.finish("long")
        self.assertEqual((end["status"], output), (5, "two\n"))
        self.client.close()
        self.client, hello = self.host.connect()
        self.assertEqual(hello["running"], [])
        end, _, _ = self.client.finish("long")
        self.assertEqual(end["status"], 5, "an end that was not forgotten is told again")

    def test_a_new_client_sees_what_runs(self):
        self.client.send(request="run", id="long", kind="shell", command="sleep 1000")
        started = self.client.wait_for(lambda event: event["event"] == "started")
        second, hello = self.host.connect()
        self.addCleanup(second.close)
        self.assertEqual(hello["running"], [{"id": "long", "pid": started["pid"]}])

    def test_garbage_ends_the_connection_only(self):
        self.client.send_bytes(b"\xff\xff\xff\xffgarbage")
        with self.assertRaises((ConnectionError, AssertionError)):
            while True:
                self.client.wait_for(lambda event: False, seconds=5)
        self.client.close()
        self.client, _ = self.host.connect()
        self.assert_serves()

    def test_an_action_cannot_become_the_client(self):
        _, output, _ = self.python(
            """
            import socket
            class A(Action):
                def run(self, path):
                    connection = socket.socket(socket.AF_UNIX)
                    connection.connect(path)
                    print(len(connection.recv(1)))
            """,
            {"path": self.host.path},
        )
        self.assertEqual(output, "0\n")

    def test_secrets_of_orders_are_on_no_command_line(self):
        path = self.host.action("wait", "import time\nclass A(Action):\n    def run(self, word): time.sleep(5)\n")
        self.client.send(
            request="run", id="secret", kind="python", pack="tests", file=path, parameters={"word": "open-sesame"}
        )
        started = self.client.wait_for(lambda event: event["event"] == "started")
        for name in ("cmdline", "environ"):
            with open("/proc/%d/%s" % (started["pid"], name), "rb") as file:
                self.assertNotIn(b"open-sesame", file.read())
        self.client.send(request="stop", id="secret", grace_ms=0)
        self.client.finish("secret")


class FullHost(HostTestCase):
    arguments = ("--max-running", "1", "--prefork", "0")

    def test_more_than_the_limit_are_refused(self):
        self.client.send(request="run", id="first", kind="shell", command="sleep 1000")
        self.client.wait_for(lambda event: event["event"] == "started")
        end, _, _ = self.shell("true", id="second")
        self.assertEqual((end["event"], end["code"]), ("refused", "full"))


class Start(unittest.TestCase):
    def test_a_place_where_no_socket_can_be_is_told(self):
        host = subprocess.run(
            [os.sys.executable, "-m", "yard_host", "/no/such/folder/socket"],
            cwd=os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
            stderr=subprocess.PIPE,
            text=True,
        )
        self.assertEqual(host.returncode, 2)
        self.assertIn("/no/such/folder/socket", host.stderr)

    def test_a_stale_socket_is_replaced_and_a_missing_preload_reported(self):
        host = RunningHost("--preload", "no_such_module,decimal")
        self.addCleanup(host.close)
        client, _ = host.connect()
        self.addCleanup(client.close)
        path = host.action("preloaded", "import sys\nclass A(Action):\n    def run(self): return 'decimal' in sys.modules\n")
        end, _, _ = client.run(id="run", kind="python", pack="tests", file=path, parameters={})
        self.assertEqual(result_of(end)["result"], True)


class Frames(unittest.TestCase):
    def test_frames_survive_any_cut(self):
        data = frames.encode({"a": "\u2713"}) + frames.encode({"b": [1]})
        for size in range(1, len(data)):
            decoder = frames.Decoder()
            found = []
            for start in range(0, len(data), size):
                decoder.feed(data[start:start + size])
                while True:
                    frame = decoder.next()
                    if frame is None:
                        break
                    found.append(frame[0])
            self.assertEqual(found, [{"a": "\u2713"}, {"b": [1]}])

    def test_a_frame_too_long_is_refused_before_it_is_read(self):
        decoder = frames.Decoder()
        decoder.feed(b"\x7f\xff\xff\xff")
        with self.assertRaises(frames.FrameError):
            decoder.next()


class TimersOfAHost(unittest.TestCase):
    def setUp(self):
        self.now = 0.0
        self.called = []
        self.timers = Timers(lambda: self.now)

    def test_they_are_called_in_order_unless_canceled(self):
        for seconds in (3, 1, 2):
            timer = self.timers.after(seconds, lambda seconds=seconds: self.called.append(seconds))
        self.timers.cancel(timer)
        self.timers.cancel(timer)
        self.assertEqual(self.timers.pause(), 1)
        self.now = 5.0
        self.timers.run_due()
        self.assertEqual((self.called, self.timers.pause(), len(self.timers)), ([1, 3], None, 0))

    def test_canceled_ones_do_not_pile_up(self):
        self.timers.after(1000, lambda: None)
        for _ in range(10000):
            self.timers.cancel(self.timers.after(600, lambda: self.fail("it was canceled")))
        self.assertLess(len(self.timers), 200)
        self.assertEqual(self.timers.pause(), 1000)


def _processes_of_user(name):
    import pwd

    user = pwd.getpwnam(name).pw_uid
    count = 0
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and os.stat("/proc/" + entry).st_uid == user and is_alive(int(entry)):
                count += 1
        except OSError:
            pass
    return count


if __name__ == "__main__":
    unittest.main()
