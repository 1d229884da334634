"""A datastore in memory."""

from st2common.constants.keyvalue import SYSTEM_SCOPE
from st2common.services.datastore import BaseDatastoreService, KeyValuePair

__all__ = ["MockDatastoreService"]


class MockDatastoreService(BaseDatastoreService):
    """Keeps values as they are given, of whatever type. Time to live is not kept."""

    def __init__(self, logger, pack_name, class_name, api_username=None):
        super().__init__(logger, pack_name, class_name)
        self._username = api_username or "admin"
        self._datastore_items = {}

    def get_user_info(self):
        return {
            "username": self._username,
            "rbac": {"is_admin": True, "enabled": True, "roles": ["admin"]},
            "authentication": {"method": "authentication token", "location": "header"},
        }

    def list_values(self, local=True, prefix=None, limit=None, offset=0):
        start = self._full_name(prefix or "", local)
        found = [pair for name, pair in self._datastore_items.items() if name.startswith(start)][offset or 0:]
        return found[:limit] if limit else found

    def get_value(self, name, local=True, scope=SYSTEM_SCOPE, decrypt=False):
        pair = self._datastore_items.get(self._full_name(name, local))
        return None if pair is None else pair.value

    def set_value(self, name, value, ttl=None, local=True, scope=SYSTEM_SCOPE, encrypt=False):
        if ttl:
            self._logger.warning("The mocked datastore does not expire keys.")
        name = self._full_name(name, local)
        self._datastore_items[name] = KeyValuePair(id=name, name=name, value=value, ttl=ttl, scope=scope)
        return True

    def delete_value(self, name, local=True, scope=SYSTEM_SCOPE):
        return self._datastore_items.pop(self._full_name(name, local), None) is not None
