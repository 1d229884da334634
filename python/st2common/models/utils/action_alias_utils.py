"""Matching a chat command against the formats of an alias (contract 10).

A format is a regular expression with holes: `{{ name }}` takes a value, `{{ name = default }}` may be left out. Around it
stand anchors unless the format has its own. `key=value` pairs at the end of a command are extra parameters.
"""

import re

from st2common.exceptions.content import ParseException

__all__ = ["ActionAliasFormatParser", "extract_parameters_for_action_alias_db", "extract_parameters"]

_VALUE = r'""|\'\'|"(.+?)"|\'(.+?)\'|({.+?})|(\S+)'
_PAIR = re.compile(r"(?:^|\s+)\s*(\S+?)\s*=(" + _VALUE + r")", re.DOTALL)
_PAIRS_AT_END = re.compile(r".*?((?:" + _PAIR.pattern + r"\s*)*)$", re.DOTALL)
_DEFAULT = r'""|\'\'|"(.+?)"|\'(.+?)\'|({.+?})|(.+?)'
_OPTIONAL = re.compile(r"(\s*){{\s*(\S+?)\s*\s*=\s*(?:" + _DEFAULT + r")\s*}}", re.DOTALL)
_REQUIRED = re.compile(r"(\s*){{\s*(\S+?)\s*}}")
# A value: what stands between quotes (which are not part of it), a text in braces, or as little as possible.
_HOLE = r'%s["\']?(?P<%s>(?:(?<=\').+?(?=\')|(?<=").+?(?=")|{.+?}|.+?))["\']?'


class ActionAliasFormatParser:
    """One format and one command."""

    def __init__(self, alias_format=None, param_stream=None):
        self._format = alias_format or ""
        self._command = param_stream or ""
        ending = _PAIRS_AT_END.match(self._command).group(1)
        self._extra = {pair[0]: "".join(pair[2:]) for pair in _PAIR.findall(ending)} if ending else {}
        rest = self._command.replace(ending, "") if ending else self._command
        self._text = " %s " % rest
        self._defaults = {hole[1]: "".join(hole[2:]) for hole in _OPTIONAL.findall(self._format)}
        self._regex = re.compile(_anchored(_expression(self._format)), re.DOTALL)

    def get_extracted_param_value(self):
        """The parameters. A command that does not match raises ParseException."""
        return self._parameters(self._regex.search(self._text))

    def get_multiple_extracted_param_value(self):
        return [self._parameters(match) for match in self._regex.finditer(self._text)]

    def _parameters(self, match):
        if match is None:
            raise ParseException('Command "%s" doesn\'t match format string "%s"' % (self._command, self._format))
        result = match.groupdict()
        for name, default in self._defaults.items():
            result[name] = result[name] or default
        result.update(self._extra)
        if self._format and not self._text.strip() and not any(result.values()):
            raise ParseException("No value supplied and no default value found.")
        return result


def _expression(text):
    text = _OPTIONAL.sub(lambda hole: "(?:" + _HOLE % (hole.group(1), hole.group(2)) + ")?", text)
    return _REQUIRED.sub(lambda hole: _HOLE % (hole.group(1), hole.group(2)), text)


def _anchored(expression):
    """Anchors both ends unless the expression does so itself, somewhere."""
    plain = re.sub(r"\\[^AZ]|\[(?:\\.|[^\]\\])*\]", "", expression)
    if not re.search(r"\^|\\A", plain):
        expression = r"^\s*" + expression
    if not re.search(r"\$|\\Z", plain):
        expression += r"\s*$"
    return expression


def extract_parameters(format_str, param_stream, match_multiple=False):
    parser = ActionAliasFormatParser(format_str, param_stream)
    return parser.get_multiple_extracted_param_value() if match_multiple else parser.get_extracted_param_value()


def extract_parameters_for_action_alias_db(action_alias_db, format_str, param_stream, match_multiple=False):
    """Only for formats that the alias has."""
    if format_str not in action_alias_db.get_format_strings():
        raise ValueError('Format string "%s" is not available on the alias "%s"' % (format_str, action_alias_db.name))
    return extract_parameters(format_str, param_stream, match_multiple)
