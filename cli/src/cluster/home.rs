//! `$YARD_HOME`: where a cluster of this machine keeps its state, and what can be read there.

use crate::failure::{Code, Failure, Outcome};
use proto::node::ClusterFile;
use std::fs;
use std::path::{Path, PathBuf};

/// `$YARD_HOME`, else where clusters are by default.
pub fn default_home() -> PathBuf {
    match std::env::var_os("YARD_HOME").filter(|home| !home.is_empty()) {
        Some(home) => PathBuf::from(home),
        None => PathBuf::from("/var/lib/stackyard"),
    }
}

/// The given folder, or the default one, as an absolute path (daemons have another current one).
pub fn resolve(given: Option<&Path>) -> Outcome<PathBuf> {
    let home = given.map_or_else(default_home, Path::to_path_buf);
    std::path::absolute(&home)
        .map_err(|error| Failure::usage(format!("{} is no folder: {error}", home.display())))
}

/// None: no cluster was ever started there.
pub fn read_cluster(home: &Path) -> Outcome<Option<ClusterFile>> {
    let file = home.join("cluster.json");
    match fs::read(&file) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| {
            Failure::failed(format!("{} is damaged", file.display())).because(error)
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::failed(format!("read {}: {error}", file.display()))),
    }
}

pub fn socket_of(cluster: &ClusterFile) -> PathBuf {
    Path::new(&cluster.run_folder).join("node.sock")
}

pub fn api_of(cluster: &ClusterFile) -> String {
    let port = if cluster.port == 80 {
        String::new()
    } else {
        format!(":{}", cluster.port)
    };
    format!("http://api.{}{port}", cluster.domain)
}

/// Where this machine reaches the router: the address it listens on, or loopback if that is all.
pub fn connect_address(cluster: &ClusterFile) -> String {
    match cluster.bind.as_str() {
        "0.0.0.0" | "" => format!("127.0.0.1:{}", cluster.port),
        "::" => format!("[::1]:{}", cluster.port),
        bind if bind.contains(':') => format!("[{bind}]:{}", cluster.port),
        bind => format!("{bind}:{}", cluster.port),
    }
}

pub fn password_file(home: &Path) -> PathBuf {
    home.join("admin-password")
}

/// Beside this executable, `$YARD_STACKYARD`, or on the PATH.
pub fn find_stackyard() -> Outcome<PathBuf> {
    if let Some(path) = std::env::var_os("YARD_STACKYARD").filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(Failure::new(
                Code::MachineNotReady,
                format!("YARD_STACKYARD names {}, which is no file", path.display()),
            ))
        };
    }
    let own = std::env::current_exe().and_then(fs::canonicalize).ok();
    let beside = own
        .as_ref()
        .and_then(|own| own.parent())
        .map(|folder| folder.join("stackyard"));
    if let Some(beside) = beside.filter(|beside| beside.is_file()) {
        return Ok(beside);
    }
    on_path("stackyard").ok_or_else(|| {
        Failure::new(
            Code::MachineNotReady,
            "the program stackyard is not found beside yard, nor on the PATH",
        )
        .fix("`make build` in the source folder, or set YARD_STACKYARD")
    })
}

/// The first executable file of this name on the PATH, or where administration tools are.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| is_executable(file))
}

pub fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(file)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(bind: &str, port: u16) -> ClusterFile {
        ClusterFile {
            id: "c0ffee12".into(),
            domain: "yard.internal".into(),
            bind: bind.into(),
            port,
            tls_port: None,
            machine: "machine-1".into(),
            roles: Default::default(),
            hosts: true,
            run_folder: "/run/stackyard/c0ffee12".into(),
            advertise: None,
            joined: None,
        }
    }

    #[test]
    fn addresses_of_a_cluster() {
        assert_eq!(
            api_of(&cluster("127.0.0.1", 8080)),
            "http://api.yard.internal:8080"
        );
        assert_eq!(
            api_of(&cluster("127.0.0.1", 80)),
            "http://api.yard.internal"
        );
        assert_eq!(connect_address(&cluster("0.0.0.0", 8080)), "127.0.0.1:8080");
        assert_eq!(connect_address(&cluster("10.0.0.7", 80)), "10.0.0.7:80");
        assert_eq!(connect_address(&cluster("::", 80)), "[::1]:80");
    }
}
