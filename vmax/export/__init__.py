"""A trained policy as files that work without vmax (docs/deployment.md)."""
