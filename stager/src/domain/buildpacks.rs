//! Names of buildpacks: what a user may write, and what it means.
//!
//! A manifest may name a buildpack of the operator's list, also by the name it has elsewhere
//! (`python_buildpack` for `python`). A link to a repository or an archive is a different thing,
//! and said to be so, instead of "unknown buildpack".

/// The buildpacks that come with Stackyard, in their order of detection.
pub const BUILT_IN: [&str; 4] = ["staticfile", "nodejs", "python", "binary"];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownBuildpack {
    #[error(
        "the buildpack {name} is a link; buildpacks from a git repository or an archive are not supported yet. Supported now: {known}"
    )]
    Link { name: String, known: String },
    #[error("there is no buildpack {name}. Supported now: {known}")]
    Name { name: String, known: String },
}

/// Finds `name` among `known`.
pub fn resolve(name: &str, known: &[String]) -> Result<String, UnknownBuildpack> {
    if let Some(found) = known.iter().find(|known| *known == name) {
        return Ok(found.clone());
    }
    let list = known.join(", ");
    if name.contains("://")
        || name.starts_with("git@")
        || name.ends_with(".git")
        || name.ends_with(".zip")
    {
        return Err(UnknownBuildpack::Link {
            name: name.to_string(),
            known: list,
        });
    }
    let short = name
        .strip_suffix("_buildpack")
        .or_else(|| name.strip_suffix("-buildpack"))
        .unwrap_or(name);
    match known.iter().find(|known| *known == short) {
        Some(found) => Ok(found.clone()),
        None => Err(UnknownBuildpack::Name {
            name: name.to_string(),
            known: list,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<String> {
        BUILT_IN.map(String::from).to_vec()
    }

    #[test]
    fn a_name_is_found_with_and_without_the_suffix_used_elsewhere() {
        assert_eq!(resolve("python", &known()).as_deref(), Ok("python"));
        assert_eq!(
            resolve("python_buildpack", &known()).as_deref(),
            Ok("python")
        );
        assert_eq!(
            resolve("nodejs-buildpack", &known()).as_deref(),
            Ok("nodejs")
        );
    }

    #[test]
    fn a_link_is_refused_as_a_link_and_both_refusals_say_what_there_is() {
        for name in [
            "https://example.org/my.git#v1",
            "git@example.org:a/b",
            "pack.zip",
        ] {
            let error = resolve(name, &known()).expect_err("refused");
            assert!(matches!(error, UnknownBuildpack::Link { .. }), "{name}");
            assert!(
                error
                    .to_string()
                    .contains("staticfile, nodejs, python, binary"),
                "{error}"
            );
        }
        let error = resolve("ruby", &known()).expect_err("refused").to_string();
        assert_eq!(
            error,
            "there is no buildpack ruby. Supported now: staticfile, nodejs, python, binary"
        );
    }
}
