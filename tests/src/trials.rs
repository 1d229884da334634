//! docs/trials.md: the counts of long runs, a section for each suite that has any.

use std::path::Path;

const HEAD: &str =
    "# Trials\n\nWritten by `make trials`, which repeats what `make test` does a few times.\n";

/// Writes a section in the place of the one of this title; the others stay. Each row: the trial, and what was
/// counted.
pub fn write<T: AsRef<str>>(title: &str, text: &str, rows: &[(T, String)]) -> anyhow::Result<()> {
    let path = crate::cluster::source_root().join("docs/trials.md");
    write_to(&path, title, text, rows)
}

fn write_to<T: AsRef<str>>(
    path: &Path,
    title: &str,
    text: &str,
    rows: &[(T, String)],
) -> anyhow::Result<()> {
    let known = std::fs::read_to_string(path).unwrap_or_default();
    let mut section = format!(
        "## {title}\n\n{}\n\n| trial | counts |\n|---|---|\n",
        text.trim()
    );
    for (trial, counts) in rows {
        section.push_str(&format!("| {} | {counts} |\n", trial.as_ref()));
    }
    std::fs::write(path, replaced(&known, title, &section))?;
    Ok(())
}

/// The page with the section in the place of the one of this title, or at its end.
fn replaced(page: &str, title: &str, section: &str) -> String {
    let mut sections: Vec<String> = page
        .split("\n## ")
        .skip(1)
        .map(|rest| format!("## {}\n", rest.trim_end()))
        .collect();
    let begin = format!("## {title}\n");
    match sections.iter_mut().find(|one| one.starts_with(&begin)) {
        Some(one) => *one = section.to_string(),
        None => sections.push(section.to_string()),
    }
    let mut text = HEAD.to_string();
    for section in sections {
        text.push('\n');
        text.push_str(&section);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_takes_the_place_of_its_predecessor() {
        let first = replaced("", "One", "## One\n\na\n");
        let second = replaced(&first, "Two", "## Two\n\nb\n");
        assert_eq!(second, format!("{HEAD}\n## One\n\na\n\n## Two\n\nb\n"));
        let third = replaced(&second, "One", "## One\n\nc\n");
        assert_eq!(third, format!("{HEAD}\n## One\n\nc\n\n## Two\n\nb\n"));
    }
}
