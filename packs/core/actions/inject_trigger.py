"""Hands a trigger to the API, as sensors do."""

from st2common.runners.base_action import Action
from st2common.services.api_client import ApiClient


class InjectTrigger(Action):
    def run(self, trigger=None, trigger_name=None, payload=None, trace_tag=None):
        if bool(trigger) == bool(trigger_name):
            raise ValueError("give trigger_name, or trigger, but not both")
        headers = {"St2-Trace-Tag": trace_tag} if trace_tag else None
        body = {"trigger": trigger_name or trigger, "payload": payload or {}}
        return ApiClient.from_environment().post("/webhooks/st2", body, headers)
