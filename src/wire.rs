//! A request as the bytes that are sent.

use std::cell::Cell;

use bytes::Bytes;

use crate::BatchRequest;

thread_local! {
    /// Whether the serialiser that is at work on this thread is the one of [`body`].
    static WRITING: Cell<bool> = const { Cell::new(false) };
}

/// The JSON of a request. It is made once, and each try sends the same bytes.
///
/// A shared content is written to JSON once for all messages and batches that it stands in. Raw
/// JSON is something that `serde_json` alone understands, so this is where it is put in, and not
/// wherever a message is serialised.
///
/// `of_message` are the bytes that a message probably takes.
pub(crate) fn body(request: &BatchRequest, of_message: usize) -> serde_json::Result<Bytes> {
    let _writing = Writing::start();
    let expected = (request.messages.len() + 1).saturating_mul(of_message);
    let mut body = Vec::with_capacity(expected.min(RESERVED));
    serde_json::to_writer(&mut body, request)?;
    Ok(body.into())
}

/// Bytes of a body that are reserved at most before it is written.
const RESERVED: usize = 2 * 1024 * 1024;

/// Bytes of a message of which nothing is known: a content, a number and an id.
pub(crate) const TYPICAL_MESSAGE: usize = 512;

/// Whether what is being serialised goes into a body.
pub(crate) fn is_writing() -> bool {
    WRITING.get()
}

struct Writing;

impl Writing {
    fn start() -> Self {
        WRITING.set(true);
        Self
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        WRITING.set(false);
    }
}
