"""The pure part: JSON, items, whose they are, what waits in quarantine."""
