-- What rules were told of the traffic of an app ("app:GUID") or a route ("route:HOST/PATH"), so that a new leader
-- tells nothing twice. millirequests: thousandths of a request a second.
CREATE TABLE told_traffic (
    subject TEXT PRIMARY KEY, erring BIGINT NOT NULL, millirequests BIGINT NOT NULL, updated_at BIGINT NOT NULL);
