//! Cloud Foundry's router itself, where somebody has built it: the program in `$STACKYARD_BENCH_GOROUTER`, else
//! `gorouter` on the `PATH`. It hears the registrations that ours hears. Connections to backends are kept, which
//! its defaults would not do; it writes no access log.

use crate::router::process::Process;
use serde_json::json;
use std::path::Path;
use tests::cluster::{free_port, program_of_others};

/// Err within Ok: there is none. `bus` is the address of its nats-server.
pub fn router(
    folder: &Path,
    bus: &str,
    port: u16,
    core: usize,
) -> anyhow::Result<Result<Process, String>> {
    let Some(program) = program_of_others("STACKYARD_BENCH_GOROUTER", "gorouter") else {
        return Ok(Err(
            "there is no gorouter: its program is named by STACKYARD_BENCH_GOROUTER".to_string(),
        ));
    };
    let (host, bus_port) = bus
        .trim_start_matches("nats://")
        .split_once(':')
        .unwrap_or((bus, "4222"));
    let bus_port: u16 = bus_port.parse()?;
    // JSON is YAML.
    let config = json!({
        "status": {"port": free_port()?, "user": "bench", "pass": "bench", "routes": {"port": free_port()?}},
        "nats": {"hosts": [{"hostname": host, "port": bus_port}], "user": "", "pass": ""},
        "logging": {"level": "error"},
        "port": port,
        "index": 0,
        "go_max_procs": 1,
        "disable_keep_alives": false,
        "max_idle_conns": 20_000,
        "max_idle_conns_per_host": 1_024,
        "start_response_delay_interval": "0s",
        "route_services_server_port": free_port()?,
    });
    let file = folder.join("gorouter.yml");
    std::fs::write(&file, config.to_string())?;
    let (program, file) = (program.display().to_string(), file.display().to_string());
    Process::start("gorouter", core, &program, &["-c", &file]).map(Ok)
}
