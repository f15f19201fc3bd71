"""Reading of one meter over its bus: SunSpec discovery, the plan of requests, and what is worth asking again.

Within one reading, a connection that was closed is opened anew (`Bus`), a request that was refused is split
(`ReadPlan`), one that was answered with "busy" is made again after a pause, and one without an answer is
made once more where the caller asks for it.
"""

from __future__ import annotations

import math

import trio

from drivers.coded_text import coded
from drivers.decoding import Implausible, decode_reading
from drivers.errors import Cause, DeviceRefusedError, DriverError, ModbusAnswerError, SunSpecError
from drivers.meter_model import MeterModel, Probe, load_model
from drivers.modbus.bus import Bus
from drivers.modbus.pymodbus_frames import DeviceException, Registers
from drivers.read_plan import Field, ReadPlan, ReadRange, RegisterImage, fields_of
from drivers.reading import MeterIdentity, Reading
from drivers.settings import MeterSettings
from drivers.sunspec import PHASES, SunSpecDiscovery, SunSpecMeter

ILLEGAL_FUNCTION = 1
_SPLIT = (1, 2, 3, 4)
"""Exceptions after which a request is split: the meter or its gateway does not read that much or that."""
_RETRIES = {5: 2, 6: 3, 10: 1, 11: 1}
"""Exceptions after which a request is made again, and how often. Each 11 costs the gateway's time limit."""
RETRY_PAUSE_S = 0.1
AFTER_CONNECT_PAUSE_S = 0.2
IDENTITY_PRIORITY = 2
"""Difference between the priority of readings and the lower one of requests for the identity."""
_MEANINGS = {
    5: (Cause.BUSY, coded("it needs longer to answer; raise interval_s and timeout_s")),
    6: (Cause.BUSY, coded("the meter or its gateway is busy; allow it fewer clients, or raise interval_s")),
    10: (
        Cause.GATEWAY,
        coded("the gateway has no path to the meter; check the serial settings of the gateway"),
    ),
    11: (
        Cause.GATEWAY,
        coded(
            "the meter behind the gateway does not answer; check its wiring, its unit number and the serial "
            "settings of the gateway"
        ),
    ),
}


