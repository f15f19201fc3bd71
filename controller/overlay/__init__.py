"""The overlay network: frames with a destination and a path, and the ways that they take from node to node.

Pure: events go in, actions come out. `frames` reads and writes, `routes` chooses, `topology` tells and
hears who is behind whom, `node` is the machine that joins them. What is only believed of the wire format
stands in `wire`.
"""
