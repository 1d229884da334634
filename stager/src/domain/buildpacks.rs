//! Names of buildpacks: what a user may write, and what it means.
//!
//! A manifest may name a buildpack of the cluster's list, also by the name it has elsewhere
//! (`python_buildpack` for `python`), or give the address of a repository or an archive, which is fetched in the
//! sandbox of the staging.

use proto::buildpacks::{Address, InvalidAddress, is_address};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownBuildpack {
    #[error("the buildpack {name} cannot be fetched: {why}")]
    Address { name: String, why: InvalidAddress },
    #[error("there is no buildpack {name}. There are {known}, and the addresses of others")]
    Name { name: String, known: String },
}

/// Finds `name` among `known`, or reads it as an address that may be asked.
pub fn resolve(
    name: &str,
    known: &[String],
    schemes: &[String],
) -> Result<String, UnknownBuildpack> {
    let find = |wanted: &str| known.iter().find(|known| *known == wanted).cloned();
    if let Some(found) = find(name) {
        return Ok(found);
    }
    if is_address(name) {
        return match Address::parse_allowed(name, schemes) {
            Ok(address) => Ok(address.to_string()),
            Err(why) => Err(UnknownBuildpack::Address {
                name: name.to_string(),
                why,
            }),
        };
    }
    name.strip_suffix("_buildpack")
        .and_then(find)
        .ok_or_else(|| UnknownBuildpack::Name {
            name: name.to_string(),
            known: known.join(", "),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(name: &str) -> Result<String, UnknownBuildpack> {
        let known = ["staticfile", "python", "ruby_buildpack"].map(String::from);
        resolve(name, &known, &["https".to_string()])
    }

    #[test]
    fn a_name_is_found_as_it_is_and_by_its_name_elsewhere() {
        for (name, found) in [
            ("python", "python"),
            ("python_buildpack", "python"),
            ("ruby_buildpack", "ruby_buildpack"),
        ] {
            assert_eq!(resolved(name).as_deref(), Ok(found));
        }
        assert!(resolved("_buildpack").is_err());
        assert_eq!(
            resolved("ruby").expect_err("refused").to_string(),
            "there is no buildpack ruby. There are staticfile, python, ruby_buildpack, and the addresses of others"
        );
    }

    #[test]
    fn an_address_stays_what_it_is_if_it_can_be_fetched() {
        let address = "https://example.org/my.git#v1";
        assert_eq!(resolved(address).as_deref(), Ok(address));
        for wrong in ["git@example.org:a/b", "http://example.org/my.git"] {
            let error = resolved(wrong).expect_err("refused");
            assert!(matches!(error, UnknownBuildpack::Address { .. }), "{error}");
        }
    }
}
