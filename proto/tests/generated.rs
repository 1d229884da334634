//! The generated protobuf code is committed, so that a build needs no compiler for it; this test
//! holds it to its source. `YARD_REGENERATE=1 cargo test -p proto --test generated` writes it anew.

use std::path::Path;

#[test]
fn generated_code_matches_its_proto_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sources = ["stream", "automation"];
    let mut config = prost_build::Config::new();
    config.out_dir(folder.path()).btree_map(["."]);
    config
        .compile_protos(
            &sources.map(|name| root.join(format!("proto/{name}.proto"))),
            &[root.join("proto")],
        )
        .expect("protoc is needed for this test: apt-get install protobuf-compiler");
    for name in sources {
        let file = format!("stackyard.{name}.rs");
        let committed = root.join("src/bus/generated").join(&file);
        let fresh = std::fs::read_to_string(folder.path().join(&file)).expect("protoc's output");
        if std::env::var_os("YARD_REGENERATE").is_some() {
            std::fs::write(&committed, &fresh).expect("writing the generated code");
        }
        let kept = std::fs::read_to_string(&committed).expect("the committed generated code");
        assert!(
            kept == fresh,
            "{file} differs from {name}.proto: run with YARD_REGENERATE=1"
        );
    }
}
