"""A backend made of PyPI `ocpp-csms` (OCPP 1.6), run as its own program: csms_backend.py PORT.

Commands each station once, and prints on stdout, a JSON line each, every CALL that it received, and the
transactions that it knows. It gives transaction ids of its own, which count up.
"""

import asyncio
import json
import logging
import sys

from ocpp_csms import CentralSystem, StatusEvent, TransactionStartedEvent, TransactionStoppedEvent
from program_reports import FailureReports, report

WIRE = "ocpp_csms.wire"
CALL = 2


class Wire(logging.Handler):
    """Report the CALLs among the messages that the package logs."""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if "receive message" not in text:
            return
        kind, _, *action = json.loads(text[text.index("[") :])
        if kind == CALL:
            report(saw=action[0], transaction=action[1].get("transactionId"))


async def main() -> None:
    logging.getLogger(WIRE).setLevel(logging.DEBUG)
    logging.getLogger(WIRE).addHandler(Wire())
    logging.getLogger("ocpp_csms").addHandler(FailureReports(logging.WARNING))
    async with CentralSystem(host="127.0.0.1", port=int(sys.argv[1])) as system:
        commanding: dict[str, asyncio.Task[None]] = {}

        async def command(station: str) -> None:
            answer = await system.charge_points[station].async_get_configuration(["HeartbeatInterval"])
            report(commanded="GetConfiguration", unknown_key=list(answer.unknown_keys))

        def on_event(event: object) -> None:
            match event:
                case StatusEvent(charge_point_id=station) if station not in commanding:
                    commanding[station] = asyncio.create_task(command(station))
                case TransactionStartedEvent(transaction=transaction):
                    report(began=transaction.transaction_id)
                case TransactionStoppedEvent(transaction=transaction):
                    report(ended=transaction.transaction_id)

        system.add_listener(on_event)
        report(listening=True)
        await asyncio.Future()


asyncio.run(main())
