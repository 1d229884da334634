//! The documents. Answers are described by the types of `proto::api`; what is made without a type of its
//! own, and requests, whose types only the controller knows, by a line each.

use serde_json::{Map, Value, json};
use utoipa::PartialSchema;

/// Name, and `field:type` for each field: `!` it must be there, `?` it may be null, `[]` a list. Types are
/// `string`, `integer`, `boolean`, `object`, `any`, `map` (names to texts or null), or another document.
pub const REQUESTS: &[(&str, &str)] = &[
    (
        "CreateApp",
        "name!:string lifecycle:LifecycleChange environment_variables:map metadata:MetadataChange relationships!:ToSpace",
    ),
    (
        "UpdateApp",
        "name:string lifecycle:LifecycleChange metadata:MetadataChange",
    ),
    ("LifecycleChange", "type:string data:LifecycleDataChange"),
    ("LifecycleDataChange", "buildpacks:string[]? stack:string?"),
    ("MetadataChange", "labels:map annotations:map"),
    ("ToSpace", "space!:One"),
    ("ToApp", "app!:One"),
    ("ToOrganization", "organization!:One"),
    ("One", "data!:GuidRef"),
    ("MaybeOne", "data:GuidRef?"),
    ("Many", "data!:GuidRef[]"),
    ("ChangeVariables", "var!:map"),
    ("Switch", "enabled!:boolean"),
    (
        "CreatePackage",
        "type:string data:object metadata:MetadataChange relationships!:ToApp",
    ),
    (
        "CreateBuild",
        "package!:GuidRef lifecycle:LifecycleChange staging_memory_in_mb:integer staging_disk_in_mb:integer metadata:MetadataChange",
    ),
    (
        "CreateDeployment",
        "strategy:string droplet:GuidRef revision:GuidRef options:CreateDeploymentOptions metadata:MetadataChange relationships!:ToApp",
    ),
    (
        "CreateDeploymentOptions",
        "max_in_flight:integer? canary:CanaryOptions? web_instances:integer? memory_in_mb:integer? disk_in_mb:integer? log_rate_limit_in_bytes_per_second:integer?",
    ),
    (
        "CreateTask",
        "name:string? command:string? template:TaskTemplate memory_in_mb:integer? disk_in_mb:integer? log_rate_limit_in_bytes_per_second:integer? droplet_guid:string? user:any metadata:MetadataChange",
    ),
    ("TaskTemplate", "process!:GuidRef"),
    ("UpdateTask", "metadata:MetadataChange"),
    ("UpdateRevision", "metadata:MetadataChange"),
    ("CreateDroplet", "process_types:map relationships!:ToApp"),
    (
        "CreateBuildpack",
        "name!:string stack:string? position:integer? enabled:boolean? locked:boolean? lifecycle:string? metadata:MetadataChange",
    ),
    (
        "UpdateBuildpack",
        "name:string? stack:string? position:integer? enabled:boolean? locked:boolean? lifecycle:string? metadata:MetadataChange",
    ),
    (
        "WriteOrganization",
        "name:string suspended:boolean metadata:MetadataChange",
    ),
    (
        "CreateSpace",
        "name!:string metadata:MetadataChange relationships!:ToOrganization",
    ),
    ("UpdateSpace", "name:string metadata:MetadataChange"),
    (
        "CreateOrganizationQuota",
        "name!:string apps:QuotaAppsChange services:QuotaServicesChange routes:QuotaRoutesChange domains:QuotaDomainsChange relationships:ToOrganizations",
    ),
    (
        "UpdateOrganizationQuota",
        "name:string apps:QuotaAppsChange services:QuotaServicesChange routes:QuotaRoutesChange domains:QuotaDomainsChange",
    ),
    (
        "CreateSpaceQuota",
        "name!:string apps:QuotaAppsChange services:QuotaServicesChange routes:QuotaRoutesChange relationships!:SpaceQuotaPlaces",
    ),
    (
        "UpdateSpaceQuota",
        "name:string apps:QuotaAppsChange services:QuotaServicesChange routes:QuotaRoutesChange",
    ),
    ("ToOrganizations", "organizations:Many"),
    ("SpaceQuotaPlaces", "organization!:One spaces:Many"),
    (
        "QuotaAppsChange",
        "total_memory_in_mb:integer? per_process_memory_in_mb:integer? total_instances:integer? per_app_tasks:integer? log_rate_limit_in_bytes_per_second:integer?",
    ),
    (
        "QuotaServicesChange",
        "paid_services_allowed:boolean total_service_instances:integer? total_service_keys:integer?",
    ),
    (
        "QuotaRoutesChange",
        "total_routes:integer? total_reserved_ports:integer?",
    ),
    ("QuotaDomainsChange", "total_domains:integer?"),
    ("CreateUser", "guid:string username:string origin:string"),
    ("CreateRole", "type!:string relationships!:RolePlaces"),
    ("RolePlaces", "user!:ToUser organization:One space:One"),
    ("ToUser", "data!:UserName"),
    ("UserName", "guid:string username:string origin:string"),
    (
        "CreateDomain",
        "name!:string internal:boolean router_group:GuidRef relationships:DomainPlaces metadata:MetadataChange",
    ),
    (
        "DomainPlaces",
        "organization:MaybeOne shared_organizations:Many",
    ),
    (
        "CreateRoute",
        "host:string path:string port:integer options:object metadata:MetadataChange relationships!:RoutePlaces",
    ),
    ("RoutePlaces", "space!:One domain!:One"),
    (
        "CreateServiceInstance",
        "type!:string name!:string credentials:object? syslog_drain_url:string? route_service_url:string? tags:string[]? parameters:any metadata:MetadataChange relationships!:ServicePlaces",
    ),
    ("ServicePlaces", "space!:One service_plan:One"),
    (
        "UpdateServiceInstance",
        "name:string? credentials:object? syslog_drain_url:string? route_service_url:string? tags:string[]? metadata:MetadataChange",
    ),
    (
        "CreateServiceBinding",
        "type!:string name:string? parameters:any strategy:string? metadata:MetadataChange relationships!:ServiceBindingEnds",
    ),
    ("ServiceBindingEnds", "service_instance!:One app:One"),
    ("UpdateServiceBinding", "metadata:MetadataChange"),
    (
        "CreateRouteBinding",
        "parameters:object? metadata:MetadataChange relationships!:RouteBindingEnds",
    ),
    ("RouteBindingEnds", "service_instance!:One route!:One"),
    ("UpdateRoute", "options:object metadata:MetadataChange"),
    (
        "WriteDestinations",
        "destinations!:WriteDestination[] links:any",
    ),
    (
        "WriteDestination",
        "app!:DestinationApp weight:integer? port:integer? protocol:string? guid:any created_at:any updated_at:any",
    ),
    ("UpdateDestination", "protocol:string?"),
    (
        "UpdateProcess",
        "command:string? health_check:HealthCheckChange readiness_health_check:HealthCheckChange user:any metadata:MetadataChange",
    ),
    (
        "HealthCheckChange",
        "type:string data:HealthCheckDataChange",
    ),
    (
        "HealthCheckDataChange",
        "timeout:integer? invocation_timeout:integer? interval:integer? endpoint:string?",
    ),
    (
        "Grant",
        "grant_type!:string username:string password:string passcode:string refresh_token:string client_id:string client_secret:string",
    ),
    (
        "CreateAccount",
        "userName!:string password!:string origin:string name:any emails:any schemas:any",
    ),
    (
        "ChangePassword",
        "oldPassword:string password!:string schemas:any",
    ),
    (
        "SshLogin",
        "code!:string process!:string index:integer? crashed!:boolean",
    ),
];

