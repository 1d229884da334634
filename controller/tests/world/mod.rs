//! A controller's runtime between a real bus, a real cluster store and played agents and stagers.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests"
)]

#[path = "../../../daemon/tests/servers/mod.rs"]
mod servers;

use controller::blobs::Blobs;
use controller::domain::access::Actor;
use controller::ops::Ops;
use controller::ops::tokens::Tokens;
use controller::runtime::{Runtime, RuntimeConfig};
use controller::store::apps::App;
use controller::store::buildpacks;
use controller::store::domains::Domain;
use controller::store::droplets::Droplet;
use controller::store::facts::{self, Kind};
use controller::store::processes::{self, Process};
use controller::store::routes::{Destination, Route};
use controller::store::{Json, Store, organizations::Organization, quotas, spaces::Space};
use controller::vault::Vault;
use daemon::{Bus, BusConfig, Cluster, ComponentId, Deps, Role, Sockets, StoreConfig};
use proto::bus::catalogue;
use proto::bus::dea::{Advertisement, Hello, PlacementProperties, StartInstance, UpdateInstances};
use proto::bus::health::{Beat, ExitReason, Exited, Heartbeat, InstanceState};
use proto::bus::staging::{Acknowledged, StagingReply, StagingRequest};
use proto::ids::{DeaId, InstanceId, ProcessGuid, StagerQueue, Version};
pub use servers::Etcd;
use servers::Nats;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

pub const SOON: Duration = Duration::from_secs(45);

/// Whether a program is there; says loudly when not.
pub fn has(test: &str, program: &str) -> bool {
    servers::has(test, program)
}

/// Whether the servers are there; says loudly when not.
pub fn has_servers(test: &str) -> bool {
    ["nats-server", "etcd"]
        .into_iter()
        .all(|program| servers::has(test, program))
}

pub fn now() -> i64 {
    i64::try_from(
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_micros(),
    )
    .unwrap()
}

