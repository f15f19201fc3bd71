"""Status of the whole controller, read from the services that hold its parts, and sampled."""
