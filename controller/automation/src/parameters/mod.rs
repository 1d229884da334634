//! Parameters of actions: schema, defaults, casts, secrets, rendering.
