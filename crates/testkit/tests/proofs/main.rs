//! The proofs can fail: each of these connectors breaks its contract in one way, and is found out
//! by what the proof says of it.

#![allow(clippy::unwrap_used, clippy::panic)]

mod ends;
mod refusals;
mod sinks;
mod sources;

use std::panic::AssertUnwindSafe;

use futures::FutureExt;

/// What a proof says that fails; none if it holds.
async fn said(proof: impl Future<Output = ()>) -> Option<String> {
    let panicked = AssertUnwindSafe(proof).catch_unwind().await.err()?;
    let text = panicked.downcast_ref::<String>().cloned();
    Some(text.or_else(|| panicked.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap())
}

/// A proof fails, and says all of these words, which are separated by `…`.
async fn assert_found_out(what: &str, proof: impl Future<Output = ()>, words: &str) {
    let said = said(proof).await.unwrap_or_else(|| panic!("{what}: the proof holds"));
    for word in words.split('…') {
        assert!(said.contains(word), "{what}: expected {word:?}, and the proof says: {said}");
    }
}
