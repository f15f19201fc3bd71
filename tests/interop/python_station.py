"""A station made of PyPI `ocpp`, run as its own program: python_station.py VERSION URL [hold].

Boots, charges, and prints on stdout, a JSON line each, which commands it got. Keeps its connection until its
input ends. With "hold" it waits before the end of its transaction until its connection is lost, and connects
again.
The package checks every message against the official schemas, in both directions.
"""

import asyncio
import sys

import websockets
from ocpp.routing import on
from program_reports import now, report

VERSION, URL = sys.argv[1], sys.argv[2]
HOLDS = sys.argv[3:] == ["hold"]
if VERSION == "ocpp1.6":
    from ocpp.v16 import ChargePoint, call, call_result
elif VERSION == "ocpp2.0.1":
    from ocpp.v201 import ChargePoint, call, call_result
else:
    from ocpp.v21 import ChargePoint, call, call_result


class PythonStation(ChargePoint):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.limits = 0
        self.limited = asyncio.Event()

    @on("SetChargingProfile")
    def on_profile(self, **payload):
        report(did="SetChargingProfile", payload=payload)
        self.limits += 1
        if self.limits == (1 if self.progress.was_lost else 2):  # a confirmed fallback is not sent again
            self.limited.set()
        return call_result.SetChargingProfile(status="Accepted")

    @on("GetConfiguration")
    def on_get_configuration(self, **payload):
        report(did="GetConfiguration")
        return call_result.GetConfiguration(configuration_key=[], unknown_key=payload.get("key", []))

    @on("GetVariables")
    def on_get_variables(self, get_variable_data):
        report(did="GetVariables")
        results = [
            {"attribute_status": "Accepted", "attribute_value": "42", **wanted}
            for wanted in get_variable_data
        ]
        return call_result.GetVariables(get_variable_result=results)

    async def live_16(self):
        boot = await self.call(call.BootNotification(charge_point_model="M", charge_point_vendor="V"))
        report(got="BootNotification", status=boot.status)
        await self.call(call.StatusNotification(connector_id=1, error_code="NoError", status="Preparing"))
        if self.progress.transaction is None:
            start = await self.call(
                call.StartTransaction(connector_id=1, id_tag="TAG", meter_start=0, timestamp=now())
            )
            self.progress.transaction = start.transaction_id
            report(got="StartTransaction", transaction=start.transaction_id)
        transaction = self.progress.transaction
        values = [
            {"measurand": "Current.Import", "phase": phase, "unit": "A", "value": "10.0"}
            for phase in ("L1", "L2", "L3")
        ]
        await self.call(
            call.MeterValues(
                connector_id=1,
                transaction_id=transaction,
                meter_value=[{"timestamp": now(), "sampledValue": values}],
            )
        )
        await self.until_limited()
        await self.hold()
        stop = await self.call(
            call.StopTransaction(meter_stop=10, timestamp=now(), transaction_id=transaction)
        )
        report(got="StopTransaction", answer=str(stop))

    async def live_2(self):
        boot = await self.call(
            call.BootNotification(charging_station={"model": "M", "vendor_name": "V"}, reason="PowerUp")
        )
        report(got="BootNotification", status=boot.status)
        await self.call(
            call.StatusNotification(timestamp=now(), connector_status="Occupied", evse_id=1, connector_id=1)
        )
        events = [
            ("Started", "CablePluggedIn"),
            ("Updated", "MeterValuePeriodic"),
            ("Ended", "EVCommunicationLost"),
        ]
        while self.progress.events < len(events):
            number = self.progress.events
            event, trigger = events[number]
            if event == "Ended":
                await self.until_limited()
                await self.hold()
            await self.call(
                call.TransactionEvent(
                    event_type=event,
                    timestamp=now(),
                    trigger_reason=trigger,
                    seq_no=number,
                    transaction_info={"transaction_id": "T1", "charging_state": "Charging"},
                    evse={"id": 1, "connector_id": 1},
                )
            )
            self.progress.events += 1
            report(got="TransactionEvent", event=event)

    async def hold(self):
        """With "hold": wait until the connection is lost once."""
        if HOLDS and not self.progress.was_lost:
            report(holds=True)
            await asyncio.Event().wait()

    async def until_limited(self):
        await self.limited.wait()


async def live(progress) -> None:
    """Charge over one connection, from where the one before was lost."""
    async with websockets.connect(URL, subprotocols=[VERSION]) as socket:
        station = PythonStation("CS01", socket)
        station.progress = progress
        listening = asyncio.create_task(station.start())
        living = asyncio.create_task(station.live_16() if VERSION == "ocpp1.6" else station.live_2())
        await asyncio.wait({listening, living}, return_when=asyncio.FIRST_COMPLETED)
        if not living.done():
            living.cancel()
            progress.was_lost = True
            await listening  # raises why
        await living
        report(charged=True)
        await asyncio.to_thread(sys.stdin.read)
        listening.cancel()


class Progress:
    """Transaction of a station and its events so far, which outlive its connections."""

    transaction = None
    events = 0
    was_lost = False


async def main() -> None:
    progress = Progress()
    while True:
        try:
            await live(progress)
        except (OSError, websockets.WebSocketException):
            if not HOLDS:
                raise
            await asyncio.sleep(0.2)
        else:
            break
    report(done=True)


asyncio.run(main())