/// Answers without a type in `proto::api`. Fields may come that are not named here.
const ANSWERS: &[(&str, &str)] = &[
    ("Index", "links!:object"),
    ("Nothing", ""),
    ("SshPermit", "permit!:string"),
    ("SshEntry", "address!:string? ticket!:string"),
    ("Holders", "data!:GuidRef[] links!:object"),
    ("SshEnabled", "enabled!:boolean reason!:string"),
    ("ServicePermissions", "read!:boolean manage!:boolean"),
    ("SharedSpaces", "data!:any links!:object"),
    ("SharedSpacesUsage", "usage_summary!:any links!:object"),
    ("SpaceFeatures", "features!:AppFeature[]"),
    ("CurrentDroplet", "data!:GuidRef links!:object"),
    ("CurrentSpace", "data!:GuidRef links!:object"),
    (
        "FeatureFlag",
        "name!:string enabled!:boolean updated_at:string? custom_error_message:string? links!:object",
    ),
    (
        "Stack",
        "guid!:string name!:string description!:string default!:boolean state!:string metadata!:Metadata links!:object",
    ),
    (
        "VariableGroup",
        "name!:string var!:map updated_at:string? links!:object",
    ),
    (
        "Account",
        "id!:string userName!:string origin!:string active!:boolean verified!:boolean name!:object emails!:any schemas!:any",
    ),
    (
        "Accounts",
        "startIndex!:integer itemsPerPage!:integer totalResults!:integer resources!:Account[] schemas!:any",
    ),
    ("Description", "openapi!:string"),
    (
        "BlobDigests",
        "sha1!:string sha256!:string size_in_bytes!:integer",
    ),
    ("BulkPage", "results!:object bulk_token!:object"),
    ("BulkCrashes", "crashes!:object[]"),
    ("Counts", "counts!:object"),
    ("RoutingError", "name!:string message!:string"),
];

