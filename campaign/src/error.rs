//! Errors of the ledger.

use crate::campaign::State;

/// Why an operation on a ledger failed.
///
/// No error contains a phone number.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL of the ledger is neither `sqlite:` nor `postgres:`.
    #[error("the URL of a ledger starts with sqlite: or postgres:")]
    Url,
    /// A newer version of this crate created the ledger.
    #[error(
        "the ledger has schema version {found}, and this program knows {known}: use a newer program"
    )]
    NewerSchema {
        /// The version of the ledger.
        found: i64,
        /// The latest version that this program knows.
        known: i64,
    },
    /// Another process writes to the SQLite file for longer than the ledger waits.
    #[error("another process holds the ledger")]
    Busy,
    /// The disk is full. A worker claims nothing more, and waits for room to record the outcomes that
    /// it has.
    #[error("the disk of the ledger is full: make room, and continue the campaign")]
    DiskFull(#[source] sqlx::Error),
    /// The SQLite file or its folder does not exist or permits no writes.
    #[error("the ledger cannot be written: its folder must exist, and both must be writable")]
    NotWritable(#[source] sqlx::Error),
    /// The file is not a SQLite database, or its first page is damaged.
    #[error("the file is not a SQLite database, so it is not a ledger")]
    NotADatabase(#[source] sqlx::Error),
    /// SQLite found its file damaged.
    #[error(
        "the file of the ledger is damaged: keep it, and recover a copy with `sqlite3 COPY .recover`"
    )]
    DamagedFile(#[source] sqlx::Error),
    /// No campaign has this name.
    #[error("the ledger has no campaign {name:?}")]
    NoCampaign {
        /// The name.
        name: String,
    },
    /// A campaign with this name exists, with other content.
    #[error("campaign {name:?} exists with other content: use another name, or the same content")]
    OtherContent {
        /// The name.
        name: String,
    },
    /// The campaign has other recipients than the input.
    #[error("campaign {name:?} has other recipients: position {position} has {difference}")]
    OtherRecipients {
        /// The name.
        name: String,
        /// The first position of the input that differs, counted from 1.
        position: u64,
        /// The difference.
        difference: &'static str,
    },
    /// The campaign is in a state that does not permit the operation.
    #[error("campaign {name:?} is {state}: {hint}")]
    State {
        /// The name.
        name: String,
        /// Its state.
        state: State,
        /// Advice.
        hint: &'static str,
    },
    /// The settings of the client or of the sender are not valid.
    #[error(transparent)]
    Invalid(#[from] lon_batch::Invalid),
    /// The database failed.
    #[error("the database of the ledger failed")]
    Database(#[source] sqlx::Error),
    /// A task that sent a chunk failed.
    #[error(transparent)]
    Sending(std::sync::Arc<Error>),
    /// The ledger contains something that this crate did not write.
    #[error("the ledger is damaged: {0}")]
    Damaged(&'static str),
}

impl Error {
    /// Whether the database is away, so that a repetition can succeed.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Busy => true,
            Self::Sending(error) => error.is_transient(),
            Self::Database(error) => match error {
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::WorkerCrashed => true,
                // Classes of PostgreSQL: connection, rollback, resources, intervention.
                sqlx::Error::Database(error) => error.code().is_some_and(|code| {
                    code.len() == 5
                        && (["08", "40", "57"].iter().any(|class| code.starts_with(class))
                            || matches!(&*code, "53300" | "55P03" | "25P03" | "25006"))
                }),
                _ => false,
            },
            _ => false,
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let Some(of_database) = error.as_database_error() else {
            return Self::Database(error);
        };
        let is_sqlite = of_database.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some();
        let code = of_database.code().unwrap_or_default();
        if !is_sqlite {
            return if code == "53100" { Self::DiskFull(error) } else { Self::Database(error) };
        }
        // The lowest byte of an extended code is the primary one.
        match code.parse::<i64>().map(|code| code & 0xff) {
            // SQLITE_BUSY, SQLITE_LOCKED
            Ok(5 | 6) => Self::Busy,
            // SQLITE_READONLY, SQLITE_CANTOPEN
            Ok(8 | 14) => Self::NotWritable(error),
            // SQLITE_CORRUPT
            Ok(11) => Self::DamagedFile(error),
            // SQLITE_FULL
            Ok(13) => Self::DiskFull(error),
            // SQLITE_NOTADB
            Ok(26) => Self::NotADatabase(error),
            _ => Self::Database(error),
        }
    }
}

/// The result of an operation on a ledger.
pub type Result<T, E = Error> = std::result::Result<T, E>;
