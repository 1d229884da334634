-- Domains whose routes have ports of the routers instead of hosts and paths. A port is one route's, whatever its domain:
-- routers know a connection by nothing else.

ALTER TABLE domains ADD COLUMN router_group_guid TEXT;

CREATE UNIQUE INDEX routes_port ON routes (protocol, port) WHERE port > 0;
