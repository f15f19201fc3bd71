"""A backend made of PyPI `ocpp` that looks after a station: python_service_backend.py PORT.

Once a station has booted it asks for everything that sends files or restarts things, one after the
other, and says on stdout, a JSON line each, what was answered and what the station reported on it.
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
PLACE = "ftp://files.example/CS01?token=a%20b"
SIGNATURE = "c2ln" * 40
LIMIT = {"start_period": 0, "limit": 20.0}
UPDATED_A = 4.0
"""Less than any car takes: the station is limited to 0 A."""


def commands_16():
    call = v16.call
    yield call.TriggerMessage(requested_message="Heartbeat")
    yield call.GetDiagnostics(location=PLACE, retries=1)
    yield call.GetLog(log_type="SecurityLog", request_id=7, log={"remoteLocation": PLACE})
    yield call.UpdateFirmware(location=PLACE, retrieve_date=now())
    firmware = {"location": PLACE, "retrieveDateTime": now(), "signingCertificate": "x" * 40}
    yield call.SignedUpdateFirmware(request_id=8, firmware={**firmware, "signature": SIGNATURE})
    yield call.Reset(type="Soft")


def commands_2(call):
    yield call.TriggerMessage(requested_message="Heartbeat")
    if call is v21.call:
        schedule = {"id": 1, "charging_rate_unit": "A", "charging_schedule_period": [LIMIT]}
        profile = {"id": 5, "stack_level": 0, "charging_profile_purpose": "ChargingStationMaxProfile"}
        profile |= {"charging_profile_kind": "Dynamic", "charging_schedule": [schedule]}
        yield call.SetChargingProfile(evse_id=0, charging_profile=profile)
        yield call.UpdateDynamicSchedule(charging_profile_id=5, schedule_update={"limit": UPDATED_A})
    yield call.GetLog(log={"remoteLocation": PLACE}, log_type="DiagnosticsLog", request_id=7)
    firmware = {"location": PLACE, "retrieveDateTime": now(), "signature": SIGNATURE}
    yield call.UpdateFirmware(request_id=8, firmware=firmware)
    yield call.Reset(type="Immediate")


def backend_class(version):
    results = VERSIONS[version].call_result

    class Backend(VERSIONS[version].ChargePoint):
        @on("BootNotification")
        def on_boot(self, **payload):
            report(reported="BootNotification")
            return results.BootNotification(current_time=now(), interval=300, status="Accepted")

        @on("Heartbeat")
        def on_heartbeat(self):
            report(reported="Heartbeat")
            return results.Heartbeat(current_time=now())

        @on("FirmwareStatusNotification")
        def on_firmware(self, status, **payload):
            report(reported="FirmwareStatusNotification", status=status, request=payload.get("request_id"))
            return results.FirmwareStatusNotification()

        @on("LogStatusNotification")
        def on_log(self, status, **payload):
            report(reported="LogStatusNotification", status=status, request=payload.get("request_id"))
            return results.LogStatusNotification()

        if version == "ocpp1.6":

            @on("DiagnosticsStatusNotification")
            def on_diagnostics(self, status):
                report(reported="DiagnosticsStatusNotification", status=status)
                return results.DiagnosticsStatusNotification()

            @on("SignedFirmwareStatusNotification")
            def on_signed_firmware(self, status, request_id):
                report(reported="SignedFirmwareStatusNotification", status=status, request=request_id)
                return results.SignedFirmwareStatusNotification()

        async def look_after(self):
            wanted = commands_16() if version == "ocpp1.6" else commands_2(VERSIONS[version].call)
            for command in wanted:
                answer = await self.call(command)
                report(
                    asked=type(command).__name__, answer=answer.status if hasattr(answer, "status") else None
                )

    return Backend


async def main() -> None:
    logger = logging.getLogger("ocpp")
    logger.setLevel(logging.WARNING)
    logger.addHandler(FailureReports())
    links = 0

    async def serve(socket) -> None:
        nonlocal links
        links += 1
        station = backend_class(socket.subprotocol)(socket.request.path.rsplit("/", 1)[1], socket)
        looking = asyncio.create_task(station.look_after()) if links == 1 else None
        try:
            await station.start()
        except websockets.ConnectionClosed:
            report(closed=links)
        if looking is not None:
            await asyncio.gather(looking, return_exceptions=True)

    async with websockets.serve(serve, "127.0.0.1", int(sys.argv[1]), subprotocols=list(VERSIONS)):
        report(listening=True)
        await asyncio.Future()


asyncio.run(main())
