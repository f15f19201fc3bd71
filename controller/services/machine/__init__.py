"""The machine below the services: its clocks, its time daemon, systemd, the journal, the control socket."""
