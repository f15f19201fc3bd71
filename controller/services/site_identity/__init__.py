"""The site's own identity: its link to its backend, and the messages that other services send by it."""
