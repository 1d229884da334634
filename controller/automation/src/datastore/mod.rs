//! Keys of the datastore: names, scopes, and how secret values are encrypted.
