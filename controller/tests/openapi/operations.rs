//! The one table of the API's operations. A test holds it to the routers, both ways.

/// Method, path | who may | request | status and response | what it does.
///
/// Who: `bearer` a user's access token, `client` the client's name in Basic, `basic` the bulk account,
/// `signed` the signature in the address, `-` anybody. Documents are named as in [`super::document`];
/// `[X]` is a page of them, `{}` a document that says nothing, `job` the address of a job in `Location`.
const TABLE: &str = "
GET / | - | | 200 Root | Where everything is
GET /v3 | - | | 200 Index | The addresses of the nouns
GET /v3/ | - | | 200 Index | The addresses of the nouns, as some clients write it
GET /v3/info | - | | 200 Info | Name and version
GET /v3/apps | bearer | | 200 [App] | Lists apps
POST /v3/apps | bearer | CreateApp | 201 App | Makes an app
GET /v3/apps/{guid} | bearer | | 200 App | Shows an app
PATCH /v3/apps/{guid} | bearer | UpdateApp | 200 App | Changes name, lifecycle or metadata
DELETE /v3/apps/{guid} | bearer | | 202 job | Deletes an app with all that belongs to it
POST /v3/apps/{guid}/actions/start | bearer | | 200 App | Starts an app
POST /v3/apps/{guid}/actions/stop | bearer | | 200 App | Stops an app
POST /v3/apps/{guid}/actions/restart | bearer | | 200 App | Replaces all instances of an app
POST /v3/apps/{guid}/actions/clear_buildpack_cache | bearer | | 202 job | Deletes what buildpacks kept
GET /v3/apps/{guid}/env | bearer | | 200 AppEnvironment | Shows the whole environment of an app
GET /v3/apps/{guid}/environment_variables | bearer | | 200 EnvironmentVariables | Shows the user's variables
PATCH /v3/apps/{guid}/environment_variables | bearer | ChangeVariables | 200 EnvironmentVariables | Changes variables; null takes one away
GET /v3/apps/{guid}/features | bearer | | 200 [AppFeature] | Lists what an app could do
GET /v3/apps/{guid}/features/{name} | bearer | | 200 AppFeature | Shows one feature
PATCH /v3/apps/{guid}/features/{name} | bearer | Switch | 200 AppFeature | Switches a feature; of those there are, `ssh` can be switched off
GET /v3/apps/{guid}/ssh_enabled | bearer | | 200 SshEnabled | Whether developers may go inside, and if not, why
GET /v3/apps/{guid}/relationships/current_droplet | bearer | | 200 CurrentDroplet | Names the droplet of the next start
PATCH /v3/apps/{guid}/relationships/current_droplet | bearer | One | 200 CurrentDroplet | Sets the droplet of the next start
GET /v3/apps/{guid}/revisions | bearer | | 200 [Revision] | Lists what an app ran with, each time that changed
GET /v3/apps/{guid}/revisions/deployed | bearer | | 200 [Revision] | The revisions that instances run now
GET /v3/apps/{guid}/manifest | bearer | | 200 yaml Manifest | The manifest of an app as it is
GET /v3/revisions/{guid} | bearer | | 200 Revision | Shows a revision
PATCH /v3/revisions/{guid} | bearer | UpdateRevision | 200 Revision | Changes metadata of a revision
GET /v3/revisions/{guid}/environment_variables | bearer | | 200 EnvironmentVariables | The variables an app was started with
GET /v3/apps/{guid}/tasks | bearer | | 200 [Task] | Lists the tasks of an app
POST /v3/apps/{guid}/tasks | bearer | CreateTask | 202 Task | Runs a command once with the app's droplet
GET /v3/apps/{guid}/processes | bearer | | 200 [Process] | Lists the processes of an app
GET /v3/apps/{guid}/processes/{kind} | bearer | | 200 Process | Shows a process by its type
PATCH /v3/apps/{guid}/processes/{kind} | bearer | UpdateProcess | 200 Process | Changes command or health check
POST /v3/apps/{guid}/processes/{kind}/actions/scale | bearer | Scale | 202 Process | Changes instances, memory or disk
GET /v3/apps/{guid}/processes/{kind}/stats | bearer | | 200 ProcessStats | What is seen of each instance
DELETE /v3/apps/{guid}/processes/{kind}/instances/{index} | bearer | | 204 | Replaces one instance
GET /v3/apps/{guid}/packages | bearer | | 200 [Package] | Lists the packages of an app
GET /v3/apps/{guid}/builds | bearer | | 200 [Build] | Lists the builds of an app
GET /v3/apps/{guid}/droplets | bearer | | 200 [Droplet] | Lists the droplets of an app
GET /v3/apps/{guid}/droplets/current | bearer | | 200 Droplet | Shows the droplet of the next start
GET /v3/apps/{guid}/routes | bearer | | 200 [Route] | Lists the routes of an app
GET /v3/apps/{guid}/sidecars | bearer | | 200 [Nothing] | Sidecars: there are none
GET /v3/processes | bearer | | 200 [Process] | Lists processes; their commands are hidden
GET /v3/processes/{guid} | bearer | | 200 Process | Shows a process
PATCH /v3/processes/{guid} | bearer | UpdateProcess | 200 Process | Changes command or health check
POST /v3/processes/{guid}/actions/scale | bearer | Scale | 202 Process | Changes instances, memory or disk
GET /v3/processes/{guid}/stats | bearer | | 200 ProcessStats | What is seen of each instance
DELETE /v3/processes/{guid}/instances/{index} | bearer | | 204 | Replaces one instance
GET /v3/processes/{guid}/sidecars | bearer | | 200 [Nothing] | Sidecars: there are none
GET /v3/packages | bearer | | 200 [Package] | Lists packages
POST /v3/packages | bearer | CreatePackage | 201 Package | Makes a package that waits for its bits, or a copy of another
GET /v3/packages/{guid} | bearer | | 200 Package | Shows a package
GET /v3/packages/{guid}/download | bearer | | 200 bytes | The bits of a package, a zip
POST /v3/packages/{guid}/upload | bearer | multipart Upload | 200 Package | Takes the bits of a package
GET /v3/packages/{guid}/droplets | bearer | | 200 [Droplet] | Lists the droplets of a package
POST /v3/resource_matches | bearer | ResourceMatches | 201 ResourceMatches | Which files need not be sent
GET /v3/builds | bearer | | 200 [Build] | Lists builds
POST /v3/builds | bearer | CreateBuild | 201 Build | Stages a package
GET /v3/builds/{guid} | bearer | | 200 Build | Shows a build
GET /v3/droplets | bearer | | 200 [Droplet] | Lists droplets; their commands are hidden
POST /v3/droplets | bearer | CreateDroplet | 201 Droplet | Makes a droplet that waits for its bits, or a copy of another
GET /v3/droplets/{guid} | bearer | | 200 Droplet | Shows a droplet
POST /v3/droplets/{guid}/upload | bearer | multipart DropletUpload | 202 job | Takes the bits of a droplet; the job tells whether they are one
GET /v3/droplets/{guid}/download | bearer | | 200 bytes | The bits of a droplet, a gzipped tar
GET /v3/deployments | bearer | | 200 [Deployment] | Lists deployments
POST /v3/deployments | bearer | CreateDeployment | 201 Deployment | Replaces the instances of an app step by step
GET /v3/deployments/{guid} | bearer | | 200 Deployment | Shows a deployment
POST /v3/deployments/{guid}/actions/cancel | bearer | | 200 Deployment | Goes back to the instances from before
POST /v3/deployments/{guid}/actions/continue | bearer | | 200 Deployment | Has a canary that pauses go on
GET /v3/tasks | bearer | | 200 [Task] | Lists tasks, without their commands
GET /v3/tasks/{guid} | bearer | | 200 Task | Shows a task
PATCH /v3/tasks/{guid} | bearer | UpdateTask | 200 Task | Changes metadata of a task
POST /v3/tasks/{guid}/actions/cancel | bearer | | 202 Task | Ends a task
PUT /v3/tasks/{guid}/cancel | bearer | | 202 Task | The same, as some clients write it
GET /v3/jobs/{guid} | bearer | | 200 Job | Shows how a job ended
POST /v3/spaces/{guid}/actions/apply_manifest | bearer | yaml Manifest | 202 job | Makes apps as a manifest says
POST /v3/spaces/{guid}/manifest_diff | bearer | yaml Manifest | 201 ManifestDiff | What a manifest would change
GET /v3/organizations | bearer | | 200 [Organization] | Lists organizations
POST /v3/organizations | bearer | WriteOrganization | 201 Organization | Makes an organization
GET /v3/organizations/{guid} | bearer | | 200 Organization | Shows an organization
PATCH /v3/organizations/{guid} | bearer | WriteOrganization | 200 Organization | Changes an organization
DELETE /v3/organizations/{guid} | bearer | | 202 job | Deletes an organization with all that belongs to it
PATCH /v3/organizations/{guid}/ | bearer | WriteOrganization | 200 Organization | The same, as some clients write it
DELETE /v3/organizations/{guid}/ | bearer | | 202 job | The same, as some clients write it
GET /v3/organizations/{guid}/relationships/default_isolation_segment | bearer | | 200 ToOne | Isolation segment: there is none
PATCH /v3/organizations/{guid}/relationships/default_isolation_segment | bearer | MaybeOne | 200 ToOne | Takes null only
GET /v3/organizations/{guid}/domains | bearer | | 200 [Domain] | Lists the domains an organization can use
GET /v3/organizations/{guid}/domains/default | bearer | | 200 Domain | Shows the domain of default routes
GET /v3/organizations/{guid}/usage_summary | bearer | | 200 UsageSummary | What counts against the quota of an organization
GET /v3/organization_quotas | bearer | | 200 [OrganizationQuota] | Lists quotas of organizations
POST /v3/organization_quotas | bearer | CreateOrganizationQuota | 201 OrganizationQuota | Makes a quota of organizations
GET /v3/organization_quotas/{guid} | bearer | | 200 OrganizationQuota | Shows a quota of organizations
PATCH /v3/organization_quotas/{guid} | bearer | UpdateOrganizationQuota | 200 OrganizationQuota | Changes a quota of organizations
DELETE /v3/organization_quotas/{guid} | bearer | | 202 job | Deletes a quota that no organization has
POST /v3/organization_quotas/{guid}/relationships/organizations | bearer | Many | 200 Holders | Gives a quota to organizations
GET /v3/space_quotas | bearer | | 200 [SpaceQuota] | Lists quotas of spaces
POST /v3/space_quotas | bearer | CreateSpaceQuota | 201 SpaceQuota | Makes a quota of spaces of an organization
GET /v3/space_quotas/{guid} | bearer | | 200 SpaceQuota | Shows a quota of spaces
PATCH /v3/space_quotas/{guid} | bearer | UpdateSpaceQuota | 200 SpaceQuota | Changes a quota of spaces
DELETE /v3/space_quotas/{guid} | bearer | | 202 job | Deletes a quota of spaces; those that have it have none then
POST /v3/space_quotas/{guid}/relationships/spaces | bearer | Many | 200 Holders | Gives a quota to spaces
DELETE /v3/space_quotas/{guid}/relationships/spaces/{space} | bearer | | 204 | Takes a quota away from a space
GET /v3/spaces | bearer | | 200 [Space] | Lists spaces
POST /v3/spaces | bearer | CreateSpace | 201 Space | Makes a space
GET /v3/spaces/{guid} | bearer | | 200 Space | Shows a space
GET /v3/spaces/{guid}/usage_summary | bearer | | 200 UsageSummary | What counts against the quota of a space
PATCH /v3/spaces/{guid} | bearer | UpdateSpace | 200 Space | Changes a space
DELETE /v3/spaces/{guid} | bearer | | 202 job | Deletes a space with all that belongs to it
GET /v3/spaces/{guid}/relationships/isolation_segment | bearer | | 200 ToOne | Isolation segment: there is none
PATCH /v3/spaces/{guid}/relationships/isolation_segment | bearer | MaybeOne | 200 ToOne | Takes null only
GET /v3/spaces/{guid}/running_security_groups | bearer | | 200 [Nothing] | Security groups: there are none
GET /v3/spaces/{guid}/staging_security_groups | bearer | | 200 [Nothing] | Security groups: there are none
GET /v3/spaces/{guid}/features | bearer | | 200 SpaceFeatures | Lists what a space could do
GET /v3/spaces/{guid}/features/ssh | bearer | | 200 AppFeature | Whether developers may go inside the apps of a space
PATCH /v3/spaces/{guid}/features/ssh | bearer | Switch | 200 AppFeature | Lets developers go inside the apps of a space, or not
DELETE /v3/spaces/{guid}/routes | bearer | | 202 job | Deletes the routes of a space that lead nowhere
GET /v3/users | bearer | | 200 [User] | Lists users: all for administrators, those of their organizations for managers
POST /v3/users | bearer | CreateUser | 201 User | Finds the account that was made at the token endpoints
GET /v3/users/{guid} | bearer | | 200 User | Shows a user
DELETE /v3/users/{guid} | bearer | | 202 job | Deletes a user
GET /v3/roles | bearer | | 200 [Role] | Lists roles
POST /v3/roles | bearer | CreateRole | 201 Role | Gives a user a role
GET /v3/roles/{guid} | bearer | | 200 Role | Shows a role
DELETE /v3/roles/{guid} | bearer | | 202 job | Takes a role away
GET /v3/domains | bearer | | 200 [Domain] | Lists domains
POST /v3/domains | bearer | CreateDomain | 201 Domain | Makes a domain
GET /v3/domains/{guid} | bearer | | 200 Domain | Shows a domain
DELETE /v3/domains/{guid} | bearer | | 202 job | Deletes a domain
GET /v3/domains/{guid}/route_reservations | bearer | | 200 RouteReservation | Whether a route is taken
GET /v3/routes | bearer | | 200 [Route] | Lists routes
POST /v3/routes | bearer | CreateRoute | 201 Route | Makes a route
GET /v3/routes/{guid} | bearer | | 200 Route | Shows a route
PATCH /v3/routes/{guid} | bearer | UpdateRoute | 200 Route | Changes metadata of a route
PATCH /v3/routes/{guid}/relationships/space | bearer | One | 200 CurrentSpace | Gives a route that leads nowhere to another space
GET /v3/routes/{guid}/relationships/shared_spaces | bearer | | 200 SharedSpaces | The spaces a route is shared with: there are none
POST /v3/routes/{guid}/relationships/shared_spaces | bearer | | refused | Routes are in one space each
DELETE /v3/routes/{guid}/relationships/shared_spaces/{space} | bearer | | refused | Routes are in one space each
DELETE /v3/routes/{guid} | bearer | | 202 job | Deletes a route
GET /v3/routes/{guid}/destinations | bearer | | 200 Destinations | Lists where a route leads
POST /v3/routes/{guid}/destinations | bearer | WriteDestinations | 200 Destinations | Adds destinations
PATCH /v3/routes/{guid}/destinations | bearer | WriteDestinations | 200 Destinations | Replaces all destinations
PATCH /v3/routes/{guid}/destinations/{destination} | bearer | UpdateDestination | 200 Destination | Changes a destination
DELETE /v3/routes/{guid}/destinations/{destination} | bearer | | 204 | Takes a destination away
GET /v3/service_instances | bearer | | 200 [ServiceInstance] | Lists services
POST /v3/service_instances | bearer | CreateServiceInstance | 201 ServiceInstance | Makes a user-provided service known
GET /v3/service_instances/{guid} | bearer | | 200 ServiceInstance | Shows a service
PATCH /v3/service_instances/{guid} | bearer | UpdateServiceInstance | 200 ServiceInstance | Changes a service
DELETE /v3/service_instances/{guid} | bearer | | 204 | Deletes a service and its bindings
GET /v3/service_instances/{guid}/credentials | bearer | | 200 {} | Shows the credentials of a service
GET /v3/service_instances/{guid}/parameters | bearer | | refused | User-provided services have no parameters
GET /v3/service_instances/{guid}/permissions | bearer | | 200 ServicePermissions | What the bearer may do with a service
GET /v3/service_instances/{guid}/relationships/shared_spaces | bearer | | 200 SharedSpaces | The spaces a service is shared with: there are none
POST /v3/service_instances/{guid}/relationships/shared_spaces | bearer | | refused | User-provided services cannot be shared
GET /v3/service_instances/{guid}/relationships/shared_spaces/usage_summary | bearer | | 200 SharedSpacesUsage | Who uses a shared service: nobody
GET /v3/service_credential_bindings | bearer | | 200 [ServiceCredentialBinding] | Lists which apps get the credentials of which services
POST /v3/service_credential_bindings | bearer | CreateServiceBinding | 201 ServiceCredentialBinding | Binds an app to a service
GET /v3/service_credential_bindings/{guid} | bearer | | 200 ServiceCredentialBinding | Shows a binding
PATCH /v3/service_credential_bindings/{guid} | bearer | UpdateServiceBinding | 200 ServiceCredentialBinding | Changes metadata of a binding
DELETE /v3/service_credential_bindings/{guid} | bearer | | 204 | Unbinds an app from a service
GET /v3/service_credential_bindings/{guid}/details | bearer | | 200 ServiceCredentialBindingDetails | Shows the credentials that an app gets
GET /v3/service_route_bindings | bearer | | 200 [ServiceRouteBinding] | Lists which routes have their requests go to which services first
POST /v3/service_route_bindings | bearer | CreateRouteBinding | 201 ServiceRouteBinding | Binds a route to a service
GET /v3/service_route_bindings/{guid} | bearer | | 200 ServiceRouteBinding | Shows a binding of a route
PATCH /v3/service_route_bindings/{guid} | bearer | UpdateServiceBinding | 200 ServiceRouteBinding | Changes metadata of a binding of a route
DELETE /v3/service_route_bindings/{guid} | bearer | | 204 | Unbinds a route from a service
GET /v3/service_route_bindings/{guid}/parameters | bearer | | refused | User-provided services have no parameters
GET /v3/service_credential_bindings/{guid}/parameters | bearer | | refused | User-provided services have no parameters
GET /v3/audit_events | bearer | | 200 [AuditEvent] | Lists who did what
GET /v3/audit_events/{guid} | bearer | | 200 AuditEvent | Shows one event
GET /v3/feature_flags | bearer | | 200 [FeatureFlag] | Lists what the platform can do
GET /v3/feature_flags/{name} | bearer | | 200 FeatureFlag | Shows one flag
PATCH /v3/feature_flags/{name} | bearer | | refused | Flags cannot be changed
GET /v3/stacks | bearer | | 200 [Stack] | Lists stacks
PATCH /v3/stacks/{guid} | bearer | | refused | Stacks are as the machines are
POST /v3/stacks | bearer | | refused | Stacks cannot be made
GET /v3/stacks/{guid} | bearer | | 200 Stack | Shows a stack
GET /v3/buildpacks | bearer | | 200 [Buildpack] | Lists buildpacks
POST /v3/buildpacks | bearer | CreateBuildpack | 201 Buildpack | Makes a buildpack that waits for its archive
POST /v3/buildpacks/ | bearer | CreateBuildpack | 201 Buildpack | The same, as some clients write it
GET /v3/buildpacks/{guid} | bearer | | 200 Buildpack | Shows a buildpack
PATCH /v3/buildpacks/{guid} | bearer | UpdateBuildpack | 200 Buildpack | Changes a buildpack, or its place in the order of detection
DELETE /v3/buildpacks/{guid} | bearer | | 202 job | Deletes a buildpack that was uploaded
POST /v3/buildpacks/{guid}/upload | bearer | multipart BuildpackUpload | 202 job | Takes the archive of a buildpack; the job tells whether it is one
GET /v3/environment_variable_groups/{name} | bearer | | 200 VariableGroup | Variables of all apps: `running` or `staging`
PATCH /v3/environment_variable_groups/{name} | bearer | ChangeVariables | 200 VariableGroup | Changes them; null takes one away
GET /login | - | | 200 LoginInfo | How to log in
POST /oauth/token | client | form Grant | 200 TokenResponse | Gives tokens for a password or a refresh token
GET /oauth/authorize | bearer | | 302 | Gives a code for one login by SSH, in the address that is redirected to
GET /Users | bearer | | 200 Accounts | Finds accounts by name
POST /Users | bearer | CreateAccount | 201 Account | Makes an account
DELETE /Users/{guid} | bearer | | 200 {} | Deletes an account
PUT /Users/{guid}/password | bearer | ChangePassword | 200 {} | Changes a password and ends the sessions
GET /yard/v1/config | bearer | | 200 ConfigList | The configuration of the cluster
GET /yard/v1/config/watch | bearer | | 200 events ConfigEntry | Each change of the configuration as it happens
GET /yard/v1/config/history | bearer | | 200 ConfigHistory | Who changed what, the newest first
POST /yard/v1/config/changes | bearer | ConfigChanges | 200 ConfigOutcome | Several edits, all or none; or what they would change
POST /yard/v1/config/rollback | bearer | ConfigRollback | 200 ConfigOutcome | Back to a revision of the history
GET /yard/v1/config/export | bearer | | 200 ConfigTree | Everything that is set
POST /yard/v1/config/import | bearer | ConfigImport | 200 ConfigOutcome | Sets everything as a tree has it, all or nothing
GET /yard/v1/config/{path} | bearer | | 200 ConfigEntry | Shows a key
PUT /yard/v1/config/{path} | bearer | ConfigChange | 200 ConfigEntry | Changes a key
DELETE /yard/v1/config/{path} | bearer | | 204 | Takes a key back to its default
GET /yard/v1/history | bearer | | 200 [AdminCommand] | Who ran which administrative command
GET /yard/v1/status | bearer | | 200 ClusterStatus | Components, agents, leader, and what waits for what
GET /yard/v1/packages/{guid}/files | bearer | | 200 PackageFiles | What a package holds, with checksums
GET /yard/v1/apps/{guid}/why | bearer | | 200 Why | The last restarts, failures and placements of an app, each with the chain of its causes
PUT /yard/v1/agents/{id}/drain | bearer | | 200 AgentDrain | Empties an agent: it takes no more work, and what it has is moved elsewhere
DELETE /yard/v1/agents/{id}/drain | bearer | | 204 | Lets an agent that was emptied take work again
GET /yard/v1/nodes | bearer | | 200 NodeList | The machines of the cluster, their roles and daemons
GET /yard/v1/nodes/{machine} | bearer | | 200 SeenNode | Shows a machine
POST /yard/v1/nodes/{machine}/roles | bearer | RoleChanges | 200 SeenNode | Gives a machine more or fewer daemons of a role; its node starts them, or empties and stops them
GET /yard/v1/router/routes | bearer | | 200 RouterTables | What each router knows of routes: endpoints, their states with the reasons, and who left lately
GET /yard/v1/router/certificates | bearer | | 200 RouterCertificates | Certificates of the routers' entrances for TLS, and those that are wanted: their states with the reasons
GET /routing/v1/router_groups | bearer | | 200 RouterGroup[] | Which ports routes may have; with a name only the group of that name
GET /routing/v1/router_groups/{guid} | bearer | | 200 RouterGroup | Shows a router group
GET /yard/v1/openapi.json | - | | 200 Description | This document
GET /internal/blobs/{key} | signed | | 200 bytes | Reads a blob
HEAD /internal/blobs/{key} | signed | | 200 | The size of a blob
PUT /internal/blobs/{key} | signed | bytes | 200 BlobDigests | Writes a blob
GET /internal/log_access/{app_guid} | bearer | | 200 {} | Whether the bearer may read the log of an app
POST /internal/ssh/permits | - | SshLogin | 200 SshPermit | Takes a code for the right to ask for sessions in one instance
POST /internal/ssh/entries | bearer | | 200 SshEntry | Where a session of the permit that is the bearer token is opened
GET /bulk/apps | basic | | 200 BulkPage | The desired state, page by page
GET /bulk/counts | basic | | 200 Counts | How many users there are
GET /bulk/crashes | basic | | 200 BulkCrashes | What crashed since then, the newest first
";

