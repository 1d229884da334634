//! Apps on a whole cluster: pushes, crashes, starts, and the cluster with nothing to do.

mod crashes;
mod idle;
mod pushes;
mod starts;

pub use starts::starts_sum;

use crate::figure::Figure;
use std::path::PathBuf;
use tests::Cluster;

const SERVER: &str = r#"
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = os.environ["CF_INSTANCE_INDEX"].encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
        # Answered first: an unanswered GET would be tried on the next instance, and end that too.
        if self.path == "/crash": self.wfile.flush(); os._exit(7)
    def log_message(self, *arguments): pass
http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"#;

/// What was measured.
#[derive(Default)]
pub struct Platform {
    pub figures: Vec<Figure>,
    /// A sentence on the start of instances.
    pub starts: String,
}

pub async fn measure(cluster: &Cluster) -> anyhow::Result<Platform> {
    let mut figures = Vec::new();
    pushes::measure(cluster, &mut figures).await?;
    crashes::measure(cluster, &mut figures).await?;
    let starts = starts::measure(cluster, &mut figures).await?;
    idle::measure(cluster, &mut figures).await?;
    Ok(Platform { figures, starts })
}

fn server(cluster: &Cluster) -> anyhow::Result<PathBuf> {
    let folder = cluster.root().join("apps/server");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("server.py"), SERVER)?;
    std::fs::write(folder.join("Procfile"), "web: exec python3 -u server.py\n")?;
    Ok(folder)
}
