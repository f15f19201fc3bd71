"""Hardware in the loop: scenarios on a real RS485 bus, or on a simulated one with its timing and faults."""