pub fn kind(text: &str) -> Value {
    if let Some(inner) = text.strip_suffix('?') {
        return match kind(inner) {
            Value::Object(mut schema) if schema.get("type").is_some_and(Value::is_string) => {
                let one = schema["type"].take();
                schema.insert("type".into(), json!([one, "null"]));
                Value::Object(schema)
            }
            schema => json!({"oneOf": [schema, {"type": "null"}]}),
        };
    }
    if let Some(inner) = text.strip_suffix("[]") {
        return json!({"type": "array", "items": kind(inner)});
    }
    match text {
        "any" => json!({}),
        "map" => json!({"type": "object", "additionalProperties": {"type": ["string", "null"]}}),
        "string" | "integer" | "boolean" | "object" => json!({"type": text}),
        name => json!({"$ref": format!("#/components/schemas/{name}")}),
    }
}

/// `name!:type` taken apart: name, must be there, type.
pub fn field(text: &str) -> (&str, bool, &str) {
    let (name, kind) = text.split_once(':').expect("a name and a type");
    (name.trim_end_matches('!'), name.ends_with('!'), kind)
}

fn object(fields: &str, closed: bool) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, must, of) in fields.split_whitespace().map(field) {
        properties.insert(name.into(), kind(of));
        if must {
            required.push(name);
        }
    }
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if closed {
        schema["additionalProperties"] = json!(false);
    }
    schema
}

macro_rules! documents {
    ($($name:ident)+) => {
        [$((stringify!($name), json!(proto::api::$name::schema()))),+]
    };
}

/// All documents by name.
pub fn all() -> Map<String, Value> {
    let typed = documents! {
        Info Link Metadata GuidRef ToOne ToMany Pagination Included Lifecycle LifecycleData Checksum
        App AppRelationships AppEnvironment EnvironmentVariables AppFeature
        AdminCommand AuditEvent AuditParty Build BuildRelationships Buildpack CreatedBy
        ConfigList ConfigEntry ConfigOverride ConfigChange ConfigChanges ConfigEdit ConfigRollback ConfigImport ConfigTree ConfigOutcome ConfigDifference ConfigHistory ConfigRevision ConfigStep ClusterStatus SeenComponent SeenAgent AgentDrain Leader WaitingThing NodeList SeenNode SeenDaemon RoleChanges RouterTables RouterTable RouterCertificates RouterCertificate RoutedName RoutedEndpoint EndpointFailure DepartedEndpoint
        Deployment DeploymentStatus DeploymentDetails DeploymentOptions CanaryStatus CanaryProgress CanaryOptions CanaryStep DeployedRevision NewProcess DeploymentRelationships
        Revision RevisionProcess RevisionRelationships
        Domain DomainRelationships RouterGroup Droplet DropletBuildpack DropletRelationships
        ErrorDocument ApiError TokenError Job JobWarning ManifestDiff ManifestChange Organization
        Package PackageData PackageRelationships PackageFiles PackageFile
        Process ProcessRelationships HealthCheck HealthCheckData ProcessInstance Scale ProcessStats InstanceStats InstancePort InstanceUsage
        ResourceMatches Resource ResourceChecksum Role RoleRelationships
        Route RouteRelationships Destinations Destination DestinationApp DestinationProcess RouteReservation
        OrganizationQuota OrganizationQuotaRelationships SpaceQuota SpaceQuotaRelationships
        QuotaApps QuotaServices QuotaRoutes QuotaDomains UsageSummary Usage
        ServiceInstance ServiceInstanceRelationships LastOperation
        ServiceCredentialBinding ServiceCredentialBindingRelationships ServiceCredentialBindingDetails
        ServiceRouteBinding ServiceRouteBindingRelationships
        Space SpaceRelationships Task TaskRelationships TaskResult TokenResponse LoginInfo User
        Why WhyApp WhyOutcome WhyCause
    };
    let mut schemas: Map<String, Value> = typed
        .into_iter()
        .map(|(name, schema)| (name.to_string(), schema))
        .collect();
    let upload = json!({
        "type": "object",
        "properties": {
            "bits": {"type": "string", "contentMediaType": "application/zip"},
            "resources": {"type": "array", "items": kind("Resource")},
        },
    });
    schemas.insert("Upload".into(), upload);
    let upload = json!({
        "type": "object",
        "required": ["bits"],
        "properties": {"bits": {"type": "string", "contentMediaType": "application/zip"}},
    });
    schemas.insert("BuildpackUpload".into(), upload);
    let upload = json!({
        "type": "object",
        "required": ["bits"],
        "properties": {"bits": {"type": "string", "contentMediaType": "application/gzip"}},
    });
    schemas.insert("DropletUpload".into(), upload);
    let links = json!({"type": "object", "additionalProperties": kind("Link?")});
    schemas.insert(
        "Root".into(),
        json!({"type": "object", "required": ["links"], "properties": {"links": links}}),
    );
    schemas.insert(
        "Manifest".into(),
        json!({"type": "object", "properties": {"applications": {"type": "array"}}}),
    );
    for (entries, closed) in [(REQUESTS, true), (ANSWERS, false)] {
        for (name, fields) in entries {
            let before = schemas.insert(name.to_string(), object(fields, closed));
            assert_eq!(before, None, "{name} twice");
        }
    }
    schemas
}
