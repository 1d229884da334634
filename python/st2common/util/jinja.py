"""Templates with the filters and the strictness that rules and workflows have."""

import json

__all__ = ["get_filters", "get_jinja_environment", "render_values", "is_jinja_expression", "convert_jinja_to_raw_block"]

JINJA_EXPRESSIONS_START_MARKERS = ["{{", "{%"]


def get_filters():
    from st2common.util import jinja_filters

    return {name: getattr(jinja_filters, name) for name in jinja_filters.NAMES}


def get_jinja_environment(allow_undefined=False, trim_blocks=True, lstrip_blocks=True):
    """A sandboxed environment; unknown names are errors unless `allow_undefined`."""
    import jinja2
    import jinja2.sandbox

    environment = jinja2.sandbox.SandboxedEnvironment(
        undefined=jinja2.Undefined if allow_undefined else jinja2.StrictUndefined,
        trim_blocks=trim_blocks,
        lstrip_blocks=lstrip_blocks,
    )
    environment.filters.update(get_filters())
    environment.tests["in"] = lambda item, items: item in items
    return environment


def render_values(mapping=None, context=None, allow_undefined=False):
    """Renders the values of a dictionary.

    Lists and dictionaries are rendered as JSON text and parsed again. A value without a template keeps its type; a failure
    carries the key and the value as attributes.
    """
    if not mapping or not context:
        return mapping
    environment = get_jinja_environment(allow_undefined)
    names = dict({"__context": context}, **context)
    rendered = {}
    for key, value in mapping.items():
        structured = isinstance(value, (dict, list))
        text = json.dumps(value) if structured else str(value)
        try:
            result = environment.from_string(text).render(names)
        except Exception as error:
            error.key, error.value = key, text
            raise
        if result == text:
            rendered[key] = value
        else:
            rendered[key] = json.loads(result) if structured else result
    return rendered


def is_jinja_expression(value):
    return isinstance(value, str) and any(marker in value for marker in JINJA_EXPRESSIONS_START_MARKERS)


def convert_jinja_to_raw_block(value):
    """Protects what looks like a template from being rendered."""
    if isinstance(value, dict):
        return {key: convert_jinja_to_raw_block(item) for key, item in value.items()}
    if isinstance(value, list):
        return [convert_jinja_to_raw_block(item) for item in value]
    if is_jinja_expression(value) and any(end in value for end in ("}}", "%}")):
        return "{% raw %}" + value + "{% endraw %}"
    return value
