//! A login at the SSH proxy, and programs run through it.

use super::terminal;
use crate::client::Client;
use crate::failure::{Code, Failure, Outcome};
use russh::keys::{HashAlg, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg, Disconnect, client};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

const KEEPALIVE: Duration = Duration::from_secs(30);
/// For a connection and a login.
const ENTERED_WITHIN: Duration = Duration::from_secs(30);
/// The data type of standard error.
const STDERR: u32 = 1;
/// How a command ended that was killed, or never began: as `ssh` says it.
const KILLED: u32 = 255;

/// Knows the proxy by what the API says of its key.
struct Known {
    fingerprint: String,
}

impl client::Handler for Known {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        Ok(match key {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                let found = key.fingerprint(HashAlg::Sha256).to_string();
                found.strip_prefix("SHA256:") == Some(self.fingerprint.as_str())
            }
            PublicKeyOrCertificate::Certificate(_) => false,
        })
    }
}

/// One login: one instance.
pub struct Inside {
    session: client::Handle<Known>,
}

/// What a program writes, and how it ended.
#[derive(Debug, Default)]
pub struct Done {
    pub output: Vec<u8>,
    pub errors: String,
    pub status: u32,
}

impl Done {
    /// For programs that never end so themselves: whether there was a session, to its end.
    pub fn check_opened(&self) -> Outcome {
        if self.status != KILLED {
            return Ok(());
        }
        let why = match self.errors.trim() {
            "" => "the session was killed",
            why => why,
        };
        Err(Failure::failed(format!("go inside: {why}")))
    }
}

/// What a program reads.
pub type Input = mpsc::Receiver<Vec<u8>>;

/// Nothing to read.
pub fn no_input() -> Input {
    mpsc::channel(1).1
}

/// Standard input. A thread of its own, which nobody waits for: a read of a terminal cannot be given up.
pub fn own_input() -> Input {
    let (sender, receiver) = mpsc::channel(4);
    std::thread::spawn(move || {
        use std::io::Read;
        let mut buffer = vec![0; 16 * 1024];
        loop {
            match std::io::stdin().read(&mut buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(length) if length > 0 => {
                    if sender.blocking_send(buffer[..length].to_vec()).is_err() {
                        return;
                    }
                }
                Ok(_) | Err(_) => return,
            }
        }
    });
    receiver
}

impl Inside {
    /// Logs in as the user name that names an instance.
    pub async fn enter(api: &Client, user: &str) -> Outcome<Inside> {
        let proxy = api.ssh_proxy().await?;
        let code = api.ssh_code().await?;
        let config = Arc::new(client::Config {
            keepalive_interval: Some(KEEPALIVE),
            nodelay: true,
            ..client::Config::default()
        });
        let known = Known {
            fingerprint: proxy.fingerprint.clone(),
        };
        let unreachable = |error: russh::Error| {
            let what = match error {
                russh::Error::UnknownKey => {
                    "has another key than the cluster says: somebody may be in between"
                }
                _ => "cannot be reached",
            };
            Failure::new(
                Code::Unreachable,
                format!("the SSH proxy at {} {what}", proxy.address),
            )
            .because(error)
        };
        let entering = async {
            let mut session = client::connect(config, proxy.address.as_str(), known)
                .await
                .map_err(unreachable)?;
            let answer = session
                .authenticate_password(user, code)
                .await
                .map_err(unreachable)?;
            if answer.success() {
                return Ok(Inside { session });
            }
            Err(Failure::new(
                Code::NotAllowed,
                "the cluster does not let you inside this instance",
            )
            .fix("developers of its space may go in; `yard app APP` shows its instances"))
        };
        tokio::time::timeout(ENTERED_WITHIN, entering)
            .await
            .unwrap_or_else(|_| {
                Err(Failure::new(
                    Code::TimedOut,
                    format!("the SSH proxy at {} did not answer in time", proxy.address),
                ))
            })
    }

    async fn channel(&self) -> Outcome<Channel<client::Msg>> {
        self.session.channel_open_session().await.map_err(broke_off)
    }

