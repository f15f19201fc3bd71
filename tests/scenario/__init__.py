"""Scenarios: a controller between its peers, in the same verbs on three drivers.

    @on_drivers()
    async def test_meter_that_fails_takes_limits_to_fallback(driver: Driver, tmp_path: Path) -> None:
        async with run_site(driver, SiteSpec(limit_a=40.0, has_meter=True), tmp_path) as site:
            site.csms.answer_automatically()
            station = await site.connect_station("CS01")
            await Car(max_a=16.0).plug_in(station)
            site.meter.fail()
            await station.wait_limit(lambda limit_a: limit_a == 6.0)

Peers and verbs (`peers`, `scenario_site`):

    Site          connect_station, add_station, restart, wait_limits
    Station       send, send_call, send_result, request, receive, receive_call, receive_result, receive_error,
                  boot, wait_limit, wait_closed, disconnect; limits, limit_a
    Csms          link, answer_automatically, go_away, come_back; a link has the verbs of Station, answer_call
                  and wait_call
    Car           plug_in, report_draw, unplug
    Meter         measure_building, fail, recover
    GridOperator  send_limit, repeat_last

A verb that receives takes the next text and fails on any other one; one that waits lets time pass until its
condition holds. The controller's own CALLs to a station are answered at once.

Drivers (`drivers`):

    core      the state machines of relays, load management, dimming and site identity, glued by their
              effects; virtual time, no trio task: milliseconds a scenario
    session   the controller's services and sessions over memory streams, with trio's virtual clock
    daemon    the controller in process, over loopback sockets, with real time: seconds a scenario

A scenario runs on all drivers unless it needs minutes (`on_drivers(Driver.CORE, Driver.SESSION)`). It waits
for events, never for a time. What one layer alone shows belongs to the harness of that layer, which uses the
same verbs: `relay_harness` (one relay, effect by effect), `observer_harness`, `offline_harness`,
`stored_relay`, `site_harness` (load management with physics, second by second), `dimming_harness`,
`link_harness` (sessions over sockets), `daemon_peers`, `dimmed_daemon`, `signed_daemon`, `eebus_guard`,
`busy_site` (processes that are killed).
"""
