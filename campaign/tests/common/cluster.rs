//! A private PostgreSQL cluster: in a temporary folder, on a Unix socket, not as root.

#![allow(dead_code, reason = "each program uses a part of it")]

#[cfg(unix)]
use std::path::PathBuf;
#[cfg(unix)]
use std::process::{Command, Output};

use sqlx::{Connection, Executor};

/// A folder that is removed with this.
pub(crate) struct Folder(pub std::path::PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("lon-{name}-{:x}", fastrand::u64(..)));
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }

    /// The URL of a ledger in it.
    pub(crate) fn sqlite(&self) -> String {
        format!("sqlite:{}", self.0.join("ledger.sqlite").display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A PostgreSQL server to test with.
pub enum Postgres {
    /// The server of `LON_TEST_POSTGRES_URL`.
    Given(String),
    #[cfg(unix)]
    Private(Cluster),
}

#[cfg(unix)]
pub struct Cluster {
    folder: Folder,
    is_root: bool,
}

impl Postgres {
    /// The server to test with. `None` if there is none on this machine.
    pub fn find() -> Option<Self> {
        if let Ok(url) = std::env::var("LON_TEST_POSTGRES_URL") {
            report("LON_TEST_POSTGRES_URL");
            return Some(Self::Given(url));
        }
        #[cfg(unix)]
        if let Some(programs) = programs() {
            report(&format!("a private cluster of {}", programs.display()));
            return Some(Self::Private(Cluster::start(&programs)));
        }
        let is_required = std::env::var_os("LON_REQUIRE_POSTGRES").is_some();
        assert!(!is_required, "the server programs of PostgreSQL are not installed");
        report("not found, so its part does not run");
        None
    }

    fn url(&self) -> String {
        match self {
            Self::Given(url) => url.clone(),
            #[cfg(unix)]
            Self::Private(cluster) => {
                format!("postgres:///postgres?host={}&user=postgres", cluster.folder.0.display())
            }
        }
    }

    /// The URL of an empty schema.
    pub async fn schema(&self, name: &str) -> String {
        let url = self.url();
        let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
        let number = fastrand::u64(..);
        let schema = format!("lon_{name:.20}_{number:x}");
        let create = sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}"));
        connection.execute(create).await.unwrap();
        let separator = if url.contains('?') { '&' } else { '?' };
        format!("{url}{separator}options=-csearch_path%3D{schema}")
    }

    /// The folder of the socket of a private server.
    pub fn folder(&self) -> Option<&std::path::Path> {
        match self {
            Self::Given(_) => None,
            #[cfg(unix)]
            Self::Private(cluster) => Some(&cluster.folder.0),
        }
    }

    /// Restarts a private server as after a crash.
    pub fn crash(&self) {
        #[cfg(unix)]
        if let Self::Private(cluster) = self {
            let output = cluster.pg_ctl(&["restart", "-m", "immediate", "-w"]);
            assert!(output.status.success(), "{output:?}");
        }
    }
}

/// Says what happened, also for a test that passes.
fn report(what: &str) {
    use std::io::Write as _;

    let _ = writeln!(std::io::stderr(), "PostgreSQL: {what}");
}

/// The folder with the server programs.
#[cfg(unix)]
fn programs() -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    folders.sort();
    folders.extend(std::env::split_paths(&std::env::var_os("PATH")?));
    folders.into_iter().find(|folder| {
        ["initdb", "pg_ctl", "postgres"].iter().all(|name| folder.join(name).exists())
    })
}

#[cfg(unix)]
impl Cluster {
    fn start(programs: &std::path::Path) -> Self {
        let folder = Folder::new("pg");
        let is_root = is_root(&folder);
        if is_root {
            run(Command::new("chown").arg("postgres").arg(&folder.0));
        }
        let cluster = Self { folder, is_root };
        let data = cluster.folder.0.join("data");
        let mut initdb = cluster.command(&programs.join("initdb"));
        run(initdb.args(["-A", "trust", "-U", "postgres", "-N", "-D"]).arg(&data));
        let path = programs.join("pg_ctl");
        std::fs::write(cluster.folder.0.join("programs"), path.to_str().unwrap()).unwrap();
        let socket = format!("-k {} -c listen_addresses=''", cluster.folder.0.display());
        let log = cluster.folder.0.join("log");
        let output = cluster.pg_ctl(&["start", "-w", "-o", &socket, "-l", log.to_str().unwrap()]);
        assert!(output.status.success(), "{output:?}");
        cluster
    }

    fn command(&self, program: &std::path::Path) -> Command {
        let mut command = if self.is_root {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(&self.folder.0);
        command
    }

    fn pg_ctl(&self, arguments: &[&str]) -> Output {
        let program = std::fs::read_to_string(self.folder.0.join("programs")).unwrap();
        let mut command = self.command(program.as_ref());
        command.arg("-D").arg(self.folder.0.join("data")).args(arguments);
        // The server would keep the pipes of this process open.
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        command.output().unwrap()
    }
}

#[cfg(unix)]
impl Drop for Cluster {
    fn drop(&mut self) {
        self.pg_ctl(&["stop", "-m", "immediate", "-w"]);
    }
}

#[cfg(unix)]
fn is_root(folder: &Folder) -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&folder.0).unwrap()) == 0
}

#[cfg(unix)]
fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
