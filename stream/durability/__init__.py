"""What a restart needs: the journal, checkpoints, recovery, points in time, verification."""
