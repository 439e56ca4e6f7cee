//! A proxy between a worker and PostgreSQL.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

/// A fault at a COMMIT.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    CutBefore,
    CutAfter,
    StallBefore,
    StallAfter,
    /// Stops the worker before or after it, for longer than its fence time.
    StopBefore,
    StopAfter,
}

pub struct Proxy {
    pub folder: PathBuf,
    /// The fault for the next COMMIT.
    pub next: Arc<Mutex<Option<Fault>>>,
    pub worker: Arc<Mutex<Option<u32>>>,
    _task: JoinSet<()>,
}

const STALL: Duration = Duration::from_secs(3);

impl Proxy {
    pub fn start(folder: PathBuf, server: PathBuf) -> Self {
        std::fs::create_dir_all(&folder).expect("a folder");
        let listener = UnixListener::bind(folder.join(".s.PGSQL.5432")).expect("a socket");
        let next: Arc<Mutex<Option<Fault>>> = Arc::default();
        let worker: Arc<Mutex<Option<u32>>> = Arc::default();
        let mut task = JoinSet::new();
        let (fault, pid) = (Arc::clone(&next), Arc::clone(&worker));
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let server = server.join(".s.PGSQL.5432");
                connections.spawn(forward(client, server, fault.clone(), pid.clone()));
            }
        });
        Self { folder, next, worker, _task: task }
    }
}

async fn forward(
    client: UnixStream,
    server: impl AsRef<Path>,
    next: Arc<Mutex<Option<Fault>>>,
    worker: Arc<Mutex<Option<u32>>>,
) {
    let Ok(server) = UnixStream::connect(server).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let replies = async {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    };
    let requests = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
            let bytes = &buffer[..read];
            let is_commit = bytes.windows(7).any(|window| window == b"COMMIT\0");
            let fault = if is_commit { next.lock().expect("no panic").take() } else { None };
            let pid = *worker.lock().expect("no panic");
            match fault {
                Some(Fault::CutBefore) => return,
                Some(Fault::StallBefore) => tokio::time::sleep(STALL).await,
                Some(Fault::StopBefore) => super::stop(pid).await,
                _ => {}
            }
            if to_server.write_all(bytes).await.is_err() {
                return;
            }
            match fault {
                // The server commits, and the reply is lost.
                Some(Fault::CutAfter) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    return;
                }
                Some(Fault::StallAfter) => tokio::time::sleep(STALL).await,
                Some(Fault::StopAfter) => super::stop(pid).await,
                _ => {}
            }
        }
    };
    // The reply to a COMMIT may not overtake a fault after it.
    tokio::pin!(replies);
    tokio::select! {
        biased;
        () = requests => {}
        () = &mut replies => {}
    }
}
