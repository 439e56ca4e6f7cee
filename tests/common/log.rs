//! Captures the log of a test's thread, from `tracing` and `log`.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::sync::Once;

use tracing_subscriber::filter::LevelFilter;

thread_local! {
    static LOG: RefCell<String> = const { RefCell::new(String::new()) };
}

struct Log;

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.with_borrow_mut(|log| log.push_str(&String::from_utf8_lossy(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let (level, target, text) = (record.level(), record.target(), record.args());
        LOG.with_borrow_mut(|log| writeln!(log, "{level} {target}: {text}")).unwrap();
    }

    fn flush(&self) {}
}

/// Starts capturing at every level, on all threads. A subscriber for one thread would not do: a log
/// from another thread first could turn its callsites off.
pub fn start_capture() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(|| Log)
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        log::set_logger(&Log).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
    });
}

/// The log of this thread since the last call.
pub fn drain() -> String {
    LOG.take()
}
