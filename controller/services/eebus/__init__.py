"""EEBUS: connections, discovery, partners and limits of the node."""
