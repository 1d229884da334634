"""An interpreter that was started before its pack was known comes to see the pack's own environment.

Afterwards modules are found where an interpreter of that environment would find them: first those that stand in for
StackStorm's, then what the pack requires itself, then the libraries of all packs; and, unless the environment asks
for them, without those that only this machine's interpreter has. What was imported ahead and would now come from
somewhere else, or from nowhere, is forgotten and imported anew by whoever wants it.
"""

import importlib
import importlib.machinery
import os
import site
import sys

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def enter(prefix, folders):
    """`prefix`: the environment, if it has an interpreter; `folders`: where its libraries are."""
    machines = _machines_own()
    if prefix is not None:
        sys.prefix = sys.exec_prefix = prefix
        sys.executable = os.path.join(prefix, "bin", "python3")
        if not _sees_the_machines(prefix):
            sys.path[:] = [folder for folder in sys.path if folder not in machines]
    at = sys.path.index(_OURS) + 1 if _OURS in sys.path else 0
    sys.path[at:at] = [folder for folder in folders if folder not in sys.path]
    for folder in folders:
        # For what its `.pth` files name.
        site.addsitedir(folder)
    importlib.invalidate_caches()
    _forget_moved_modules()


def _machines_own():
    """Where this interpreter has libraries beside those it comes with."""
    return set(site.getsitepackages([sys.base_prefix, os.path.join(sys.base_prefix, "local")]))


def _sees_the_machines(prefix):
    try:
        with open(os.path.join(prefix, "pyvenv.cfg"), encoding="utf-8") as file:
            lines = [line.partition("=") for line in file]
    except OSError:
        return False
    settings = {name.strip().lower(): value.strip().lower() for name, _, value in lines}
    return settings.get("include-system-site-packages") == "true"


def _forget_moved_modules():
    standard = getattr(sys, "stdlib_module_names", frozenset())
    for name in {name.partition(".")[0] for name in sys.modules} - standard:
        spec = getattr(sys.modules.get(name), "__spec__", None)
        if spec is None or not spec.has_location or _is_ours(spec.origin):
            continue
        found = importlib.machinery.PathFinder.find_spec(name)
        if found is None or found.origin != spec.origin:
            for other in [other for other in sys.modules if other == name or other.startswith(name + ".")]:
                del sys.modules[other]


def _is_ours(origin):
    return origin is not None and origin.startswith(_OURS + os.sep)
