"""Modbus buses: requests and answers as frames (pure), and the sockets and serial ports below them."""
