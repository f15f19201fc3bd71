"""Modbus lines: requests and answers as frames (pure), and the sockets and serial ports under them."""
