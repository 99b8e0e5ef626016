"""On-device ring buffers."""
