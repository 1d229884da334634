//! Putting `yard` on the PATH: a link in /usr/local/bin, never in anybody's way.

use std::fs;
use std::path::{Path, PathBuf};

const FOLDER: &str = "/usr/local/bin";

/// Links our programs; gives back what to tell the user.
pub fn put_on_path(stackyard: &Path) -> Vec<String> {
    let yard = std::env::current_exe().and_then(fs::canonicalize).ok();
    let mut notes = Vec::new();
    for (name, program) in [
        ("yard", yard),
        ("stackyard", fs::canonicalize(stackyard).ok()),
    ] {
        let Some(program) = program else { continue };
        if let Some(note) = link(Path::new(FOLDER), name, &program) {
            notes.push(note);
        }
    }
    notes
}

fn link(folder: &Path, name: &str, program: &Path) -> Option<String> {
    let place = folder.join(name);
    match decide(&place, program) {
        Decision::Leave => None,
        Decision::Taken(by) => Some(format!(
            "{} is something else ({}) and stays; this one is {}",
            place.display(),
            by.display(),
            program.display()
        )),
        Decision::Make { replace } => {
            if replace {
                let _ = fs::remove_file(&place);
            }
            match std::os::unix::fs::symlink(program, &place) {
                Ok(()) => None,
                Err(error) => Some(format!(
                    "{name} is not on the PATH: link {}: {error}",
                    place.display()
                )),
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// It is there.
    Leave,
    /// Somebody else's.
    Taken(PathBuf),
    Make {
        replace: bool,
    },
}

fn decide(place: &Path, program: &Path) -> Decision {
    match fs::symlink_metadata(place) {
        Err(_) => Decision::Make { replace: false },
        Ok(found) if found.is_symlink() => match fs::canonicalize(place) {
            Ok(target) if target == program => Decision::Leave,
            Ok(target) => Decision::Taken(target),
            // A link of ours to a program that was moved away.
            Err(_) => Decision::Make { replace: true },
        },
        Ok(_) if fs::canonicalize(place).is_ok_and(|target| target == program) => Decision::Leave,
        Ok(_) => Decision::Taken(place.to_path_buf()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_free_places_and_dead_links_are_taken() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let folder = fs::canonicalize(folder.path()).expect("its real name");
        let program = folder.join("program");
        fs::write(&program, "").expect("a program");
        let place = folder.join("yard");
        assert_eq!(decide(&place, &program), Decision::Make { replace: false });
        assert_eq!(link(&folder, "yard", &program), None);
        assert_eq!(decide(&place, &program), Decision::Leave);
        let other = folder.join("other");
        fs::write(&other, "").expect("another program");
        assert_eq!(decide(&place, &other), Decision::Taken(program.clone()));
        fs::remove_file(&program).expect("removed");
        assert_eq!(decide(&place, &other), Decision::Make { replace: true });
        assert_eq!(
            decide(&other, &folder.join("x")),
            Decision::Taken(other.clone())
        );
    }
}
