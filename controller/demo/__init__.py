"""A simulated site around the real controller: stations, cars, meters and a CSMS over real sockets."""
