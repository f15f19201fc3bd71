"""The page and the REST API: adapters around the other services."""
