"""Actions of OCPP 1.6, 2.0.1 and 2.1 by sender, in the classes that a configuration names.

Sources: OCPP 1.6 edition 2, sections 4 and 5, and its security whitepaper; OCPP 2.0.1 edition 3 and 2.1,
Part 2. A signed message (2.x Part 4, section 7) is the action that is in it: `plain` takes its mark away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

SIGNED = "-Signed"
"""Suffix of the action of a signed message (OCPP 2.x Part 4, 7.2)."""

COMMANDS: Mapping[str, frozenset[str]] = {
    "profiles": frozenset(
        {
            "SetChargingProfile",
            "ClearChargingProfile",
            "UpdateDynamicSchedule",
            "UsePriorityCharging",
            "AFRRSignal",
            "SetDERControl",
            "ClearDERControl",
            "NotifyAllowedEnergyTransfer",
        }
    ),
    "configuration": frozenset(
        {
            "ChangeConfiguration",
            "SetVariables",
            "SetNetworkProfile",
            "SetMonitoringBase",
            "SetMonitoringLevel",
            "SetVariableMonitoring",
            "ClearVariableMonitoring",
            "AdjustPeriodicEventStream",
        }
    ),
    "reset": frozenset({"Reset"}),
    "firmware": frozenset({"UpdateFirmware", "SignedUpdateFirmware", "PublishFirmware", "UnpublishFirmware"}),
    "local-list": frozenset({"SendLocalList", "ClearCache"}),
    "reservations": frozenset({"ReserveNow", "CancelReservation"}),
    "transactions": frozenset(
        {
            "RemoteStartTransaction",
            "RemoteStopTransaction",
            "RequestStartTransaction",
            "RequestStopTransaction",
            "UnlockConnector",
            "RequestBatterySwap",
        }
    ),
    "availability": frozenset({"ChangeAvailability"}),
    "certificates": frozenset({"InstallCertificate", "DeleteCertificate", "CertificateSigned"}),
    "tariffs": frozenset(
        {
            "SetDefaultTariff",
            "ChangeTransactionTariff",
            "ClearTariffs",
            "CostUpdated",
            "NotifyWebPaymentStarted",
        }
    ),
    "displays": frozenset({"SetDisplayMessage", "ClearDisplayMessage"}),
    "customers": frozenset({"CustomerInformation"}),
}
"""Classes of a backend's commands. Each is exclusive: one backend of a station may have it."""

SHARED: Mapping[str, frozenset[str]] = {
    "reads": frozenset(
        {
            "TriggerMessage",
            "ExtendedTriggerMessage",
            "GetBaseReport",
            "GetChargingProfiles",
            "GetCompositeSchedule",
            "GetConfiguration",
            "GetDERControl",
            "GetDiagnostics",
            "GetDisplayMessages",
            "GetInstalledCertificateIds",
            "GetLocalListVersion",
            "GetLog",
            "GetMonitoringReport",
            "GetPeriodicEventStream",
            "GetReport",
            "GetTariffs",
            "GetTransactionStatus",
            "GetVariables",
        }
    ),
    "vendor": frozenset({"DataTransfer"}),
}
"""Classes that several backends may have: queries, and what a vendor and its backend exchange."""

REPORTS: Mapping[str, frozenset[str]] = {
    "boot": frozenset({"BootNotification"}),
    "status": frozenset({"StatusNotification"}),
    "transactions": frozenset({"StartTransaction", "StopTransaction", "TransactionEvent", "MeterValues"}),
    "authorisations": frozenset({"Authorize"}),
    "reservations": frozenset({"ReservationStatusUpdate"}),
    "firmware": frozenset(
        {
            "FirmwareStatusNotification",
            "SignedFirmwareStatusNotification",
            "PublishFirmwareStatusNotification",
            "DiagnosticsStatusNotification",
            "LogStatusNotification",
        }
    ),
    "security": frozenset({"SecurityEventNotification"}),
    "charging": frozenset(
        {
            "NotifyChargingLimit",
            "ClearedChargingLimit",
            "NotifyEVChargingNeeds",
            "NotifyEVChargingSchedule",
            "NotifyPriorityCharging",
            "ReportChargingProfiles",
            "PullDynamicScheduleUpdate",
            "NotifyDERAlarm",
            "NotifyDERStartStop",
            "ReportDERControl",
        }
    ),
    "events": frozenset(
        {
            "NotifyEvent",
            "NotifyPeriodicEventStream",
            "OpenPeriodicEventStream",
            "ClosePeriodicEventStream",
        }
    ),
    "reports": frozenset(
        {
            "NotifyReport",
            "NotifyMonitoringReport",
            "NotifyCustomerInformation",
            "NotifyDisplayMessages",
        }
    ),
    "payments": frozenset({"NotifySettlement", "VatNumberValidation", "BatterySwap"}),
    "certificates": frozenset(
        {
            "SignCertificate",
            "Get15118EVCertificate",
            "GetCertificateStatus",
            "GetCertificateChainStatus",
        }
    ),
    "vendor": frozenset({"DataTransfer"}),
}
"""Classes of a station's messages that an observer may get copies of; Heartbeat is not copied."""

OBSERVED = (
    "BootNotification",
    "StatusNotification",
    "StartTransaction",
    "StopTransaction",
    "TransactionEvent",
    "MeterValues",
)
"""The actions that are copied to an observer by default."""


def plain(action: str) -> str:
    """Return the action without the mark of a signed message."""
    return action.removesuffix(SIGNED)


def commands(listed: Iterable[str]) -> frozenset[str]:
    """Return the backends' actions that a list of actions and classes names."""
    return _meant(listed, {**COMMANDS, **SHARED})


def reports(listed: Iterable[str]) -> frozenset[str]:
    """Return the stations' actions that a list of actions and classes names."""
    return _meant(listed, REPORTS)


def _meant(listed: Iterable[str], classes: Mapping[str, frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*(classes.get(name, frozenset({name})) for name in listed))
