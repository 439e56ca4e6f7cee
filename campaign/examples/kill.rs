//! Kills, stops and disconnects the processes of campaigns at random, and proves that nobody got a
//! message twice and nobody is missing.
//!
//! ```sh
//! cargo run -p lon-campaign --example kill -- [ROUNDS [SEED]]
//! ```
//!
//! Half of the rounds use SQLite, the others PostgreSQL, if `LON_TEST_POSTGRES_URL` is set or the
//! server programs are installed. There, workers connect through a proxy that cuts or stalls their
//! connections before and after a COMMIT, or stops the worker at that moment, and the server is
//! restarted as after a crash.

#[cfg(unix)]
#[path = "support/kill.rs"]
mod kill;

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    kill::main()
}

#[cfg(not(unix))]
fn main() {
    eprintln!("this example needs the signals of Unix");
}
