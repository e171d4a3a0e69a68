"""The scenarios, by the role of the target."""
