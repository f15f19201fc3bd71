"""What people and monitoring see of a running controller: the page, its JSON, metrics, health. Read only."""
