"""CSV and sums of charging sessions."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from controller.session_ledger.charging_session import CardReference, ChargingSession
from controller.session_ledger.session_export import SessionRow, SessionSum, make_rows, sum_by_card, write_csv

BERLIN = ZoneInfo("Europe/Berlin")
ANNA = CardReference(label="Anna", token_hash="aa", token_ending="B2")


def session(started_at: float, wh: float | None, card: CardReference = ANNA, **more: str) -> ChargingSession:
    return ChargingSession(
        station="CS01",
        evse=1,
        transaction="7",
        started_at=started_at,
        updated_at=started_at + 60,
        ended_at=started_at + 60,
        meter_start_wh=1000,
        meter_wh=None if wh is None else 1000 + wh,
        end_reason=more.get("end_reason", "Local"),
        card=card,
    )


def test_session_export_rows_are_sorted_and_in_sites_time_zone() -> None:
    rows = make_rows([session(1_795_003_600, 20), session(1_795_000_000, 1234.5)], BERLIN)
    assert [row.start for row in rows] == ["2026-11-18T12:06:40+01:00", "2026-11-18T13:06:40+01:00"]
    assert rows[0].energy_kwh == 1.234
    assert rows[0].duration_s == 60


def test_session_export_csv_has_header_and_no_formula() -> None:
    text = write_csv(
        make_rows([session(1_795_000_000, None, end_reason="=HYPERLINK(1)")], BERLIN), SessionRow
    )
    header, line, _ = text.split("\r\n")
    assert (
        header
        == "station,evse,transaction,start,end,duration_s,energy_kwh,card,end_reason,clock_synchronised"
    )
    assert line.endswith(",60,,Anna,'=HYPERLINK(1),true")


def test_sums_are_per_local_month_and_card() -> None:
    new_year_utc = 1_798_759_800  # 2026-12-31T23:30Z: January in Berlin
    other = CardReference(token_hash="bb", token_ending="9")
    sums = sum_by_card(
        [
            session(1_795_000_000, 500),
            session(1_795_000_100, 700),
            session(1_795_000_200, None),
            session(new_year_utc, 100),
            session(1_795_000_000, 50, other),
        ],
        BERLIN,
    )
    assert [
        (each.month, each.card, each.sessions, each.energy_kwh, each.without_energy) for each in sums
    ] == [
        ("2026-11", "Anna", 3, 1.2, 1),
        ("2026-11", "…9 (bb)", 1, 0.05, 0),
        ("2027-01", "Anna", 1, 0.1, 0),
    ]
    assert write_csv(sums, SessionSum).startswith(
        "month,card,sessions,energy_kwh,duration_s,without_energy,clock_not_synchronised\r\n"
    )
