//! Rules: criteria, why they match or not, and what they make of a trigger's payload.
