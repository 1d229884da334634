//! What actions print, on its way to the bus. Nothing waits for it: what the bus does not take in
//! time is dropped, and counted by the execution that printed it.

use daemon::{Bus, Shutdown};
use proto::bus::automation::ActionOutput;
use proto::bus::catalogue;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, oneshot};

/// Batches that may wait.
const MOST: usize = 512;
/// How long an end waits for the output before it.
const PATIENCE: Duration = Duration::from_secs(1);

enum Item {
    Batch(ActionOutput),
    /// Everything before this was handed to the bus.
    Flush(oneshot::Sender<()>),
}

#[derive(Clone)]
pub struct Outputs {
    sender: mpsc::Sender<Item>,
    receiver: Arc<Mutex<mpsc::Receiver<Item>>>,
}

impl Outputs {
    pub fn new() -> Outputs {
        let (sender, receiver) = mpsc::channel(MOST);
        Outputs {
            sender,
            receiver: Arc::new(Mutex::new(receiver)),
        }
    }

    /// Takes a batch, or gives it back.
    pub fn send(&self, batch: ActionOutput) -> Result<(), ActionOutput> {
        self.sender
            .try_send(Item::Batch(batch))
            .map_err(|refused| match refused.into_inner() {
                Item::Batch(batch) => batch,
                Item::Flush(_) => ActionOutput::default(),
            })
    }

    /// Waits, for a moment at most, until what was taken is on the bus.
    pub async fn flush(&self) {
        let flushing = async {
            let (done, flushed) = oneshot::channel();
            if self.sender.send(Item::Flush(done)).await.is_ok() {
                let _ = flushed.await;
            }
        };
        let _ = tokio::time::timeout(PATIENCE, flushing).await;
    }

    /// Sends until the daemon's end.
    pub async fn run(&self, bus: &Bus, shutdown: Shutdown) -> anyhow::Result<()> {
        let mut receiver = self.receiver.lock().await;
        loop {
            let item = tokio::select! {
                item = receiver.recv() => item,
                () = shutdown.cancelled() => return Ok(()),
            };
            match item {
                Some(Item::Batch(batch)) => {
                    if let Err(error) = bus.publish(&catalogue::action_output(), &batch).await {
                        tracing::debug!(%error, execution = batch.execution, "output was not sent");
                    }
                }
                Some(Item::Flush(done)) => {
                    let _ = done.send(());
                }
                None => return Ok(()),
            }
        }
    }
}

impl Default for Outputs {
    fn default() -> Outputs {
        Outputs::new()
    }
}
