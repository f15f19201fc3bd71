"""The overlay network: the controller as one of its nodes, and its links up and down."""
