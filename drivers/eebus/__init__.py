"""EEBUS: SHIP connections, SPINE datagrams and the use cases of a controllable system.

Everything in here is sans-IO: bytes, events and time go in, effects come out. Sockets, certificates on disk
and mDNS belong to the service that runs these machines.

    ship_messages, ship    connection handshake and life of one SHIP connection (SHIP 1.0.1)
    certificates           self-signed certificate, and the SKI that identifies a partner
    announcement           mDNS TXT record, pairing QR text
    array_json             EEBUS' JSON, in which an object is an array of one-member objects
    spine_types            elements of SPINE 1.3.0 that are used
    spine_features         our entities and features as data, functions by name
    spine_session          datagrams of one partner: reads, calls, subscriptions, bindings
    limitation             LoadControl and DeviceConfiguration: writes of limits and failsafe values
    monitoring             Measurement and ElectricalConnection from a meter's readings
    spine_device           our device with all partners
    lpc                    state machine of LPC and LPP
"""
