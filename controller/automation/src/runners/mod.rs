//! The runners: their parameters, and what a raw outcome means to each.
