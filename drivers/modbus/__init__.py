"""Modbus buses: requests and answers as frames (sans-IO), and the sockets and serial ports below them."""
