"""Time of the site: what the time daemon of the machine reports, and how far it can be relied on.

    chrony_protocol  requests and replies of chronyd's command socket
    timesyncd        output of `timedatectl show-timesync`
    clock_status     readings in, state of the clock and events out

Sans-IO: nothing here opens a socket or asks a clock, and nothing sets one.
"""


class TimekeepingError(Exception):
    """Base of all errors of this package."""
