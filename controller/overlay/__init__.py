"""The overlay network: frames with a destination and a path, routed from node to node.

    overlay_frames, overlay_wire    reading and writing frames; names and conventions of WWCP
    source_check                    check of a frame's path against its link
    routes, next_hop                the routing table, and the link for a request
    topology                        what neighbors report as reachable, and what is reported to them
    pending_requests                requests that wait for their answers, paths through a station's relay
    transit_check, binary_messages  the policy of signatures on what is forwarded
    node                            the state machine that joins them

Sans-IO: events go in, actions come out.
"""


class OverlayError(Exception):
    """A frame or a report of the overlay network cannot be used."""
