"""The only room that knows the WebSocket engine: stations' links down, backends' links up."""