/// Waits until `check` gives something; shows its last refusal if it never does.
pub async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match check().await {
            Ok(value) => return value,
            Err(status) if begun.elapsed() > SOON => {
                panic!("{what}, not within {SOON:?}: {status}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

pub const COMPONENTS: [(Role, &str); 8] = [
    (Role::Controller, "controller-1"),
    (Role::Controller, "controller-2"),
    (Role::Dea, "dea-1"),
    (Role::Dea, "dea-2"),
    (Role::Stager, "stager-1"),
    (Role::HealthManager, "health-manager-1"),
    (Role::Router, "router-1"),
    (Role::Router, "router-2"),
];

/// A controller on threads of its own.
pub struct Apart {
    pub runtime: Runtime,
    pub deps: Deps,
    pub store: Store,
    /// Some until it is killed.
    threads: Option<tokio::runtime::Runtime>,
}

impl Drop for Apart {
    fn drop(&mut self) {
        // It would wait for its threads, which nothing may do where tests run.
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

impl Apart {
    /// Does something on its threads.
    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let threads = self.threads.as_ref().expect("it lives");
        tokio::task::block_in_place(|| threads.block_on(work))
    }

    /// Ends it in the middle of whatever it does: nothing is finished, given up or told.
    pub fn kill(self) {
        drop(self);
    }
}

/// The cluster's key: the same for every controller.
pub fn vault() -> Vault {
    Vault::new(::automation::datastore::SymmetricKey::generate(&[7; 64]))
}

pub fn admin() -> Actor {
    Actor {
        guid: "u".into(),
        name: "admin".into(),
        is_admin: true,
        grants: vec![],
    }
}

/// Bus, cluster store, database and blobs.
pub struct World {
    pub folder: tempfile::TempDir,
    nats: Nats,
    /// Members of one cluster.
    pub etcd: Vec<Etcd>,
    pub store: Store,
    pub blobs: Blobs,
}

impl World {
    pub async fn start() -> World {
        let folder = tempfile::tempdir().unwrap();
        let url = format!(
            "sqlite://{}",
            folder.path().join("controller.sqlite").display()
        );
        World::in_folder(folder, Store::open(&url).await.unwrap()).await
    }

    /// With another database.
    pub async fn with_store(store: Store) -> World {
        World::in_folder(tempfile::tempdir().unwrap(), store).await
    }

    /// With another database and a cluster store of three members.
    pub async fn with_three_members(store: Store) -> World {
        let members = Etcd::together(["one", "two", "three"]);
        World::in_folder_with(tempfile::tempdir().unwrap(), store, members.into()).await
    }

    async fn in_folder(folder: tempfile::TempDir, store: Store) -> World {
        World::in_folder_with(folder, store, vec![Etcd::start()]).await
    }

    async fn in_folder_with(folder: tempfile::TempDir, store: Store, etcd: Vec<Etcd>) -> World {
        let blobs = Blobs::open(&folder.path().join("blobs"), b"secret", "127.0.0.1:1").unwrap();
        let world = World {
            folder,
            nats: Nats::start(&COMPONENTS),
            etcd,
            store,
            blobs,
        };
        world.space().await;
        let mut tx = world.store.write("test").await.unwrap();
        let guid = |name: &str| format!("buildpack-{name}");
        buildpacks::make_shipped(&mut tx, "host", guid, now())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        world
    }

    pub fn bus_up(&mut self) {
        self.nats.up();
    }

    pub fn bus_down(&mut self) {
        self.nats.down();
    }

    /// Sets a value of the cluster's configuration, as JSON.
    pub async fn set(&self, path: &str, value: &str) {
        let cluster = Cluster::connect(&self.etcd[0].config("")).await.unwrap();
        let key = format!("{}{path}", proto::config::PREFIX);
        eventually("the setting is stored", async || {
            let set = cluster.compare_and_set(&key, None, value).await;
            set.map_err(|error| error.to_string())
        })
        .await
        .unwrap();
    }

    pub fn bus_of(&self, user: &str) -> BusConfig {
        self.nats.config(user)
    }

    pub async fn connect(&self, user: &str) -> Bus {
        let bus = Bus::connect(&self.bus_of(user), &ComponentId::new(user).unwrap())
            .await
            .unwrap();
        let mut status = bus.status();
        tokio::time::timeout(SOON, status.wait_for(|status| status.connected))
            .await
            .unwrap()
            .unwrap();
        bus
    }

    /// A controller's runtime; keep the dependencies alive as long as it.
    pub async fn controller(&self, name: &str) -> (Runtime, Deps) {
        self.controller_over(name, self.store.clone()).await
    }

    /// A controller that can be killed: it has its threads and its connections for itself.
    pub fn controller_apart(&self, name: &str, database: &str) -> Apart {
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (runtime, deps, store) = tokio::task::block_in_place(|| {
            threads.block_on(async {
                let store = Store::open(database).await.unwrap();
                let (runtime, deps) = self.controller_over(name, store.clone()).await;
                (runtime, deps, store)
            })
        });
        Apart {
            runtime,
            deps,
            store,
            threads: Some(threads),
        }
    }

    async fn controller_over(&self, name: &str, store: Store) -> (Runtime, Deps) {
        self.controller_with(name, store, |_| {}).await
    }

    /// With other surroundings than usual.
    pub async fn controller_with(
        &self,
        name: &str,
        store: Store,
        change: impl FnOnce(&mut RuntimeConfig),
    ) -> (Runtime, Deps) {
        let deps = self.deps(Role::Controller, name, self.folder.path()).await;
        let mut config = RuntimeConfig {
            public_url: "http://api.yard.internal".into(),
            advertise: "127.0.0.1:1".into(),
            bulk_user: "bulk".into(),
            bulk_password: "secret".into(),
            stager_queue: StagerQueue::new("default").unwrap(),
            vault: vault(),
            domain: "yard.internal".into(),
            certificate_seals: None,
        };
        change(&mut config);
        let runtime = Runtime::start(store, self.blobs.clone(), &deps, config)
            .await
            .unwrap();
        (runtime, deps)
    }

    /// What a daemon of this cluster stands on.
    pub async fn deps(&self, role: Role, name: &str, folder: &std::path::Path) -> Deps {
        let bootstrap = serde_json::from_value(serde_json::json!({
            "role": role.name(), "component": name, "index": 1,
            "cluster": {"id": "c0ffee12", "domain": "yard.internal"},
            "home": folder, "folder": folder, "run": folder,
            "bus": self.nats.config(name),
            "store": StoreConfig {
                endpoints: self.etcd.iter().map(Etcd::endpoint).collect(),
                user: String::new(),
                password: String::new(),
            },
            "admin": {"address": format!("127.0.0.1:{}", servers::free_port()), "user": "status", "password": "secret"},
            "settings": {},
        }))
        .unwrap();
        Deps::build(bootstrap, Sockets::none()).await.unwrap()
    }

    /// The operations of the API, as a controller has them.
    pub fn ops(&self, runtime: &Runtime, deps: &Deps) -> Ops {
        Ops {
            store: self.store.clone(),
            blobs: self.blobs.clone(),
            live: controller::live(runtime),
            settings: deps.cluster.settings(),
            scratch: self.folder.path().join("scratch"),
            public_url: "http://api.yard.internal".into(),
            tokens: Arc::new(Tokens::new(
                b"a key of thirty-two characters!!",
                "http://uaa.yard.internal".into(),
            )),
            vault: vault(),
            tasks: deps.tasks.clone(),
        }
    }

    async fn space(&self) {
        let time = now();
        let mut tx = self.store.write("test").await.unwrap();
        Organization {
            guid: "o".into(),
            name: "default".into(),
            suspended: false,
            quota_guid: quotas::DEFAULT_GUID.to_string(),
            labels: Json::default(),
            annotations: Json::default(),
            created_at: time,
            updated_at: time,
            row_version: 1,
        }
        .insert(&mut tx)
        .await
        .unwrap();
        Space {
            guid: "s".into(),
            name: "default".into(),
            organization_guid: "o".into(),
            ssh_allowed: true,
            quota_guid: None,
            labels: Json::default(),
            annotations: Json::default(),
            created_at: time,
            updated_at: time,
            row_version: 1,
        }
        .insert(&mut tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
    }

    /// Routes of an app on a domain of their own; an empty host is the domain itself.
    pub async fn routes_on(&self, domain: &str, hosts: &[&str], app: &str) {
        let time = now();
        let mut tx = self.store.write("test").await.unwrap();
        Domain {
            guid: domain.into(),
            name: domain.into(),
            internal: false,
            organization_guid: Some("o".into()),
            created_at: time,
            updated_at: time,
            row_version: 1,
            router_group_guid: None,
        }
        .insert(&mut tx)
        .await
        .unwrap();
        for host in hosts {
            let guid = format!("{host}.{domain}");
            Route {
                guid: guid.clone(),
                space_guid: "s".into(),
                domain_guid: domain.into(),
                host: host.to_string(),
                path: String::new(),
                port: 0,
                protocol: "http".into(),
                options: Json::default(),
                created_at: time,
                updated_at: time,
                row_version: 1,
            }
            .insert(&mut tx)
            .await
            .unwrap();
            Destination {
                guid: format!("to-{guid}"),
                route_guid: guid,
                app_guid: app.into(),
                process_type: "web".into(),
                port: None,
                protocol: "http1".into(),
                created_at: time,
            }
            .insert(&mut tx)
            .await
            .unwrap();
        }
        tx.commit().await.unwrap();
    }

    /// A started app with a droplet and one web process, with its fact.
    pub async fn app(&self, guid: &str, instances: i64, memory_mb: i64) -> Process {
        let time = now();
        let mut tx = self.store.write("test").await.unwrap();
        let app = App {
            guid: guid.into(),
            name: guid.into(),
            space_guid: "s".into(),
            state: "STARTED".into(),
            buildpacks: Json::default(),
            stack: "host".into(),
            environment: Json(BTreeMap::from([(
                "GREETING".to_string(),
                "hello".to_string(),
            )])),
            current_droplet_guid: Some(format!("{guid}-droplet")),
            ssh_enabled: true,
            labels: Json::default(),
            annotations: Json::default(),
            created_at: time,
            updated_at: time,
            row_version: 1,
        };
        app.insert(&mut tx).await.unwrap();
        droplet(guid, &format!("{guid}-droplet"))
            .insert(&mut tx)
            .await
            .unwrap();
        let process = Process {
            id: processes::next_id(&mut tx).await.unwrap(),
            guid: guid.into(),
            app_guid: guid.into(),
            kind: "web".into(),
            command: None,
            instances,
            scaled_from: None,
            memory_mb,
            disk_mb: 100,
            health_check_type: "port".into(),
            health_check_endpoint: None,
            health_check_timeout: None,
            health_check_invocation_timeout: None,
            health_check_interval: None,
            sleep_after: None,
            asleep_since: None,
            version: uuid::Uuid::new_v4().to_string(),
            droplet_guid: Some(format!("{guid}-droplet")),
            deployment_guid: None,
            revision_guid: None,
            created_at: time,
            updated_at: time,
            row_version: 1,
        };
        process.insert(&mut tx).await.unwrap();
        facts::append(
            &mut tx,
            Kind::ProcessChanged,
            guid,
            serde_json::json!({}),
            time,
        )
        .await
        .unwrap();
        tx.commit().await.unwrap();
        process
    }

    pub async fn process(&self, guid: &str) -> Option<Process> {
        let mut reader = self.store.read().await.unwrap();
        Process::find(&mut reader, guid).await.unwrap()
    }

    /// Changes a process the way the API does.
    pub async fn change(&self, guid: &str, change: impl FnOnce(&mut Process)) {
        let mut tx = self.store.write("test").await.unwrap();
        let mut process = Process::find(&mut tx, guid).await.unwrap().unwrap();
        change(&mut process);
        process.update(&mut tx, now()).await.unwrap();
        facts::append(
            &mut tx,
            Kind::ProcessChanged,
            guid,
            serde_json::json!({}),
            now(),
        )
        .await
        .unwrap();
        tx.commit().await.unwrap();
    }
}

pub fn droplet(app: &str, guid: &str) -> Droplet {
    Droplet {
        guid: guid.into(),
        app_guid: app.into(),
        package_guid: None,
        build_guid: None,
        state: "STAGED".into(),
        sha1: "1".repeat(40),
        sha256: "2".repeat(64),
        size_bytes: 1,
        process_types: Json(BTreeMap::from([("web".to_string(), "run".to_string())])),
        detected_buildpack: String::new(),
        buildpacks: Json::default(),
        stack: "host".into(),
        created_at: now(),
        updated_at: now(),
    }
}

/// What a played agent does with an instance that starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    Run,
    /// It runs after so long.
    Linger(Duration),
    Crash,
}

#[derive(Debug, Clone)]
pub struct Copy {
    pub process: ProcessGuid,
    pub version: Version,
    pub index: u32,
    pub state: InstanceState,
    pub memory_mb: u64,
}

type Decide = Box<dyn Fn(&StartInstance) -> Behaviour + Send>;

/// A played agent: keeps the books an agent keeps, runs nothing.
#[derive(Clone)]
pub struct Agent {
    inner: Arc<AgentInner>,
}

struct AgentInner {
    id: DeaId,
    bus: Bus,
    total_mb: u64,
    behaviour: Mutex<Decide>,
    copies: Mutex<BTreeMap<InstanceId, Copy>>,
    starts: Mutex<Vec<StartInstance>>,
    updates: Mutex<Vec<UpdateInstances>>,
    /// Fewest running since the last look, and the look's start.
    fewest: Mutex<usize>,
}

impl Agent {
    pub async fn start(world: &World, id: &str, total_mb: u64) -> Agent {
        let bus = world.connect(id).await;
        let inner = Arc::new(AgentInner {
            id: DeaId::new(id).unwrap(),
            bus,
            total_mb,
            behaviour: Mutex::new(Box::new(|_| Behaviour::Run)),
            copies: Mutex::default(),
            starts: Mutex::default(),
            updates: Mutex::default(),
            fewest: Mutex::new(usize::MAX),
        });
        let agent = Agent { inner };
        let mut starts = agent
            .inner
            .bus
            .subscribe(&catalogue::dea_start_instance(&agent.inner.id).filter())
            .await
            .unwrap();
        let mut stops = agent
            .inner
            .bus
            .subscribe(&catalogue::dea_stop().filter())
            .await
            .unwrap();
        let mut updates = agent
            .inner
            .bus
            .subscribe(&catalogue::dea_update().filter())
            .await
            .unwrap();
        agent.inner.bus.flush().await.unwrap();
        let me = agent.clone();
        tokio::spawn(async move {
            while let Some(start) = starts.next().await {
                let me = me.clone();
                tokio::spawn(async move { me.run(start.message).await });
            }
        });
        let me = agent.clone();
        tokio::spawn(async move {
            while let Some(stop) = stops.next().await {
                for id in stop.message.instances.unwrap_or_default() {
                    me.end(&id, ExitReason::Stopped).await;
                }
            }
        });
        let me = agent.clone();
        tokio::spawn(async move {
            while let Some(update) = updates.next().await {
                me.inner.updates.lock().unwrap().push(update.message);
            }
        });
        let me = agent.clone();
        tokio::spawn(async move {
            let mut connected = false;
            loop {
                let now_connected = me.inner.bus.status().borrow().connected;
                if now_connected && !connected {
                    let hello = Hello {
                        id: me.inner.id.clone(),
                        ip: "127.0.0.1".into(),
                        port: 0,
                        version: 0.1,
                    };
                    let _ = me.inner.bus.publish(&catalogue::dea_hello(), &hello).await;
                }
                connected = now_connected;
                me.beat().await;
                me.advertise().await;
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        });
        agent
    }

    pub fn behave(&self, behaviour: impl Fn(&StartInstance) -> Behaviour + Send + 'static) {
        *self.inner.behaviour.lock().unwrap() = Box::new(behaviour);
    }

    pub fn copies(&self) -> Vec<Copy> {
        self.inner
            .copies
            .lock()
            .unwrap()
            .values()
            .cloned()
            .collect()
    }

    pub fn ids(&self) -> Vec<InstanceId> {
        self.inner.copies.lock().unwrap().keys().cloned().collect()
    }

    pub fn running(&self) -> usize {
        self.copies()
            .iter()
            .filter(|copy| copy.state == InstanceState::Running)
            .count()
    }

    pub fn starts(&self) -> Vec<StartInstance> {
        self.inner.starts.lock().unwrap().clone()
    }

    pub fn updates(&self) -> Vec<UpdateInstances> {
        self.inner.updates.lock().unwrap().clone()
    }

    /// Fewest that ran at once since the last call.
    pub fn fewest(&self) -> usize {
        std::mem::replace(&mut *self.inner.fewest.lock().unwrap(), self.running())
    }

    async fn run(&self, start: StartInstance) {
        let id = start.yard_instance.clone().unwrap();
        let copy = Copy {
            process: start.droplet.clone(),
            version: start.version.clone(),
            index: start.index,
            state: InstanceState::Starting,
            memory_mb: start.limits.mem,
        };
        let again = self
            .inner
            .copies
            .lock()
            .unwrap()
            .insert(id.clone(), copy)
            .is_some();
        assert!(!again, "one instance was started twice");
        let used: u64 = self.copies().iter().map(|copy| copy.memory_mb).sum();
        assert!(
            used <= self.inner.total_mb,
            "more was placed here than there is room for"
        );
        let behaviour = (self.inner.behaviour.lock().unwrap())(&start);
        self.inner.starts.lock().unwrap().push(start);
        self.tell(&id).await;
        tokio::time::sleep(match behaviour {
            Behaviour::Linger(time) => time,
            Behaviour::Run | Behaviour::Crash => Duration::from_millis(50),
        })
        .await;
        match behaviour {
            Behaviour::Run | Behaviour::Linger(_) => {
                if let Some(copy) = self.inner.copies.lock().unwrap().get_mut(&id) {
                    copy.state = InstanceState::Running;
                }
                self.tell(&id).await;
            }
            Behaviour::Crash => self.end(&id, ExitReason::Crashed).await,
        }
    }

    pub async fn end(&self, id: &InstanceId, reason: ExitReason) {
        let Some(copy) = self.inner.copies.lock().unwrap().remove(id) else {
            return;
        };
        let running = self.running();
        {
            let mut fewest = self.inner.fewest.lock().unwrap();
            *fewest = (*fewest).min(running);
        }
        let exit = Exited {
            droplet: copy.process,
            version: copy.version,
            instance: id.clone(),
            index: copy.index,
            reason,
            crash_timestamp: Some(now() as f64 / 1e6),
            exit_status: 3,
            exit_description: "exited with status 3".into(),
            cc_partition: None,
            yard_dea: Some(self.inner.id.clone()),
            yard_signal: None,
            yard_out_of_memory: None,
            yard_phase: None,
        };
        for _ in 0..5 {
            let told: Result<Acknowledged, _> = self
                .inner
                .bus
                .request(&catalogue::droplet_exited(), &exit, Duration::from_secs(2))
                .await;
            if told.is_ok() {
                break;
            }
        }
    }

    fn beats(&self) -> Vec<Beat> {
        let copies = self.inner.copies.lock().unwrap();
        copies
            .iter()
            .map(|(id, copy)| Beat {
                droplet: copy.process.clone(),
                version: copy.version.clone(),
                instance: id.clone(),
                index: copy.index,
                state: copy.state,
                state_timestamp: now() as f64 / 1e6,
                cc_partition: None,
                yard_stats: None,
                yard_details: None,
            })
            .collect()
    }

    async fn send(&self, droplets: Vec<Beat>, complete: bool) {
        let beat = Heartbeat {
            dea: self.inner.id.clone(),
            droplets,
            yard_complete: Some(complete),
            yard_period: None,
            yard_zone: None,
            yard_tasks: None,
        };
        let _ = self
            .inner
            .bus
            .publish(&catalogue::dea_heartbeat(), &beat)
            .await;
    }

    async fn beat(&self) {
        self.send(self.beats(), true).await;
    }

    async fn tell(&self, id: &InstanceId) {
        let beats = self
            .beats()
            .into_iter()
            .filter(|beat| beat.instance == *id)
            .collect();
        self.send(beats, false).await;
    }

    async fn advertise(&self) {
        let used: u64 = self.copies().iter().map(|copy| copy.memory_mb).sum();
        let mut counts: BTreeMap<ProcessGuid, u32> = BTreeMap::new();
        for copy in self.copies() {
            *counts.entry(copy.process).or_default() += 1;
        }
        let advertisement = Advertisement {
            id: self.inner.id.clone(),
            stacks: vec!["host".into()],
            available_memory: self.inner.total_mb - used,
            available_disk: 100_000,
            app_id_to_count: counts,
            placement_properties: PlacementProperties {
                zone: "default".into(),
            },
            url: None,
            yard_total_memory: Some(self.inner.total_mb),
            yard_total_disk: Some(100_000),
        };
        let _ = self
            .inner
            .bus
            .publish(&catalogue::dea_advertise(), &advertisement)
            .await;
    }
}

/// A played stager: answers each request with what `answer` says, and keeps it.
pub async fn stager(
    world: &World,
    answer: impl Fn(&StagingRequest) -> Option<proto::bus::staging::StagingError> + Send + 'static,
) -> (Bus, Arc<Mutex<Vec<StagingRequest>>>) {
    let bus = world.connect("stager-1").await;
    let queue = StagerQueue::new("default").unwrap();
    let mut requests = bus
        .subscribe(&catalogue::stager(&queue).shared(catalogue::QUEUE_STAGERS))
        .await
        .unwrap();
    bus.flush().await.unwrap();
    let seen: Arc<Mutex<Vec<StagingRequest>>> = Arc::default();
    let kept = seen.clone();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let error = answer(&request.message);
            let reply = StagingReply {
                task_id: request.message.task_id.clone(),
                task_log: String::new(),
                error,
            };
            kept.lock().unwrap().push(request.message.clone());
            request.respond(&reply).await.unwrap();
        }
    });
    (bus, seen)
}
