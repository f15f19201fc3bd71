"""Builder of the settings of dimming from a checked configuration."""

from __future__ import annotations

from controller.config import Config
from controller.config.schema import DimmingConfig, DimmingModuleConfig, DimmingSourceConfig
from controller.dimming.digital_inputs import DigitalInput, DigitalInputsSettings
from controller.dimming.dimming_limits import SourceFailsafe
from controller.dimming.dimming_settings import DimmingSettings, SourceSettings
from controller.model.observations import EvseRef
from drivers.settings import InputModuleSettings

_DEFAULT_LOST_S = DigitalInputsSettings(contacts=()).lost_after_s


def make_dimming_settings(config: Config, dimming: DimmingConfig) -> DimmingSettings:
    """Return the settings of a checked configuration."""
    return DimmingSettings(
        connection_point=dimming.connection_point or config.site.id,
        sources=tuple(_source(config, dimming, source) for source in dimming.source),
        failsafe=SourceFailsafe(dimming.failsafe_w, dimming.failsafe_duration_s),
        devices=find_controllable_evses(config),
        counting=dimming.count,
    )


def find_controllable_evses(config: Config) -> dict[EvseRef, str]:
    """Return the controllable EVSEs with their circuits."""
    return {
        EvseRef(station.id, evse.id): config.circuit_of(station, evse) or ""
        for station in config.station
        for evse in station.evse
        if evse.is_controllable
    }


def module_settings(dimming: DimmingConfig) -> dict[str, InputModuleSettings]:
    """Return the input modules of the sources of kind "contact", by the source's id."""
    modules = {module.id: module for module in dimming.module}
    return {
        source.id: _module(modules[source.module], source.id, _inputs(dimming, source.id))
        for source in dimming.source
        if source.kind == "contact" and source.module is not None
    }


def _source(config: Config, dimming: DimmingConfig, source: DimmingSourceConfig) -> SourceSettings:
    refuses = source.kind == "eebus" and config.eebus is not None and config.eebus.below_minimum == "refuse"
    return SourceSettings(
        id=source.id,
        kind=source.kind,
        role=source.role or "",
        signed=source.signed,
        rank=source.rank,
        minimum=source.minimum,
        refuses_below_minimum=refuses and source.minimum,
        lost_after_s=source.lost_after_s or None,
        contacts=_contacts(dimming, source) if source.kind == "contact" else None,
    )


def _contacts(dimming: DimmingConfig, source: DimmingSourceConfig) -> DigitalInputsSettings:
    return DigitalInputsSettings(
        contacts=tuple(
            DigitalInput(name=contact.name, watts=contact.limit_w, on_when=contact.on_when)
            for contact in dimming.contact
            if contact.source == source.id
        ),
        pattern=source.pattern,
        settle_s=source.settle_s,
        lost_after_s=source.lost_after_s or _DEFAULT_LOST_S,
    )


def _inputs(dimming: DimmingConfig, source: str) -> tuple[int, ...]:
    return tuple(contact.input for contact in dimming.contact if contact.source == source)


def _module(module: DimmingModuleConfig, source: str, inputs: tuple[int, ...]) -> InputModuleSettings:
    """Return the settings of a module, with the id of its source."""
    return InputModuleSettings(
        id=source,
        transport=module.transport,
        inputs=inputs,
        driver=module.driver or "",
        host=module.host or "",
        port=module.port or 502,  # IANA: Modbus
        device=module.device or "",
        baud=module.baud,
        parity=module.parity,
        stopbits=module.stopbits,
        unit=module.unit,
        interval_s=module.interval_s,
        timeout_s=module.timeout_s,
    )
