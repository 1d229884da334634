//! Jinja expressions of packs and rules, with StackStorm's filters, under limits of work and memory.
