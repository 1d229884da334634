"""The cases of the Autobahn suite, which are Python 2, as modules of Python 3.

Almost all they do is to put octets into `str` and to compare them, so `str` stays what it was: each character is an octet
(Latin-1). `octets` and `characters` stand where such a text leaves for the library, or comes from it. The files
are mended in memory at import; what is installed stays as it is. Only what the cases need is here: not the
suite's own programs, which are the greater part of it.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import pathlib
import re
import sys
import types

from library import octets

PACKAGE = "autobahntestsuite"


def in_words(name):
    """requestMaxWindowBits → request_max_window_bits"""
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name[0])


# Pattern, replacement, why.
MENDINGS = [
    (r"\(object, Case, ?\)", "(Case,)", "a class that comes before one that is derived from it"),
    (r"^( *)print\b.*$", r"\1pass", "a statement; only the suite's tests of itself say anything"),
    (r"binascii\.b2a_hex\(", "hexadecimal(", "it is asked for octets in str"),
    (r" / (?=self\.p\.autoFragmentSize)", " // ", "a division of whole numbers"),
    (r"\b(request|accept)(NoContextTakeover|MaxWindowBits)\b", in_words, "names that the library changed"),
    (r"^from case9_9_1 import \*$", "", "not in the suite's list, and made of what Twisted has no more"),
]


def characters(data):
    return data.decode("latin-1")


def hexadecimal(text):
    return octets(text).hex()


def mended(source):
    for pattern, replacement, _ in MENDINGS:
        source = re.sub(pattern, replacement, source, flags=re.MULTILINE)
    return source


class Cases(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the suite's modules by the names that they call each other, which are relative to their folder."""

    def __init__(self, folder):
        self.folder = folder

    def find_spec(self, name, path=None, target=None):
        file = self.folder / f"{name}.py"
        if path is None and re.fullmatch(r"case\w*", name) and file.exists():
            return importlib.machinery.ModuleSpec(name, self, origin=str(file))
        return None

    def exec_module(self, module):
        self.execute(module, pathlib.Path(module.__spec__.origin))

    def execute(self, module, file):
        source = mended(file.read_text(encoding="latin-1"))
        # A line that names an encoding is one for the bytes of the file.
        source = re.sub(r"coding[:=]", "", source, count=1)
        module.__dict__.update(xrange=range, hexadecimal=hexadecimal)
        exec(compile(source, str(file), "exec"), module.__dict__)


def load():
    """All cases in the suite's order: identifier → class. (The package itself cannot be imported.)"""
    package = pathlib.Path(importlib.util.find_spec(PACKAGE).origin).parent
    resources = types.ModuleType("pkg_resources")
    resources.resource_filename = lambda _, name: str(package / name)
    sys.modules["pkg_resources"] = resources
    finder = Cases(package / "case")
    sys.meta_path.insert(0, finder)
    whole = types.ModuleType("cases_of_the_suite")
    finder.execute(whole, finder.folder / "__init__.py")
    # As a text a pickle also tells which of two equal strings are one object; Python 2 told less.
    sys.modules["case"].Case.compare = lambda self, one, other: one == other
    return {case.__name__.removeprefix("Case").replace("_", "."): case for case in whole.Cases}
