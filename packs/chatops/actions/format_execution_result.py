"""Writes the result of an execution as a chat message: by the alias it came from, or by a default template."""

import os

import six

from st2common.runners.base_action import Action
from st2common.services.api_client import ApiClient
from st2common.util import jinja

TEMPLATE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "templates", "default.j2")
LEFT_OUT = "trigger,trigger_type,trigger_instance,liveaction"


class FormatExecutionResult(Action):
    def run(self, execution_id):
        api = ApiClient.from_environment()
        execution = api.get("/executions/" + execution_id, exclude_attributes=LEFT_OUT)
        # What an execution has not, its document leaves out; templates may still ask for it.
        for name, empty in (("context", {}), ("parameters", {}), ("result", None)):
            execution.setdefault(name, empty)
        context = {"execution": execution, "six": six}
        answer = {"enabled": True}
        template = None
        reference = (execution["context"].get("action_alias_ref") or {}).get("id")
        if reference:
            alias = api.get("/actionalias/" + reference)
            context["alias"] = alias
            wanted = alias.get("result") or {}
            answer["enabled"] = wanted.get("enabled", True)
            template = wanted.get("format")
            if wanted.get("extra"):
                answer["extra"] = jinja.render_values(wanted["extra"], context, allow_undefined=True)
        if template is None:
            with open(TEMPLATE, encoding="utf-8") as file:
                template = file.read()
        environment = jinja.get_jinja_environment(allow_undefined=True)
        answer["message"] = environment.from_string(template).render(context)
        return answer