    /// Runs a command and keeps what it writes.
    pub async fn collect(&self, command: &str) -> Outcome<Done> {
        let channel = self.channel().await?;
        channel.exec(true, command).await.map_err(broke_off)?;
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let status = carry(channel, no_input(), false, |bytes, is_error| {
            if is_error { &mut errors } else { &mut output }.extend_from_slice(bytes);
            Ok(())
        })
        .await?;
        Ok(Done {
            output,
            errors: String::from_utf8_lossy(&errors).into_owned(),
            status,
        })
    }

    /// Runs a command with input; what it writes goes to `take`, its complaints are kept.
    pub async fn stream(
        &self,
        command: &str,
        input: Input,
        mut take: impl FnMut(&[u8]) -> Outcome,
    ) -> Outcome<Done> {
        let channel = self.channel().await?;
        channel.exec(true, command).await.map_err(broke_off)?;
        let mut errors = Vec::new();
        let status = carry(channel, input, false, |bytes, is_error| {
            if is_error {
                errors.extend_from_slice(bytes);
                return Ok(());
            }
            take(bytes)
        })
        .await?;
        Ok(Done {
            output: Vec::new(),
            errors: String::from_utf8_lossy(&errors).into_owned(),
            status,
        })
    }

    /// Runs a command, or a shell, whose output is the user's. Its status.
    pub async fn attach(
        &self,
        command: Option<&str>,
        input: Input,
        in_terminal: bool,
    ) -> Outcome<u32> {
        let channel = self.channel().await?;
        if in_terminal {
            let kind = std::env::var("TERM").unwrap_or_else(|_| "xterm".to_string());
            let (columns, rows) = terminal::size();
            channel
                .request_pty(true, &kind, columns, rows, 0, 0, &[])
                .await
                .map_err(broke_off)?;
        }
        match command {
            Some(command) => channel.exec(true, command).await.map_err(broke_off)?,
            None => channel.request_shell(true).await.map_err(broke_off)?,
        }
        let _raw = if in_terminal {
            terminal::Raw::begin()
        } else {
            None
        };
        carry(channel, input, in_terminal, |bytes, is_error| {
            if is_error {
                let mut stream = std::io::stderr();
                stream.write_all(bytes)?;
                return Ok(stream.flush()?);
            }
            let mut stream = std::io::stdout();
            stream.write_all(bytes)?;
            Ok(stream.flush()?)
        })
        .await
    }

    pub async fn leave(self) {
        let _ = self
            .session
            .disconnect(Disconnect::ByApplication, "", "en")
            .await;
    }
}

fn broke_off(error: russh::Error) -> Failure {
    Failure::new(
        Code::Unreachable,
        "the connection to the instance broke off",
    )
    .because(error)
}

/// Between a channel and the streams here, until the program ends.
async fn carry(
    channel: Channel<client::Msg>,
    mut input: Input,
    resizes: bool,
    mut take: impl FnMut(&[u8], bool) -> Outcome,
) -> Outcome<u32> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut resized = signal(SignalKind::window_change())
        .map_err(|error| Failure::failed("listen to changes of the terminal").because(error))?;
    let (mut reading, writing) = channel.split();
    let feeding = async {
        loop {
            tokio::select! {
                piece = input.recv() => match piece {
                    Some(bytes) => {
                        if writing.data_bytes(bytes).await.is_err() {
                            break;
                        }
                    }
                    None => break,
                },
                _ = resized.recv(), if resizes => {
                    let (columns, rows) = terminal::size();
                    let _ = writing.window_change(columns, rows, 0, 0).await;
                }
            }
        }
        let _ = writing.eof().await;
        std::future::pending::<()>().await;
    };
    let mut status = None;
    let listening = async {
        while let Some(message) = reading.wait().await {
            match message {
                ChannelMsg::Data { data } => take(&data, false)?,
                ChannelMsg::ExtendedData { data, ext } if ext == STDERR => take(&data, true)?,
                ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
                ChannelMsg::ExitSignal { .. } => status = Some(KILLED),
                ChannelMsg::Failure => {
                    return Err(Failure::failed("the instance refused the command"));
                }
                _ => {}
            }
        }
        Ok(())
    };
    tokio::select! {
        ended = listening => ended?,
        () = feeding => {}
    }
    status.ok_or_else(|| {
        Failure::new(
            Code::Unreachable,
            "the connection to the instance broke off",
        )
    })
}
