//! (skeleton; being filled)
use super::{EngineConfig, Prepare, Sandbox, SandboxError};
use std::sync::Arc;

#[derive(Clone)]
pub struct Engine(Arc<EngineConfig>);

fn later<T>() -> Result<T, SandboxError> {
    Err(SandboxError::Prerequisite("not written yet".into()))
}

impl Engine {
    pub async fn start(config: EngineConfig) -> Result<Engine, SandboxError> {
        Ok(Engine(Arc::new(config)))
    }
    pub fn config(&self) -> &EngineConfig {
        &self.0
    }
    pub async fn prepare(&self, _request: Prepare) -> Result<Sandbox, SandboxError> {
        later()
    }
    /// After an agent's restart: every sandbox whose supervisor still answers; what is left of others is removed.
    pub async fn adopt_all(&self) -> Result<Vec<Sandbox>, SandboxError> {
        later()
    }
    pub async fn destroy_all(&self) {}
    pub async fn close(self) {}
}
