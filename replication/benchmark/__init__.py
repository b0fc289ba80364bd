"""What things cost on this machine, side by side in one run: `python -m replication.benchmark [loop methods ...]`."""
