"""Where packs lie.

`ST2_PACKS_BASE_PATHS` (colon separated) names the folders that hold packs, the system's first.
"""

import os

__all__ = [
    "get_system_packs_base_path",
    "get_packs_base_paths",
    "get_pack_base_path",
    "get_pack_directory",
    "get_pack_file_abs_path",
    "get_pack_resource_file_abs_path",
    "get_relative_path_to_pack_file",
    "get_entry_point_abs_path",
    "get_action_libs_abs_path",
    "check_pack_directory_exists",
    "check_pack_content_directory_exists",
]

DEFAULT_BASE_PATHS = "/opt/stackstorm/packs"
_RESOURCE_FOLDERS = {"action": "actions", "sensor": "sensors", "rule": "rules"}


def get_packs_base_paths():
    paths = (os.environ.get("ST2_PACKS_BASE_PATHS") or DEFAULT_BASE_PATHS).split(":")
    return list(dict.fromkeys(path for path in paths if path))


def get_system_packs_base_path():
    return get_packs_base_paths()[0]


def get_pack_directory(pack_name):
    """The folder of a pack, or None."""
    for base in get_packs_base_paths():
        path = os.path.abspath(os.path.join(base, pack_name))
        if os.path.isdir(path):
            return path
    return None


def get_pack_base_path(pack_name, include_trailing_slash=False, use_pack_cache=False):
    """The folder of a pack; where it would be if there is none of that name."""
    if not pack_name:
        return None
    path = get_pack_directory(pack_name) or os.path.abspath(os.path.join(get_packs_base_paths()[0], pack_name))
    return path + os.sep if include_trailing_slash else path


def check_pack_directory_exists(pack):
    return get_pack_directory(pack) is not None


def check_pack_content_directory_exists(pack, content_type):
    return any(os.path.exists(os.path.join(base, pack, content_type)) for base in get_packs_base_paths())


def get_pack_file_abs_path(pack_ref, file_path, resource_type=None, use_pack_cache=False):
    """The path of a pack's file. A path that would leave the pack is refused."""
    base = get_pack_base_path(pack_ref)
    if os.path.normpath("/" + file_path) != "/" + file_path:
        folder = os.path.join(base, _RESOURCE_FOLDERS.get(resource_type, ""))
        raise ValueError('Invalid file path: "%s". It must be relative to %s' % (file_path, folder))
    return os.path.join(base, file_path)


def get_pack_resource_file_abs_path(pack_ref, resource_type, file_path):
    folder = _RESOURCE_FOLDERS.get(resource_type)
    if folder is None:
        raise ValueError("Invalid resource type: %s" % resource_type)
    return get_pack_file_abs_path(pack_ref, os.path.join(folder, file_path), resource_type)


def get_relative_path_to_pack_file(pack_ref, file_path, use_pack_cache=False):
    if not os.path.isabs(file_path):
        return file_path
    return os.path.relpath(_inside(pack_ref, os.path.abspath(file_path)), get_pack_base_path(pack_ref))


def get_entry_point_abs_path(pack=None, entry_point=None, use_pack_cache=False):
    if not entry_point:
        return None
    if os.path.isabs(entry_point):
        return _inside(pack, entry_point)
    return get_pack_resource_file_abs_path(pack, "action", entry_point)


def get_action_libs_abs_path(pack=None, entry_point=None):
    path = get_entry_point_abs_path(pack, entry_point)
    return os.path.join(os.path.dirname(path), "lib") if path else None


def _inside(pack, path):
    base = get_pack_base_path(pack)
    if os.path.commonpath([base, path]) != base:
        raise ValueError('The file "%s" is located outside of the pack directory %s' % (path, base))
    return path
