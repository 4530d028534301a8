"""The user's own schema as an artifact."""
