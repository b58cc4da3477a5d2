"""The spec file: YAML text to a checked environment, and the schema and reference of what may stand in it."""
