//! Secrets of the datastore in plain text.

use minijinja::{Environment, Error, State, Value};

use super::super::context::DECRYPTION;
use super::super::lookup::{Decryption, Lookup};
use super::super::values::refuse;
use super::text_of;

pub(super) fn register(environment: &mut Environment<'static>) {
    environment.add_filter("decrypt_kv", decrypt_kv);
}

fn decrypt_kv(state: &State, value: &Value) -> Result<String, Error> {
    let ciphertext = match value.downcast_object_ref::<Lookup>() {
        Some(lookup) => {
            let stored = lookup.read();
            if stored.is_empty() {
                return Err(refuse(format!(
                    "Referenced datastore item \"{}\" doesn't exist or it contains an empty string",
                    lookup.name()
                )));
            }
            stored
        }
        None => text_of(state, value)?,
    };
    let decryption = state
        .lookup(DECRYPTION)
        .ok_or_else(|| refuse("decrypt_kv: there is no datastore here"))?;
    let Some(Decryption(datastore)) = decryption.downcast_object_ref::<Decryption>() else {
        return Err(refuse("decrypt_kv: there is no datastore here"));
    };
    datastore.decrypt(&ciphertext).map_err(refuse)
}
