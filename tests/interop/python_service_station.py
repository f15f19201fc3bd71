"""A station made of PyPI `ocpp` that does what a backend asks: python_service_station.py VERSION URL.

Sends files (in its reports only), restarts after a Reset, and says on stdout, a JSON line each, what it
was asked for. The package checks every message against the official schemas, in both directions.
"""

import asyncio
import sys

import websockets
from ocpp import v16, v21, v201
from ocpp.routing import after, on
from program_reports import report

VERSION, URL = sys.argv[1], sys.argv[2]
MESSAGES = {"ocpp1.6": v16, "ocpp2.0.1": v201, "ocpp2.1": v21}[VERSION]
call, call_result = MESSAGES.call, MESSAGES.call_result


class ServicedStation(MESSAGES.ChargePoint):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.restarts = asyncio.Event()

    @on("SetChargingProfile")
    def on_profile(self, **payload):
        report(limited=payload)
        return call_result.SetChargingProfile(status="Accepted")

    @on("TriggerMessage")
    def on_trigger(self, requested_message, **payload):
        report(did="TriggerMessage", wanted=requested_message)
        return call_result.TriggerMessage(status="Accepted")

    @after("TriggerMessage")
    async def after_trigger(self, **payload):
        await self.call(call.Heartbeat())

    @on("GetLog")
    def on_log(self, **payload):
        report(did="GetLog", payload=payload)
        return call_result.GetLog(status="Accepted", filename="log.txt")

    @after("GetLog")
    async def after_log(self, request_id, **payload):
        for status in ("Uploading", "Uploaded"):
            await self.call(call.LogStatusNotification(status=status, request_id=request_id))

    @on("UpdateFirmware")
    def on_firmware(self, **payload):
        report(did="UpdateFirmware", payload=payload)
        return call_result.UpdateFirmware(**({} if VERSION == "ocpp1.6" else {"status": "Accepted"}))

    @after("UpdateFirmware")
    async def after_firmware(self, request_id=None, **payload):
        more = {} if request_id is None else {"request_id": request_id}
        for status in ("Downloading", "Downloaded", "Installing", "Installed"):
            await self.call(call.FirmwareStatusNotification(status=status, **more))

    @on("Reset")
    def on_reset(self, type, **payload):
        report(did="Reset", type=type)
        return call_result.Reset(status="Accepted")

    @after("Reset")
    async def after_reset(self, **payload):
        self.restarts.set()

    if VERSION == "ocpp1.6":

        @on("GetConfiguration")
        def on_configuration(self, key=()):
            return call_result.GetConfiguration(configuration_key=[], unknown_key=list(key))

        @on("GetDiagnostics")
        def on_diagnostics(self, **payload):
            report(did="GetDiagnostics", payload=payload)
            return call_result.GetDiagnostics(file_name="diagnostics.txt")

        @after("GetDiagnostics")
        async def after_diagnostics(self, **payload):
            for status in ("Uploading", "Uploaded"):
                await self.call(call.DiagnosticsStatusNotification(status=status))

        @on("SignedUpdateFirmware")
        def on_signed_firmware(self, **payload):
            report(did="SignedUpdateFirmware", payload=payload)
            return call_result.SignedUpdateFirmware(status="Accepted")

        @after("SignedUpdateFirmware")
        async def after_signed_firmware(self, request_id, **payload):
            for status in ("Downloaded", "SignatureVerified", "Installed"):
                await self.call(call.SignedFirmwareStatusNotification(status=status, request_id=request_id))
    else:

        @on("GetVariables")
        def on_variables(self, get_variable_data):
            results = [{"attribute_status": "UnknownVariable", **wanted} for wanted in get_variable_data]
            return call_result.GetVariables(get_variable_result=results)

    async def boot(self, reason):
        if VERSION == "ocpp1.6":
            await self.call(call.BootNotification(charge_point_model="M", charge_point_vendor="V"))
        else:
            me = {"model": "M", "vendor_name": "V"}
            await self.call(call.BootNotification(charging_station=me, reason=reason))


async def main() -> None:
    async with websockets.connect(URL, subprotocols=[VERSION]) as socket:
        station = ServicedStation("CS01", socket)
        listening = asyncio.create_task(station.start())
        await station.boot("PowerUp")
        await station.restarts.wait()
        await asyncio.to_thread(sys.stdin.read)
        listening.cancel()
    async with websockets.connect(URL, subprotocols=[VERSION]) as socket:
        station = ServicedStation("CS01", socket)
        listening = asyncio.create_task(station.start())
        await station.boot("RemoteReset")
        listening.cancel()
    report(done=True)


asyncio.run(main())
