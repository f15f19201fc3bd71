"""Field hardware: Modbus links and meters. Knows nothing of the controller above it."""
