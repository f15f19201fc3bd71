"""Stations' messages whose answer is always the same while their backend is away.

Sources: OCPP 1.6 edition 2 and its security whitepaper, section 6 and the messages; OCPP 2.0.1 and 2.1
Part 2, section 1 of the messages' appendix.
"""

from __future__ import annotations

from controller.ocpp.frames import Version

EMPTY = b"{}"
ACCEPTED = b'{"status":"Accepted"}'
REJECTED = b'{"status":"Rejected"}'
FAILED = b'{"status":"Failed"}'

_REPORTS_16 = (
    "DiagnosticsStatusNotification FirmwareStatusNotification LogStatusNotification MeterValues "
    "SecurityEventNotification SignedFirmwareStatusNotification StatusNotification"
)
_REPORTS_2 = (
    "BatterySwap ClearedChargingLimit ClosePeriodicEventStream FirmwareStatusNotification "
    "LogStatusNotification MeterValues NotifyChargingLimit NotifyCustomerInformation NotifyDERAlarm "
    "NotifyDERStartStop NotifyDisplayMessages NotifyEvent NotifyMonitoringReport NotifyPriorityCharging "
    "NotifyReport NotifySettlement NotifyWebPaymentStarted PublishFirmwareStatusNotification "
    "ReportChargingProfiles ReportDERControl ReservationStatusUpdate SecurityEventNotification "
    "StatusNotification"
)

_REPORTED_16 = dict.fromkeys(_REPORTS_16.split(), EMPTY)
_REPORTED_2 = dict.fromkeys(_REPORTS_2.split(), EMPTY) | {"NotifyEVChargingSchedule": ACCEPTED}
_REFUSED_16 = {"DataTransfer": REJECTED, "SignCertificate": REJECTED}
_REFUSED_2 = {
    "DataTransfer": REJECTED,
    "Get15118EVCertificate": b'{"status":"Failed","exiResponse":""}',
    "GetCertificateStatus": FAILED,
    "NotifyEVChargingNeeds": REJECTED,
    "OpenPeriodicEventStream": REJECTED,
    "PullDynamicScheduleUpdate": REJECTED,
    "SignCertificate": REJECTED,
}


def reported(version: Version) -> dict[str, bytes]:
    """Return reports with their answers: the backend decides nothing about them, and may get them later."""
    return _REPORTED_16 if version is Version.V16 else _REPORTED_2


def refused(version: Version) -> dict[str, bytes]:
    """Return requests that only a backend can grant, with OCPP's rejection: the station asks again."""
    return _REFUSED_16 if version is Version.V16 else _REFUSED_2
