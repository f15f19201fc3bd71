"""A status with everything in it that is awkward to show."""

from __future__ import annotations

from controller.model.observations import EvseState
from controller.web.status_model import (
    AlarmStatus,
    BackendStatus,
    BusStatus,
    ChargingStationStatus,
    CircuitStatus,
    ControllerStatus,
    DimmingSpanStatus,
    DimmingStatus,
    EebusLimitStatus,
    EebusPartnerStatus,
    EebusStatus,
    EvseStatus,
    LinkCounts,
    MeterStatus,
    NeighborStatus,
    OverlayStatus,
    OverrideStatus,
    UnconfiguredEvseStatus,
    UnknownStationStatus,
    VerdictStatus,
)
from drivers.errors import Cause
from drivers.reading import Quality

EVIL = '<script>alert("x")</script>\n\\'

UNCONFIGURED = UnconfiguredEvseStatus(
    station="CS01",
    evse=3,
    has_car=True,
    drawn_a=(5.9, 5.9, 5.9),
    booked_a=6.0,
    is_limited=True,
    shares_limit=False,
    table="[[station.evse]]\nid = 3\nmax_a = 32\n",
)

STATUS = ControllerStatus(
    site="lc-depot",
    version="0.1.0",
    time="2026-11-21T12:00:00.000+00:00",
    healthy=True,
    tick_age_s=0.4,
    circuits=(
        CircuitStatus(
            id="grid",
            parent=None,
            limit_a=(120.0, 120.0, 100.0),
            measured_a=(60.5, 118.0, 101.0),
            base_a=(22.0, 26.0, 19.0),
            booked_a=(38.5, 90.0, 80.0),
            meter_quality=Quality.GOOD,
        ),
        CircuitStatus(
            id=EVIL,
            parent="grid",
            limit_a=(63.0, 63.0, 63.0),
            measured_a=None,
            base_a=(0.0, 0.0, 0.0),
            booked_a=(16.0, 16.0, 16.0),
            meter_quality=None,
        ),
    ),
    evses=(
        EvseStatus(
            station="CS01",
            evse=1,
            circuit=EVIL,
            ocpp="ocpp1.6",
            connected=True,
            state=EvseState.CHARGING,
            offered_a=16.0,
            drawn_a=(15.5, 15.5, 0.0),
            reason="grid L2 full",
        ),
        EvseStatus(
            station="CS02",
            evse=2,
            circuit="grid",
            ocpp=None,
            connected=False,
            state=EvseState.UNKNOWN,
            offered_a=0.0,
            drawn_a=(0.0, 0.0, 0.0),
            reason=EVIL,
            single_phase=True,
            reaction_s=12.5,
            step_a=2.0,
            obeys=False,
        ),
    ),
    links=LinkCounts(
        connected={"ocpp1.6": 1, "ocpp2.0.1": 0, "ocpp2.1": 0},
        accepted_total=3,
        refused_total=2,
        from_stations_total=100,
        from_backends_total=90,
        limits_total=20,
        limits_failed_total=1,
    ),
    meters=(
        MeterStatus(
            id=EVIL,
            driver="eastron-sdm630-v2",
            quality=Quality.STALE,
            problem="unit 1 does not answer",
            cause=Cause.NO_ANSWER,
            age_s=7.5,
            current_a=(1.0, None, None),
            voltage_v=(230.0, None, None),
            power_w=(230.0, None, None),
            power_total_w=230.0,
            energy_import_wh=1000.0,
            energy_export_wh=None,
            frequency_hz=50.0,
            manufacturer="",
            model="",
            serial_number="1234567",
            firmware=EVIL,
            events_total={"no_answer": 7},
        ),
    ),
    buses=(BusStatus(name="/dev/ttyUSB0", events_total={"requests": 90, "answers": 83, "timeouts": 7}),),
    backends=(
        BackendStatus(
            id="cpo", links={"main": 2, "spare": 0}, waiting=3, oldest_s=61.5, dropped_total=4, set_aside=1
        ),
    ),
    dimming=DimmingStatus(
        dimmed=True,
        why="dimmed by dso to 7.6 kW until 14:45",
        limit_w=7560.0,
        phases_w=(None, None, None),
        evses_w={},
        sources=("dso",),
        drawn_w=7130.0,
        grid_w=9210.5,
        devices=2,
        minimum_w=7560.0,
        spans=(
            DimmingSpanStatus(since="2026-11-21T12:00:00.000Z", until=None, limit_w=7560.0, sources=("dso",)),
        ),
        accepted_total=2,
        refused_total={"replayed": 3},
        evidence_records=17,
        evidence_failed_total=1,
    ),
    signatures=(VerdictStatus(rule="safe-profiles", outcome="refuse", messages_total=2),),
    eebus=EebusStatus(
        ski="ab" * 20,
        ship_id="local-controller-EMS-abababababab",
        consumption=EebusLimitStatus(
            state="limited", limit_w=8000.0, until_s=90.0, failsafe_w=4200.0, failsafe_duration_s=7200.0
        ),
        production=EebusLimitStatus(
            state="init", limit_w=None, until_s=None, failsafe_w=30000.0, failsafe_duration_s=7200.0
        ),
        heartbeat_age_s=12.5,
        partners=(
            EebusPartnerStatus(
                ski="cd" * 20, trusted=True, phase="data", ship_id="Box", device=EVIL, guard=True
            ),
            EebusPartnerStatus(ski="ef" * 20, trusted=False, phase="hello"),
        ),
        register_s=60.0,
        qr="SHIP;SKI:" + "ab" * 20 + ";ID:local-controller-EMS-abababababab;ENDSHIP;",
        accepted_total=4,
        refused_total=2,
        messages_refused_total=1,
        connections_total=3,
    ),
    overlay=OverlayStatus(
        neighbours=(NeighborStatus(link="LC02", reached={"CS11": 1, "LC02": 1}),),
        dropped_total={"no route": 5},
    ),
    stations=(
        ChargingStationStatus(
            id="CS01",
            label="Bay 1",
            connected=True,
            ocpp="ocpp1.6",
            owner="cpo",
            observers=(),
            when_backend_away="autonomous",
            vendor="Vendor",
            model=EVIL,
            firmware="1.0",
            quirk="standard",
            peer="192.0.2.10",
            overrides=(
                OverrideStatus(
                    evse=1, kind="limit", value=10.0, until="2026-11-21T13:00:00+00:00", by="anna"
                ),
            ),
        ),
        ChargingStationStatus(
            id="CS02",
            label="",
            connected=False,
            ocpp=None,
            owner="",
            observers=("cpo",),
            when_backend_away="strict",
        ),
    ),
    alarms=(
        AlarmStatus(
            kind="station-away",
            subject="CS02",
            severity="warning",
            text="station CS02 is not connected",
            remedy="check its supply",
            since="2026-11-21T11:00:00+00:00",
        ),
    ),
    unknown_stations=(
        UnknownStationStatus(
            id=EVIL,
            peer="192.0.2.99",
            first_seen="2026-11-21T11:00:00+00:00",
            last_seen="2026-11-21T11:30:00+00:00",
            tries=4,
            ocpp=("ocpp1.6",),
        ),
    ),
)
