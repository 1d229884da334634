//! Which core does what, where that matters: what is measured has one of its own.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::future::Future;

/// Of what is measured.
pub const MEASURED: usize = 0;
/// Of what asks it and answers it.
pub const OTHERS: usize = 1;

/// Runs a future in a thread that stays on one core; the programs it starts stay there too, unless told
/// otherwise.
pub fn run_on<T, F>(core: usize, make: impl FnOnce() -> F + Send + 'static) -> anyhow::Result<T>
where
    T: Send + 'static,
    F: Future<Output = anyhow::Result<T>>,
{
    let running = std::thread::spawn(move || {
        let mut cores = CpuSet::new();
        cores.set(core)?;
        sched_setaffinity(Pid::from_raw(0), &cores)?;
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(make())
    });
    running
        .join()
        .map_err(|_| anyhow::anyhow!("the thread of a measurement panicked"))?
}
