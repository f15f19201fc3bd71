"""A simulated site around the real controller: its stations, cars, meters and backend, over real sockets."""
