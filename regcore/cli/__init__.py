"""The `regcore` command."""
