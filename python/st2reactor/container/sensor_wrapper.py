"""The service that a sensor gets. How events leave the process is the business of what is handed in."""

from st2common import log
from st2common.constants.keyvalue import SYSTEM_SCOPE
from st2common.models.api.trace import TraceContext

__all__ = ["SensorService"]


class SensorService:
    """`dispatcher` is called with (trigger, payload, trace tag)."""

    def __init__(self, logger, dispatcher, datastore_service):
        self._logger = logger
        self._dispatcher = dispatcher
        self._datastore_service = datastore_service

    @property
    def datastore_service(self):
        return self._datastore_service

    def get_logger(self, name):
        return log.getLogger("%s.%s" % (self._logger.name, name))

    def get_user_info(self):
        return self.datastore_service.get_user_info()

    def dispatch(self, trigger, payload=None, trace_tag=None):
        context = TraceContext(trace_tag=trace_tag) if trace_tag else None
        return self.dispatch_with_context(trigger, payload, context)

    def dispatch_with_context(self, trigger, payload=None, trace_context=None):
        tag = getattr(trace_context, "trace_tag", None)
        return self._dispatcher(trigger, payload if payload is not None else {}, tag)

    def list_values(self, local=True, prefix=None, limit=None, offset=None):
        return self.datastore_service.list_values(local=local, prefix=prefix, limit=limit, offset=offset or 0)

    def get_value(self, name, local=True, scope=SYSTEM_SCOPE, decrypt=False):
        return self.datastore_service.get_value(name=name, local=local, scope=scope, decrypt=decrypt)

    def set_value(self, name, value, ttl=None, local=True, scope=SYSTEM_SCOPE, encrypt=False):
        return self.datastore_service.set_value(
            name=name, value=value, ttl=ttl, local=local, scope=scope, encrypt=encrypt
        )

    def delete_value(self, name, local=True, scope=SYSTEM_SCOPE):
        return self.datastore_service.delete_value(name=name, local=local, scope=scope)
