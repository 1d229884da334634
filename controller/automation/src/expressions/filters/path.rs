//! Paths of files, as `os.path` takes them apart.

use minijinja::{Environment, Error, State, Value};

use super::text_of;

pub(super) fn register(environment: &mut Environment<'static>) {
    environment.add_filter("basename", basename);
    environment.add_filter("dirname", dirname);
}

fn basename(state: &State, path: &Value) -> Result<String, Error> {
    let path = text_of(state, path)?;
    let start = path.rfind('/').map_or(0, |slash| slash + 1);
    Ok(path[start..].to_owned())
}

fn dirname(state: &State, path: &Value) -> Result<String, Error> {
    let path = text_of(state, path)?;
    let head = &path[..path.rfind('/').map_or(0, |slash| slash + 1)];
    let trimmed = head.trim_end_matches('/');
    Ok(if trimmed.is_empty() { head } else { trimmed }.to_owned())
}
