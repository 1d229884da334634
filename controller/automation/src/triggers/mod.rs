//! The trigger types that are built in, platform events among them.