class MeterReader:
    """Reading of one meter: model discovery, the plan of requests, decoding. Keeps what it has learned."""

    def __init__(self, settings: MeterSettings, *, every_quantity: bool = False) -> None:
        self.settings = settings
        self.model = load_model(settings.driver)
        self.image = RegisterImage()
        self._read_at = -math.inf
        self._chain: list[tuple[ReadRange, tuple[int, ...]]] = []
        self.base = 0
        self.sunspec_meter: SunSpecMeter | None = None
        self._every_quantity = every_quantity
        self._phases: int | None = None
        self._plan: ReadPlan | None = None
        self._began_at = 0.0
        self.identity: MeterIdentity | None = None
        """Serial number and firmware of the device; None until they were asked for."""
        self._hides_identity = False
        if self.model.sunspec is None:
            self._plan = self._new_plan()

    async def read(self, bus: Bus, *, retry: bool = True) -> Reading | Implausible:
        """Read the meter once. `retry`: make a request without an answer once more. Raises DriverError."""
        self._began_at = trio.current_time()
        if self._plan is None:
            await self._discover(bus, retry)
        plan = self._plan
        assert plan is not None
        plan.begin(trio.current_time())
        while (read_range := plan.next_range()) is not None:
            answer = await self._request(bus, read_range, retry)
            if isinstance(answer, Registers):
                plan.store(answer.values)
                self._verify_sunspec_head(read_range, answer)
            elif answer.code not in _SPLIT:
                raise _busy_error(answer)
            elif refused := plan.refuse():
                raise self._refused_error(bus, answer, refused)
        self.image = plan.finish(trio.current_time())
        self._read_at = trio.current_time()
        for read_range, words in self._chain:
            self.image.store(read_range, words)
        return decode_reading(
            self.model,
            self.image,
            trio.current_time(),
            base=self.base,
            phases=self._phases,
            wiring=self.settings.wiring,
        )

    def last_registers(self) -> tuple[RegisterImage, float]:
        """Return the registers of the last reading and its monotonic time (s), the SunSpec chain included."""
        return self.image, self._read_at

    def reset_device(self) -> None:
        """Search a SunSpec model and ask for the identity anew: another device or firmware may be there."""
        if not self._hides_identity:
            self.identity = None
        if self.sunspec_meter is not None:
            self._plan, self.sunspec_meter = None, None

    async def identify(self, bus: Bus) -> MeterIdentity:
        """Ask the device for its serial number and firmware; what it does not report stays empty.

        A device that answers nothing to the question is not asked again.
        """
        identity = MeterIdentity()
        if self.sunspec_meter is not None:
            identity = self.sunspec_meter.identity
        else:
            places = self.model.identify
            try:
                serial_number = await self._read_text(bus, places.serial_number)
                firmware = await self._read_text(bus, places.firmware)
                identity = MeterIdentity(serial_number=serial_number, firmware=firmware)
            except DriverError:
                self._hides_identity = True
        self.identity = identity
        return identity

    async def _read_text(self, bus: Bus, place: Probe | None) -> str:
        if place is None:
            return ""
        read_range = ReadRange(place.function, place.address, place.words)
        answer = await self._exchange(bus, read_range, None, lower=IDENTITY_PRIORITY)
        return str(place.decode(answer.values)) if isinstance(answer, Registers) else ""

    def _new_plan(self) -> ReadPlan:
        fields = fields_of(self.model, self.base, self._phases, every_quantity=self._every_quantity)
        return ReadPlan(fields, self.model.read.max_registers, bridge_gaps=self.model.read.bridge_gaps)

    async def _request(self, bus: Bus, read_range: ReadRange, retry: bool) -> Registers | DeviceException:
        """Make one request, again where that helps."""
        attempts: dict[int, int] = {}
        lost = False
        while True:
            try:
                answer = await self._exchange(bus, read_range, None if lost else self._began_at)
            except ModbusAnswerError:
                if lost or not retry:
                    raise
                lost = True
                continue
            if isinstance(answer, Registers):
                return answer
            first = bus.just_opened and not attempts  # gateways are not ready right after a connect
            code = answer.code
            attempts[code] = attempts.get(code, 0) + 1
            if not first and attempts[code] > _RETRIES.get(code, 0):
                return answer
            await trio.sleep(AFTER_CONNECT_PAUSE_S if first else RETRY_PAUSE_S * 2 ** attempts[code])

    async def _exchange(
        self, bus: Bus, read_range: ReadRange, since: float | None, *, lower: int = 0
    ) -> Registers | DeviceException:
        settings = self.settings
        return await bus.read(
            settings.unit,
            read_range,
            settings.answer_timeout_s,
            priority=settings.priority - lower,
            since=since,
            gap_s=self.model.read.gap_ms / 1000,
        )

    async def _discover(self, bus: Bus, retry: bool) -> None:
        """Find the SunSpec model that is configured, and its layout. Raises SunSpecError."""
        discovery = await self.discover(bus, retry=retry)
        layouts = sunspec_layouts(load_model(self.settings.driver))
        meter = discovery.select(
            {number: each.sunspec.length for number, each in layouts.items() if each.sunspec is not None},
            self.settings.selection,
        )
        self.model, self.sunspec_meter = layouts[meter.model], meter
        self.base, self._phases = meter.base, PHASES[meter.model]
        self._plan = self._new_plan()

    async def discover(self, bus: Bus, *, retry: bool = True) -> SunSpecDiscovery:
        """Read the whole chain of SunSpec models of the device. Raises DriverError."""
        discovery = SunSpecDiscovery()
        self._chain = []
        while (read_range := discovery.next_range()) is not None:
            answer = await self._request(bus, read_range, retry)
            if isinstance(answer, Registers):
                discovery.store(answer.values)
                self._chain.append((read_range, answer.values))
            elif answer.code in _MEANINGS:
                raise _busy_error(answer)
            elif answer.code == ILLEGAL_FUNCTION and bus.role:
                raise self._role_error(bus, answer)
            else:
                discovery.refuse(str(answer))
        return discovery

    def _verify_sunspec_head(self, read_range: ReadRange, answer: Registers) -> None:
        """Raise SunSpecError if the model does not stand where it was found any more."""
        meter = self.sunspec_meter
        if meter is None or read_range.address != meter.base or len(answer.values) < 2:
            return
        if answer.values[:2] != (meter.model, meter.length):
            raise SunSpecError(
                coded(
                    "its SunSpec model {model} is no longer at {address}; it is searched anew",
                    model=meter.model,
                    address=meter.base,
                )
            )

    def _refused_error(self, bus: Bus, answer: DeviceException, refused: Field) -> DriverError:
        if answer.code == ILLEGAL_FUNCTION and bus.role:
            return self._role_error(bus, answer)
        return DeviceRefusedError(
            coded(
                'it answers {answer} to {count} registers from {address}, which are necessary; is "{driver}" '
                "the right driver, and {unit} the right unit?",
                answer=answer,
                count=refused.words,
                address=refused.address,
                driver=self.settings.driver,
                unit=self.settings.unit,
            )
        )

    def _role_error(self, bus: Bus, answer: DeviceException) -> DriverError:
        return DeviceRefusedError(
            coded(
                "it answers {answer}: our certificate, with {role}, may not read; use one with a role that "
                "may, such as ReadOnlySunSpec",
                answer=answer,
                role=bus.role,
            ),
            Cause.ROLE,
        )


def sunspec_layouts(model: MeterModel) -> dict[int, MeterModel]:
    """Return the layout of each SunSpec model id that a driver can decode."""
    if model.sunspec is None:
        return {}
    if not model.sunspec.layouts:
        return dict.fromkeys(model.sunspec.models, model)
    found: dict[int, MeterModel] = {}
    for name in model.sunspec.layouts:
        found |= sunspec_layouts(load_model(name))
    return found


def _busy_error(answer: DeviceException) -> DeviceRefusedError:
    cause, meaning = _MEANINGS.get(answer.code, (Cause.REFUSED, coded("check the meter and its gateway")))
    return DeviceRefusedError(coded("it answers {answer}: {meaning}", answer=answer, meaning=meaning), cause)
