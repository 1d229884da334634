"""The key-value store as actions and sensors see it."""

from st2common.constants.keyvalue import DATASTORE_KEY_SEPARATOR, FULL_SYSTEM_SCOPE, SYSTEM_SCOPE

__all__ = ["KeyValuePair", "BaseDatastoreService", "ActionDatastoreService", "SensorDatastoreService"]

PAGE = 100


class KeyValuePair:
    """One key: `name`, `value` and what else the API tells of it, as attributes."""

    def __init__(self, **fields):
        self.name = None
        self.value = None
        self.__dict__.update(fields)

    def __repr__(self):
        # Not the value: it may be a secret.
        return "<KeyValuePair name=%s>" % self.name


class BaseDatastoreService:
    """Keys are local to a pack's class (`PACK.CLASS:NAME`) unless `local=False`.

    A key that is missing and a request that fails both read as None; the latter is logged.
    """

    DATASTORE_NAME_SEPARATOR = DATASTORE_KEY_SEPARATOR

    def __init__(self, logger, pack_name, class_name):
        self._logger = logger
        self._pack_name = pack_name
        self._class_name = class_name

    def get_api_client(self):
        raise NotImplementedError

    def get_user_info(self):
        return self.get_api_client().get("/user")

    def list_values(self, local=True, prefix=None, limit=None, offset=0):
        prefix = self._full_name(prefix or "", local) or None
        pairs = self.get_api_client().get("/keys", prefix=prefix, limit=limit or PAGE, offset=offset or 0)
        return [KeyValuePair(**pair) for pair in pairs]

    def get_value(self, name, local=True, scope=SYSTEM_SCOPE, decrypt=False):
        _check(scope)
        name = self._full_name(name, local)
        try:
            pair = self._request("GET", name, decrypt=str(bool(decrypt)).lower(), scope=SYSTEM_SCOPE)
        except Exception as error:
            self._log_failure("reading", name, error)
            return None
        return pair.get("value") if pair else None

    def set_value(self, name, value, ttl=None, local=True, scope=SYSTEM_SCOPE, encrypt=False):
        _check(scope)
        name = self._full_name(name, local)
        body = {"name": name, "value": str(value), "scope": SYSTEM_SCOPE}
        if encrypt:
            body["secret"] = True
        if ttl:
            body["ttl"] = ttl
        self.get_api_client().put(_path(name), body)
        return True

    def delete_value(self, name, local=True, scope=SYSTEM_SCOPE):
        _check(scope)
        name = self._full_name(name, local)
        try:
            self._request("DELETE", name, scope=SYSTEM_SCOPE)
        except Exception as error:
            self._log_failure("deleting", name, error)
            return False
        return True

    def _request(self, method, name, **query):
        return self.get_api_client().request(method, _path(name), query=query)

    def _log_failure(self, doing, name, error):
        # A key that does not exist is an ordinary answer, not worth a traceback.
        if getattr(error, "status", None) == 404:
            self._logger.debug("%s key %s: it does not exist", doing, name)
        else:
            self._logger.error("%s key %s failed: %s", doing, name, error)

    def _full_name(self, name, local):
        if not local:
            return name
        return "%s.%s%s%s" % (self._pack_name, self._class_name, self.DATASTORE_NAME_SEPARATOR, name)


class ActionDatastoreService(BaseDatastoreService):
    """With the token of the execution."""

    def __init__(self, logger, pack_name, class_name, auth_token):
        super().__init__(logger, pack_name, class_name)
        self._auth_token = auth_token
        self._client = None

    def get_api_client(self):
        if self._client is None:
            from st2common.services.api_client import ApiClient

            self._client = ApiClient.from_environment()
            self._client.token = self._auth_token
        return self._client


class SensorDatastoreService(BaseDatastoreService):
    """With the client of the sensor's process, whose token may be renewed."""

    def __init__(self, logger, pack_name, class_name, client):
        super().__init__(logger, pack_name, class_name)
        self._client = client

    def get_api_client(self):
        return self._client


def _path(name):
    import urllib.parse

    return "/keys/" + urllib.parse.quote(name, safe="")


def _check(scope):
    if scope not in (SYSTEM_SCOPE, FULL_SYSTEM_SCOPE):
        raise ValueError("Scope %s is unsupported." % scope)
