//! `pack.yaml`: what a pack is called, its version, and what it needs.

use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fields::{Fields, UnknownKeys};
use super::problem::Report;
use super::yaml::Document;

/// Name of the metadata file in a pack's folder.
pub const PACK_FILE: &str = "pack.yaml";

/// The name of the file with overrides for all packs; no pack may be called so.
const RESERVED_REF: &str = "_global";

const KEYS: &[&str] = &[
    "name",
    "ref",
    "description",
    "version",
    "author",
    "email",
    "keywords",
    "stackstorm_version",
    "python_versions",
    "contributors",
    "dependencies",
    "system",
    "files",
    "path",
];

/// Metadata of a pack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pack {
    #[serde(rename = "ref")]
    pub reference: String,
    pub name: String,
    pub description: String,
    /// Always three parts: `0.2` became `0.2.0`.
    pub version: String,
    pub author: String,
    pub email: Option<String>,
    pub keywords: Vec<String>,
    pub stackstorm_version: Option<String>,
    pub python_versions: Vec<String>,
    pub contributors: Vec<String>,
    pub dependencies: Vec<String>,
    pub system: Map<String, Value>,
    /// Keys that StackStorm does not know but lets pass.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// Reads `pack.yaml`. `folder` is the name of the pack's folder, which is the ref of a pack that
/// gives none.
pub fn read(document: &Document, folder: Option<&str>, report: &mut Report<'_>) -> Pack {
    let fields = Fields::of(&document.value, "", report);
    fields.check_keys(KEYS, UnknownKeys::Ignore, report);
    let name = fields.required_text("name", report);
    let pack = Pack {
        reference: reference(&fields, folder, &name, report),
        name,
        description: fields.required_text("description", report),
        version: version(&fields, report),
        author: fields.required_text("author", report),
        email: fields.text("email", report),
        keywords: fields.texts("keywords", report),
        stackstorm_version: stackstorm_version(&fields, report),
        python_versions: fields.texts("python_versions", report),
        contributors: fields.texts("contributors", report),
        dependencies: fields.texts("dependencies", report),
        system: fields.mapping("system", report),
        others: fields.others(KEYS),
    };
    check_python(&pack, report);
    for (index, contributor) in pack.contributors.iter().enumerate() {
        if contributor.chars().count() > 100 {
            report.error(
                &format!("contributors[{index}]"),
                "a contributor takes more than 100 characters",
                "write `Name <address>`",
            );
        }
    }
    pack
}

/// Whether a text may be the ref of a pack.
pub fn is_pack_ref(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn reference(
    fields: &Fields<'_>,
    folder: Option<&str>,
    name: &str,
    report: &mut Report<'_>,
) -> String {
    let written = fields.text("ref", report);
    let (path, reference) = match (written, folder) {
        (Some(written), _) if !written.is_empty() => ("ref", written),
        (_, Some(folder)) if is_pack_ref(folder) => ("", folder.to_owned()),
        _ => ("name", name.to_owned()),
    };
    if reference == RESERVED_REF {
        report.error(
            path,
            format!("{RESERVED_REF} is reserved and cannot name a pack"),
            "choose another ref",
        );
    } else if !is_pack_ref(&reference) && !name.is_empty() {
        let message = if path == "name" {
            format!("the name {reference:?} cannot be the pack's ref and no ref is given")
        } else {
            format!("{reference:?} cannot be a pack's ref")
        };
        report.error(
            path,
            message,
            "set `ref` to a word of lower-case letters, digits and underscores",
        );
    }
    reference
}

/// A version with the third part added when it is missing, as old packs leave it out.
pub fn padded_version(version: &str) -> String {
    if version.matches('.').count() == 1 {
        format!("{version}.0")
    } else {
        version.to_owned()
    }
}

fn version(fields: &Fields<'_>, report: &mut Report<'_>) -> String {
    // `version: 1.2` without quotes is a number.
    let written = match fields.value("version") {
        Some(Value::Number(number)) => number.to_string(),
        _ => fields.required_text("version", report),
    };
    let version = padded_version(&written);
    if !written.is_empty() && Version::parse(&version).is_err() {
        report.error(
            "version",
            format!("{written:?} is no semantic version"),
            "write three numbers, like 0.1.0, quoted",
        );
    }
    version
}

fn check_python(pack: &Pack, report: &mut Report<'_>) {
    for (index, version) in pack.python_versions.iter().enumerate() {
        if !matches!(version.as_str(), "2" | "3") {
            report.error(
                &format!("python_versions[{index}]"),
                format!("{version:?} is no major version of Python"),
                "write \"2\" or \"3\"",
            );
        }
    }
    let only_two =
        |versions: &[String]| !versions.is_empty() && versions.iter().all(|version| version == "2");
    if only_two(&pack.python_versions) {
        report.warn(
            "python_versions",
            "the pack says that it only runs on Python 2, which is not offered",
            "port it to Python 3 and add \"3\"",
        );
    }
}

fn stackstorm_version(fields: &Fields<'_>, report: &mut Report<'_>) -> Option<String> {
    let written = fields.text("stackstorm_version", report)?;
    if let Err(message) = VersionRange::parse(&written) {
        report.error(
            "stackstorm_version",
            message,
            "write comparisons, like \">=3.1.0, <4.0.0\"",
        );
    }
    Some(written)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Less,
    AtMost,
    Equal,
    AtLeast,
    Greater,
}

/// A range like `>=3.1.0, <4.0.0`: all comparisons must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRange {
    comparisons: Vec<(Comparison, Version)>,
}

impl VersionRange {
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut comparisons = Vec::new();
        for part in text.split(',').map(str::trim) {
            if part.is_empty() {
                continue;
            }
            let end = part
                .find(|symbol: char| !matches!(symbol, '<' | '>' | '='))
                .unwrap_or(part.len());
            let (symbol, version) = part.split_at(end);
            let comparison = match symbol {
                "<" | "<<" => Comparison::Less,
                "<=" => Comparison::AtMost,
                "=" => Comparison::Equal,
                ">=" => Comparison::AtLeast,
                ">" | ">>" => Comparison::Greater,
                _ => return Err(format!("{part:?} starts with no comparison")),
            };
            let version = Version::parse(version.trim())
                .map_err(|_| format!("{part:?} does not compare to a version x.y.z"))?;
            comparisons.push((comparison, version));
        }
        if comparisons.is_empty() {
            return Err("the range is empty".to_owned());
        }
        Ok(VersionRange { comparisons })
    }

    pub fn admits(&self, version: &Version) -> bool {
        self.comparisons
            .iter()
            .all(|(comparison, bound)| match comparison {
                Comparison::Less => version < bound,
                Comparison::AtMost => version <= bound,
                Comparison::Equal => version == bound,
                Comparison::AtLeast => version >= bound,
                Comparison::Greater => version > bound,
            })
    }
}
