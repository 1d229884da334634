//! Where the controllers keep their rows: an SQLite file of a single one, or a PostgreSQL database that the
//! operator names.
//!
//! The URL may hold a password, so it comes in a file and is kept in one (`node/database-url`, 0600), never
//! in an argument or in `cluster.json`.

use std::path::{Path, PathBuf};

use super::files::{self, FileError};

#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("there is no file {0} with the URL of a database (--database-file)")]
    Missing(PathBuf),
    #[error(
        "{0} holds no URL of a PostgreSQL database: it takes one line, postgres://USER@HOST/DATABASE"
    )]
    NoUrl(PathBuf),
    #[error(
        "{0} controllers need PostgreSQL, which they share; SQLite serves one: name a database with --database-file FILE (one line, postgres://USER@HOST/DATABASE)"
    )]
    Several(u32),
    #[error(
        "the cluster has its rows in {0}, and they are not moved to another database: use another --home for a cluster on PostgreSQL"
    )]
    HasRows(PathBuf),
}

/// The database of a cluster with so many controllers: `None` for SQLite in `rows`. What was named once
/// stays until another is named.
pub fn choose(
    kept: &Path,
    rows: &Path,
    named: Option<&Path>,
    controllers: u32,
) -> Result<Option<String>, DatabaseError> {
    let known = files::read(kept)?.map(|text| text.trim().to_string());
    let Some(named) = named else {
        if known.is_none() && controllers > 1 {
            return Err(DatabaseError::Several(controllers));
        }
        return Ok(known);
    };
    let text = files::read(named)?.ok_or_else(|| DatabaseError::Missing(named.to_path_buf()))?;
    let url = text.trim();
    let is_url = ["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| url.starts_with(scheme));
    if !is_url || url.lines().count() != 1 {
        return Err(DatabaseError::NoUrl(named.to_path_buf()));
    }
    if known.is_none() && rows.exists() {
        return Err(DatabaseError::HasRows(rows.to_path_buf()));
    }
    if known.as_deref() != Some(url) {
        files::write(kept, format!("{url}\n").as_bytes(), 0o600)?;
    }
    Ok(Some(url.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const URL: &str = "postgres://stackyard@db.internal/stackyard";

    #[test]
    fn a_database_is_named_once_and_kept_privately() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (kept, rows, named) = (at("kept"), at("rows"), at("named"));
        let choose = |named: Option<&Path>, controllers| choose(&kept, &rows, named, controllers);
        assert_eq!(choose(None, 1).unwrap(), None);
        assert!(matches!(choose(None, 2), Err(DatabaseError::Several(2))));
        assert!(matches!(
            choose(Some(&named), 2),
            Err(DatabaseError::Missing(_))
        ));
        std::fs::write(&named, "sqlite://x\n").unwrap();
        assert!(matches!(
            choose(Some(&named), 2),
            Err(DatabaseError::NoUrl(_))
        ));
        std::fs::write(&named, format!("{URL}\n")).unwrap();
        assert_eq!(choose(Some(&named), 2).unwrap().as_deref(), Some(URL));
        assert_eq!(choose(None, 2).unwrap().as_deref(), Some(URL));
        let mode = std::fs::metadata(&kept).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn rows_are_not_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("rows"), "").unwrap();
        std::fs::write(at("named"), URL).unwrap();
        assert!(matches!(
            choose(&at("kept"), &at("rows"), Some(&at("named")), 1),
            Err(DatabaseError::HasRows(_))
        ));
        assert!(!at("kept").exists());
    }
}
