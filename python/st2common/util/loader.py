"""Loading a class from a file by its name."""

import importlib.util
import os
import sys

__all__ = ["register_plugin_class"]


def register_plugin_class(base_class, file_path, class_name):
    """The class of that name. It must implement every abstract method of the base class."""
    folder = os.path.dirname(os.path.realpath(file_path))
    if folder not in sys.path:
        sys.path.append(folder)
    name = os.path.splitext(os.path.basename(file_path))[0]
    spec = importlib.util.spec_from_file_location(name, file_path)
    if spec is None:
        raise ValueError("%s is not a Python file" % file_path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = getattr(module, class_name, None)
    if found is None:
        raise ValueError('"%s" doesn\'t expose class named "%s"' % (file_path, class_name))
    for method in sorted(base_class.__abstractmethods__):
        implementation = getattr(found, method, None)
        if not callable(implementation) or getattr(implementation, "__isabstractmethod__", False):
            raise ValueError('Class "%s" doesn\'t implement the method "%s"' % (class_name, method))
    return found
