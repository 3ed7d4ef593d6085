"""Operators' hands on what was set aside: parked keys, dead letters, the quarantine."""
