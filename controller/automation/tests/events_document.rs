//! `docs/events.md` is generated from the trigger types; this test holds it to them.
//! `YARD_REGENERATE=1 cargo test -p automation --test events_document` writes it anew.

use std::path::Path;

#[test]
fn the_document_says_what_the_trigger_types_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/events.md");
    let expected = automation::triggers::document();
    if std::env::var_os("YARD_REGENERATE").is_some() {
        std::fs::write(&path, &expected).expect("docs/events.md can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == expected,
        "docs/events.md is stale: run YARD_REGENERATE=1 cargo test -p automation --test events_document"
    );
}
