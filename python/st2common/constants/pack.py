"""Names of a pack's files, and of packs that are special."""

PACKS_PACK_NAME = "packs"
PACK_REF_WHITELIST_REGEX = r"^[a-z0-9_]+$"
PACK_VERSION_REGEX = r"^\d+(\.\d+){1,2}(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$"
PACK_RESERVED_CHARACTERS = ["."]
PACK_VERSION_SEPARATOR = "="
SYSTEM_PACK_NAME = "core"
SYSTEM_PACK_NAMES = ["chatops", "core", "default", "packs", "yard"]
USER_PACK_NAME_BLACKLIST = ["_global"]
RESERVED_PACK_LIST = ["_global"]
DEFAULT_PACK_NAME = "default"
COMMON_LIB_DIR = "lib"
MANIFEST_FILE_NAME = "pack.yaml"
CONFIG_SCHEMA_FILE_NAME = "config.schema.yaml"
