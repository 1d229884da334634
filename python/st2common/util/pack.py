"""Reading a pack's metadata."""

import os
import re

from st2common.constants.pack import COMMON_LIB_DIR, MANIFEST_FILE_NAME, PACK_REF_WHITELIST_REGEX, RESERVED_PACK_LIST

__all__ = [
    "get_pack_ref_from_metadata",
    "get_pack_metadata",
    "get_pack_warnings",
    "get_pack_common_libs_path_for_pack_ref",
    "normalize_pack_version",
]


def get_pack_ref_from_metadata(metadata, pack_directory_name=None):
    """`ref`, or else the folder's name, or else the name, if it has the form of a reference."""
    if metadata.get("ref"):
        ref = metadata["ref"]
    elif pack_directory_name and re.match(PACK_REF_WHITELIST_REGEX, pack_directory_name):
        ref = pack_directory_name
    elif re.match(PACK_REF_WHITELIST_REGEX, metadata["name"]):
        ref = metadata["name"]
    else:
        raise ValueError(
            'The pack\'s name "%s" has other characters than a-z, 0-9 and _, and there is no "ref"' % metadata["name"]
        )
    if ref in RESERVED_PACK_LIST:
        raise ValueError('"%s" is reserved and cannot be a pack\'s name' % ref)
    return ref


def get_pack_metadata(pack_dir):
    import yaml

    path = os.path.join(pack_dir, MANIFEST_FILE_NAME)
    if not os.path.isfile(path):
        raise ValueError('Pack "%s" is missing %s file' % (pack_dir, MANIFEST_FILE_NAME))
    with open(path, encoding="utf-8") as file:
        content = yaml.safe_load(file)
    if not content:
        raise ValueError('Pack "%s" metadata file is empty' % pack_dir)
    return content


def get_pack_warnings(pack_metadata):
    versions = pack_metadata.get("python_versions")
    if versions and {str(version) for version in versions} == {"2"}:
        return "Pack %s is for Python 2 only, which is not available." % pack_metadata.get("name")
    return None


def get_pack_common_libs_path_for_pack_ref(pack_ref):
    from st2common.content.utils import get_pack_base_path

    return os.path.join(get_pack_base_path(pack_ref), COMMON_LIB_DIR)


def normalize_pack_version(version):
    """`0.2` becomes `0.2.0`."""
    version = str(version)
    return version + ".0" if version.count(".") == 1 else version
