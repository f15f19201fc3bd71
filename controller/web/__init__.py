"""The page, its JSON, metrics and health of a running controller. Read only."""
