"""What must survive a restart, in SQLite: here alone."""
