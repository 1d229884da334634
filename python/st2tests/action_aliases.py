"""Tests of aliases."""

import glob
import json
import os

from st2common.constants.pack import MANIFEST_FILE_NAME
from st2common.exceptions.content import ParseException
from st2common.models.utils.action_alias_utils import extract_parameters, extract_parameters_for_action_alias_db
from st2common.util.pack import get_pack_metadata, get_pack_ref_from_metadata
from st2tests.pack_resource import BasePackResourceTestCase

__all__ = ["BaseActionAliasTestCase", "ActionAlias"]


class ActionAlias:
    """An alias as its file describes it."""

    def __init__(self, pack, document):
        self.pack = document.get("pack") or pack
        self.name = document["name"]
        self.ref = "%s.%s" % (self.pack, self.name)
        self.description = document.get("description")
        self.enabled = document.get("enabled", True)
        self.action_ref = document["action_ref"]
        self.formats = document.get("formats") or []
        self.ack = document.get("ack") or {}
        self.result = document.get("result") or {}
        self.extra = document.get("extra") or {}
        self.immutable_parameters = document.get("immutable_parameters") or {}

    def get_format_strings(self):
        """Every format a command may have."""
        strings = []
        for entry in self.formats:
            if isinstance(entry, dict):
                representation = entry.get("representation") or []
                strings.extend([representation] if isinstance(representation, str) else representation)
            else:
                strings.append(entry)
        return strings


class BaseActionAliasTestCase(BasePackResourceTestCase):
    """Set `action_alias_name`; `action_alias_db` is the alias of that name."""

    action_alias_name = None
    action_alias_db = None

    def setUp(self):
        super().setUp()
        if not self.action_alias_name:
            raise ValueError('"action_alias_name" class attribute needs to be provided')
        self.action_alias_db = self._alias(self.action_alias_name)

    def assertCommandMatchesExactlyOneFormatString(self, format_strings, command):
        matched = [format_string for format_string in format_strings if _matches(format_string, command)]
        if not matched:
            raise AssertionError('Command "%s" didn\'t match any of the provided format strings' % command)
        if len(matched) > 1:
            raise AssertionError('Command "%s" matched multiple format strings: %s' % (command, ", ".join(matched)))

    def assertExtractedParametersMatch(self, format_string, command, parameters):
        extracted = extract_parameters_for_action_alias_db(self.action_alias_db, format_string, command)
        self.assertEqual(
            extracted,
            parameters,
            'Extracted parameters from command string "%s" against format string "%s" didn\'t match the provided '
            "parameters" % (command, format_string),
        )

    def _alias(self, name):
        pack_path = self._get_base_pack_path()
        if os.path.isfile(os.path.join(pack_path, MANIFEST_FILE_NAME)):
            pack = get_pack_ref_from_metadata(get_pack_metadata(pack_path))
        else:
            pack = os.path.basename(pack_path)
        for path in sorted(glob.glob(os.path.join(pack_path, "aliases", "*"))):
            document = _read(path)
            if document and document.get("name") == name:
                return ActionAlias(pack, document)
        raise ValueError('Alias with name "%s" not found' % name)


def _matches(format_string, command):
    try:
        extract_parameters(format_string, command)
    except ParseException:
        return False
    return True


def _read(path):
    if path.endswith(".json"):
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    if path.endswith((".yaml", ".yml")):
        import yaml

        with open(path, encoding="utf-8") as file:
            return yaml.safe_load(file)
    return None