/// Lists of what is not supported: always empty; one of them is never found, and none can be made.
const ABSENT: &[&str] = &[
    "service_offerings",
    "service_plans",
    "service_brokers",
    "security_groups",
    "isolation_segments",
];

/// Parameters in the query that are not those of a list: operation, name and type (`!`: required).
pub const QUERIES: &[(&str, &str)] = &[
    ("GET /v3/apps/{guid}", "include:string"),
    (
        "GET /v3/service_credential_bindings/{guid}",
        "include:string",
    ),
    ("GET /v3/service_route_bindings/{guid}", "include:string"),
    (
        "GET /v3/domains/{guid}/route_reservations",
        "host:string path:string port:string",
    ),
    ("DELETE /v3/spaces/{guid}/routes", "unmapped!:boolean"),
    ("POST /v3/packages", "source_guid:string"),
    ("POST /v3/droplets", "source_guid:string"),
    ("GET /yard/v1/apps/{guid}/why", "limit:integer"),
    ("GET /yard/v1/router/routes", "host:string limit:integer"),
    ("GET /routing/v1/router_groups", "name:string"),
    ("POST /oauth/token", "login_hint:string"),
    (
        "GET /oauth/authorize",
        "response_type!:string client_id!:string grant_type:string",
    ),
    ("GET /Users", "filter:string"),
    ("PUT /yard/v1/config/{path}", "component:string"),
    (
        "DELETE /yard/v1/config/{path}",
        "component:string revision:integer",
    ),
    (
        "GET /yard/v1/config/history",
        "path:string per_page:integer",
    ),
    (
        "GET /internal/blobs/{key}",
        "expires!:integer signature!:string",
    ),
    (
        "HEAD /internal/blobs/{key}",
        "expires!:integer signature!:string",
    ),
    (
        "PUT /internal/blobs/{key}",
        "expires!:integer signature!:string",
    ),
    ("GET /bulk/apps", "batch_size:integer bulk_token:string"),
    ("GET /bulk/counts", "model!:string"),
    ("GET /bulk/crashes", "since!:integer"),
];

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    pub method: String,
    pub path: String,
    pub auth: String,
    /// Empty: none. Else a document, after its encoding if that is not JSON.
    pub request: String,
    /// None: it is always refused.
    pub status: Option<u16>,
    pub response: String,
    pub summary: String,
}

