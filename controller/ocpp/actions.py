"""All actions of OCPP 1.6, 2.0.1 and 2.1, by who sends them, and the names under which a person lists them.

Sources: OCPP 1.6 edition 2, sections 4 and 5, and its security whitepaper; OCPP 2.0.1 edition 3 and 2.1,
Part 2. A signed message (2.x Part 4, section 7) is the action that is in it: `plain` takes its mark away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

SIGNED = "-Signed"
"""What ends the action of a signed message (OCPP 2.x Part 4, 7.2)."""

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
"""The classes of what a backend commands. Each is exclusive: of the backends of one station, one has it."""

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
"""What several backends may have: it asks, or it is between a vendor and its backend alone."""

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
"""The classes of what a station says, of which an observer may see copies; Heartbeat is nobody's to see."""

OBSERVED = (
    "BootNotification",
    "StatusNotification",
    "StartTransaction",
    "StopTransaction",
    "TransactionEvent",
    "MeterValues",
)
"""What an observer sees where nothing else is said."""


def plain(action: str) -> str:
    """The action itself, of a signed message too."""
    return action.removesuffix(SIGNED)


def commands(listed: Iterable[str]) -> frozenset[str]:
    """The actions of backends that a list of actions and classes means."""
    return _meant(listed, {**COMMANDS, **SHARED})


def reports(listed: Iterable[str]) -> frozenset[str]:
    """The actions of stations that a list of actions and classes means."""
    return _meant(listed, REPORTS)


def _meant(listed: Iterable[str], classes: Mapping[str, frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*(classes.get(name, frozenset({name})) for name in listed))
