//! The table of features names tests that exist, and has a row for each feature.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

#[test]
fn the_table_of_features_names_tests_that_exist() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = std::fs::read_to_string(here.join("../docs/router.md")).unwrap();
    let mut named = 0;
    for (file, test) in document
        .split('`')
        .filter_map(|text| text.split_once(".rs::"))
    {
        let folder = if file.contains('/') { "src" } else { "tests" };
        let path = here.join(folder).join(format!("{file}.rs"));
        // Some of the router's features need a controller.
        let source = std::fs::read_to_string(&path)
            .or_else(|_| std::fs::read_to_string(here.join(format!("../tests/tests/{file}.rs"))))
            .unwrap_or_default();
        assert!(
            source.contains(&format!("fn {test}()")),
            "{file}.rs has no test {test}"
        );
        named += 1;
    }
    assert!(named > 40, "{named}");
    let rows: Vec<u32> = document
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok())
        .collect();
    assert_eq!(rows, (1..=40).collect::<Vec<u32>>());
}
