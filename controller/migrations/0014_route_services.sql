-- Services that see the requests of routes before the apps do.

ALTER TABLE service_instances ADD COLUMN route_service_url TEXT;

CREATE TABLE route_bindings (
    guid TEXT PRIMARY KEY,
    route_guid TEXT NOT NULL UNIQUE REFERENCES routes (guid) ON DELETE CASCADE,
    service_instance_guid TEXT NOT NULL REFERENCES service_instances (guid) ON DELETE CASCADE,
    space_guid TEXT NOT NULL REFERENCES spaces (guid),
    labels TEXT NOT NULL, annotations TEXT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL);
CREATE INDEX route_bindings_instance ON route_bindings (service_instance_guid);
CREATE INDEX route_bindings_space ON route_bindings (space_guid);
