-- Services that users provide themselves, and the apps that get their credentials.

CREATE TABLE service_instances (
    guid TEXT PRIMARY KEY, name TEXT NOT NULL, space_guid TEXT NOT NULL REFERENCES spaces (guid),
    credentials TEXT NOT NULL,         -- encrypted with the cluster's key
    tags TEXT NOT NULL, labels TEXT NOT NULL, annotations TEXT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL,
    UNIQUE (space_guid, name));

CREATE TABLE service_bindings (
    guid TEXT PRIMARY KEY,
    name TEXT,                         -- what the app calls the service, if not as it is called
    app_guid TEXT NOT NULL REFERENCES apps (guid),
    service_instance_guid TEXT NOT NULL REFERENCES service_instances (guid),
    labels TEXT NOT NULL, annotations TEXT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL,
    UNIQUE (app_guid, service_instance_guid));
CREATE UNIQUE INDEX service_bindings_name ON service_bindings (app_guid, name) WHERE name IS NOT NULL;
CREATE INDEX service_bindings_instance ON service_bindings (service_instance_guid);