impl Operation {
    /// `GET /v3/apps`
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// What a page of this list holds.
    pub fn listed(&self) -> Option<&str> {
        self.response.strip_prefix('[')?.strip_suffix(']')
    }

    pub fn path_parameters(&self) -> Vec<&str> {
        self.path
            .split('{')
            .skip(1)
            .filter_map(|rest| rest.split('}').next())
            .collect()
    }

    /// The path with something in place of each parameter.
    pub fn example(&self) -> String {
        self.path
            .split('{')
            .map(|part| {
                part.split_once('}')
                    .map_or(part.to_string(), |(_, rest)| format!("none{rest}"))
            })
            .collect()
    }
}

fn parse(line: &str) -> Operation {
    let columns: Vec<&str> = line.split('|').map(str::trim).collect();
    let [address, auth, request, answer, summary] = columns[..] else {
        panic!("five columns: {line}")
    };
    let (method, path) = address.split_once(' ').expect("a method and a path");
    let (status, response) = answer.split_once(' ').unwrap_or((answer, ""));
    Operation {
        method: method.into(),
        path: path.into(),
        auth: auth.into(),
        request: request.into(),
        status: (status != "refused").then(|| status.parse().expect("a status")),
        response: response.into(),
        summary: summary.into(),
    }
}

pub fn all() -> Vec<Operation> {
    let absent = ABSENT.iter().flat_map(|noun| {
        let what = noun.replace('_', " ");
        [
            format!("GET /v3/{noun} | bearer | | 200 [Nothing] | There are no {what}"),
            format!("POST /v3/{noun} | bearer | | refused | There can be no {what}"),
            format!("GET /v3/{noun}/{{guid}} | - | | refused | There are no {what}"),
        ]
    });
    let table = TABLE
        .lines()
        .filter(|line| !line.is_empty())
        .map(str::to_string);
    table.chain(absent).map(|line| parse(&line)).collect()
}
