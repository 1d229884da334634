"""Runs one sensor class, unmodified, in a process of its own. See README.md for orders and events."""
