"""The scripts: each is one atomic step on one tenant's keys."""
