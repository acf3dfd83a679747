"""Mathematics only: no files, no processes, no clock."""
