"""Services: tasks, sockets, files and clocks around the sans-IO cores. `app` composes them."""


class ServiceError(Exception):
    """A service cannot start, or a request to it cannot be done. Its text names the remedy."""
