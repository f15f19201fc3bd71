"""Field hardware: Modbus buses, meters as data files, digital inputs, EEBUS. No imports from above."""
