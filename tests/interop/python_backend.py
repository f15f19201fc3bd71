"""A backend made of PyPI `ocpp`, run as its own program: python_backend.py PORT.

Answers each station, commands it once, and prints on stdout, a JSON line each, what it saw.
The package checks every message against the official schemas, in both directions.
"""

import asyncio
import logging
import sys

import websockets
from ocpp import v16, v21, v201
from ocpp.routing import on
from program_reports import FailureReports, now, report

VERSIONS = {"ocpp1.6": v16, "ocpp2.0.1": v201, "ocpp2.1": v21}


def backend_class(version):
    results = VERSIONS[version].call_result

    class Backend(VERSIONS[version].ChargePoint):
        @on("BootNotification")
        def on_boot(self, **payload):
            report(saw="BootNotification", station=self.id)
            return results.BootNotification(current_time=now(), interval=300, status="Accepted")

        @on("Heartbeat")
        def on_heartbeat(self):
            return results.Heartbeat(current_time=now())

        @on("StatusNotification")
        def on_status(self, **payload):
            report(saw="StatusNotification")
            return results.StatusNotification()

        @on("MeterValues")
        def on_meter_values(self, **payload):
            report(saw="MeterValues")
            return results.MeterValues()

        if version == "ocpp1.6":

            @on("StartTransaction")
            def on_start(self, **payload):
                report(saw="StartTransaction")
                return results.StartTransaction(
                    transaction_id=1_800_000_000, id_tag_info={"status": "Accepted"}
                )

            @on("StopTransaction")
            def on_stop(self, transaction_id, **payload):
                report(saw="StopTransaction", transaction=transaction_id)
                return results.StopTransaction()

            async def command(self):
                answer = await self.call(v16.call.GetConfiguration(key=["HeartbeatInterval"]))
                report(commanded="GetConfiguration", unknown_key=answer.unknown_key)
        else:

            @on("TransactionEvent")
            def on_transaction(self, event_type, **payload):
                report(saw="TransactionEvent", event=event_type)
                return results.TransactionEvent()

            async def command(self):
                wanted = [{"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "HeartbeatInterval"}}]
                answer = await self.call(VERSIONS[version].call.GetVariables(get_variable_data=wanted))
                report(commanded="GetVariables", value=answer.get_variable_result[0]["attribute_value"])

    return Backend


async def serve(socket) -> None:
    station = backend_class(socket.subprotocol)(socket.request.path.rsplit("/", 1)[1], socket)

    async def command_soon():
        await asyncio.sleep(0.2)
        await station.command()

    commanding = asyncio.create_task(command_soon())
    try:
        await station.start()
    except websockets.ConnectionClosed:
        report(closed=station.id)
    await asyncio.gather(commanding, return_exceptions=True)


async def main() -> None:
    logger = logging.getLogger("ocpp")
    logger.setLevel(logging.WARNING)
    logger.addHandler(FailureReports())
    async with websockets.serve(serve, "127.0.0.1", int(sys.argv[1]), subprotocols=list(VERSIONS)):
        report(listening=True)
        await asyncio.Future()


asyncio.run(main())
