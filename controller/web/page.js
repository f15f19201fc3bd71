// The page of the site: one view at a time, live by server-sent events. All texts of the site are written as
// textContent, never as markup.

import { lineChart, timeMarks } from "/assets/charts.js";
import { API, ask, button, byId, cell, command, element, facts, field, follow, numberInput, readNumber, request, secretInput, select, show, table, twoLines, write } from "/assets/elements.js";
import { codedText } from "/assets/findings.js";
import { showSettings } from "/assets/settings.js";
import { sentence, statementLanguage, statementText } from "/assets/statements.js";
import { chooseLanguage, hasText, language, text } from "/assets/texts.js";

const LOST_MS = 5000; // without an event of any kind for so long, and a stream that is not open: the values are old
const SILENT_MS = 35000; // the same for an open stream, which has an event each 15 s: its other end hangs
const NO_QUIRK = "follows OCPP"; // name of the row of a station that has none
const FULL = 1.0, NEAR = 0.9;
const PHASES = ["L1", "L2", "L3"];

const state = { status: null, me: null, stream: null, receivedAt: Date.now(), sessions: [], connections: 0, isShown: false, update: () => {} };

// -- values -----------------------------------------------------------------------------------------------

const number = (value, digits = 1) => value.toLocaleString(language(), { minimumFractionDigits: digits, maximumFractionDigits: digits });
const shortNumber = (value) => value.toLocaleString(language(), { maximumFractionDigits: 1 });
const amps = (value) => number(value);
const phaseAmps = (values) => `${values.map((value) => (value ? amps(value) : "–")).join(" / ")} A`;
const watts = (value) => (value === null || value === undefined ? "–" : Math.abs(value) >= 1000 ? `${number(value / 1000, 2)} kW` : `${number(value, 0)} W`);
const offer = (evse) => (evse.offered_w === null ? `${amps(evse.offered_a)} A` : watts(evse.offered_w));
const moment = (value) => (value ? new Date(value).toLocaleString(language(), { dateStyle: "short", timeStyle: "short", timeZone: state.status?.timezone }) : "–");
const clockTime = (value) => new Date(value).toLocaleTimeString(language(), { timeStyle: "short", timeZone: state.status?.timezone });
const evseName = (evse) => `${evse.station}/${evse.evse}`;

function age(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${number(seconds / 3600, seconds < 36000 ? 1 : 0)} h`;
}

// What a list of that name changes with: after another connection everything may have changed.
const revision = (status, name) => `${state.connections} ${status.revisions[name]}`;
const may = (permission) => state.me?.permissions.includes(permission) ?? false;
const can = (command) => state.me?.commands.includes(command) ?? false;
const stationOf = (id) => state.status.stations.find((station) => station.id === id);
const overrideOf = (evse) => stationOf(evse.station)?.overrides.find((each) => each.evse === evse.evse);
const runningAt = (evse) => state.sessions.find((each) => each.station === evse.station && each.evse === evse.evse && each.ended === null);
const overrideText = (each) => text("overrideUntil", { kind: text(`kind.${each.kind}`, { value: each.value }), time: moment(each.until), by: each.by });
const isMeasured = (circuit) => Boolean(circuit.measured_a) && circuit.meter_quality === "good";
// The load beside the EVSEs; without good readings it is the highest of the time before, or that of the configuration.
const baseLoadText = (circuit) => `${phaseAmps(circuit.base_a)}${isMeasured(circuit) ? "" : ` (${text("assumed")})`}`;
const possible = (circuit, phase) => circuit.base_a[phase] + circuit.booked_a[phase];

const durations = () => select([[900, text("minutes", { count: 15 })], [3600, text("hours", { count: 1 })], [14400, text("hours", { count: 4 })], [43200, text("hours", { count: 12 })], [86400, text("hours", { count: 24 })], [604800, text("days", { count: 7 })]].map(([value, label]) => [String(value), label]), "14400");
// Commands for an EVSE: [command, label, extra inputs].
const EVSE_COMMANDS = [
  ["station.pause", "pause", () => [["duration_s", text("duration"), durations(), readNumber]]],
  ["station.limit", "limitAction", () => [["limit_a", text("amps"), numberInput(10, 0, 1000, 0.1), readNumber], ["duration_s", text("duration"), durations(), readNumber]]],
  ["station.prioritize", "prioritize", () => [["priority", text("priority"), numberInput(10, -1000, 1000), readNumber], ["duration_s", text("duration"), durations(), readNumber]]],
  ["station.boost", "boost", () => [["duration_s", text("duration"), durations(), readNumber]]],
  ["station.resume", "resume", () => []],
  ["station.start", "start", () => [["id_token", text("idToken"), element("input", { required: true, maxlength: "36", autocomplete: "off" })]]],
  ["station.stop", "stop", () => [], true],
];
const STATION_COMMANDS = [
  ["station.reconnect", "reconnect", () => [], true],
  ["station.reset", "reset", () => [["mode", text("resetMode"), select([["soft", text("soft")], ["hard", text("hard")]])]], true],
];

function commandButtons(commands, target, subject) {
  return element("div", { class: "actions" }, ...commands.filter(([name]) => can(name)).map(([name, label, inputs, danger]) => button(text(label), async () => {
    const members = await ask(text("confirm", { action: text(label), subject }), inputs(), { danger: Boolean(danger) });
    if (members) await command(name, { ...target, ...members }, `${text(label)} ${subject}`);
  }, danger ? "danger" : "")));
}

// -- the sign: one line that says whether the site is fine ------------------------------------------------

const alarmTitle = (alarm) => sentence(statementText(alarm.statement, alarm.text));
const alarmRemedy = (alarm) => statementText(alarm.remedy_statement, alarm.remedy);
const reasonText = (evse) => statementText(evse.statement, evse.reason);

const EARLIEST = new Date("2026-01-01T00:00:00Z"); // a clock that shows less is not set

// A fault becomes an alarm once it has lasted for a while: until then the site is not called fine, and it is named.
function passingFaults(status) {
  const away = (backend) => Object.values(backend.links).every((count) => !count) && status.stations.some((each) => each.connected && each.owner === backend.id);
  const silent = [...status.meters.filter((each) => each.quality !== "good"), ...status.backends.filter(away), ...status.stations.filter((each) => !each.connected)].map((each) => each.id).concat((status.dimming?.source_faults ?? []).map((each) => each.source));
  const over = status.circuits.filter((each) => each.over_limit_s > 0).map((each) => each.id);
  const listed = (names) => (names.length > 5 ? `${names.slice(0, 5).join(", ")} …` : names.join(", "));
  return [over.length ? text("overNow", { names: listed(over) }) : "", silent.length ? text("silentNow", { names: listed(silent) }) : ""].filter(Boolean).join(" ");
}

let signShown = "";
function updateSign() {
  const sign = byId("sign"), status = state.status;
  let kind = "lost", parts = [["mark", "…"], ["title", text("connecting")]];
  const isOld = Date.now() - state.receivedAt > (state.stream?.readyState === EventSource.OPEN ? SILENT_MS : LOST_MS);
  if (status && isOld) parts = [["mark", "!"], ["title", text("lost", { time: clockTime(state.receivedAt) })]];
  else if (status) {
    const faults = status.alarms.filter((alarm) => alarm.severity !== "info"), worst = faults[0];
    kind = worst ? worst.severity : "fine";
    if (worst) {
      const more = faults.length > 1 ? ` (${text("alarmCount", { count: faults.length - 1 })})` : "";
      parts = [["mark", "!"], ["title", alarmTitle(worst) + more], ["remedy", text("remedy", { text: alarmRemedy(worst) })]];
    } else {
      const info = status.alarms.map(alarmTitle).join("; "), passing = passingFaults(status);
      const unset = new Date(status.time) < EARLIEST ? ` ${text("clockUnset")}` : "";
      if (passing) kind = "passing";
      parts = passing ? [["mark", "…"], ["title", text("passing")], ["remedy", passing + unset]] : [["mark", "✓"], ["title", text("fine")], ["remedy", info || text("fineText") + unset]];
    }
  }
  const wanted = JSON.stringify([kind, parts]);
  if (wanted === signShown) return; // a live region speaks only when something has changed
  signShown = wanted;
  const [[, mark], [, title], remedy] = parts;
  sign.className = `sign ${kind}`;
  sign.replaceChildren(element("span", { class: "mark", "aria-hidden": "true" }, mark), element("div", {}, element("p", {}, element("strong", {}, title)), remedy ? element("p", { class: "quiet" }, remedy[1]) : null));
}

// -- views ------------------------------------------------------------------------------------------------

const percent = (part) => `${100 * Math.max(0, Math.min(1, part))}%`;

// The limits that the calendar or a backend leaves now.
const limitsNow = (circuit) => circuit.limit_now_a ?? circuit.limit_a;
const isLowered = (circuit) => limitsNow(circuit).some((limit, phase) => limit < circuit.limit_a[phase]);

// A bar for each phase: what flows, behind it what may flow by the limits of the EVSEs, and where the margin begins.
// A circuit is full when the second reaches the third, also while the cars take less.
function phaseBars() {
  const bars = PHASES.map((name) => {
    const fill = element("div", { class: "fill" }), booked = element("div", { class: "booked" }), margin = element("div", { class: "margin" }), value = element("span", { class: "number" }, element("span"), element("span", { class: "second" }));
    return { fill, booked, margin, value, bar: element("div", { class: "phase" }, element("span", {}, name), element("div", { class: "trough", "aria-hidden": "true" }, booked, fill, margin), value) };
  });
  const update = (circuit) => bars.forEach(({ fill, booked, margin, value }, phase) => {
    const measured = isMeasured(circuit);
    const now = measured ? circuit.measured_a[phase] : possible(circuit, phase), limit = circuit.limit_a[phase], share = now / limit;
    fill.style.width = percent(share);
    booked.style.width = percent(possible(circuit, phase) / limit);
    margin.style.left = percent((limitsNow(circuit)[phase] - circuit.margin_a) / limit);
    fill.className = [share > FULL ? "fill over" : share > NEAR ? "fill near" : "fill", measured ? "" : "assumed"].join(" ").trim();
    value.className = share > FULL ? "number over" : "number";
    write(value.firstChild, text("of", { value: amps(now), limit: shortNumber(limit) }));
    write(value.lastChild, measured ? "" : text("assumed"));
  });
  return [element("div", { class: "phases" }, ...bars.map(({ bar }) => bar)), update];
}

function meterText(circuit) {
  if (circuit.meter_quality === null) return [text("noMeter"), "quiet"];
  const problem = circuit.meter_problem ? `: ${statementText(circuit.meter_statement, circuit.meter_problem)}` : "";
  const isGood = circuit.meter_quality === "good";
  return [isGood && problem ? `${text("meter")}${problem}` : `${text("meter")} ${text(`quality.${circuit.meter_quality}`)}${problem}`, !isGood ? "over" : problem ? "near" : "quiet"];
}

function marginText(circuit) {
  const parts = [`${amps(circuit.margin_a)} A`];
  if (circuit.learns_margin) parts.push(text(circuit.proposed_margin_a === null ? "marginLearning" : "marginLearned", { times: circuit.jumps }));
  else if (circuit.jumps) parts.push(text("marginJumps", { times: circuit.jumps }));
  if (circuit.jumps) parts.push(text("marginHighest", { highest: amps(circuit.jump_a) }));
  if (circuit.jumps_beyond) parts.push(text("marginBeyond", { times: circuit.jumps_beyond }));
  if (circuit.proposed_margin_a > circuit.margin_a) parts.push(text("marginProposed", { value: amps(circuit.proposed_margin_a) }));
  return parts.join(", ");
}

// A card with the bars of a circuit; a view with several of them explains the bars once.
function circuitCard(id, note = null, heading = "h2") {
  const meter = element("p"), [bars, updateBars] = phaseBars();
  const [list, updateList] = facts([
    [text("baseLoad"), (circuit) => (circuit.base_a.every((each) => !each) && !isMeasured(circuit) ? null : baseLoadText(circuit))],
    [text("booked"), (circuit) => phaseAmps(circuit.booked_a)],
    [text("margin"), marginText],
    [text("limitNow"), (circuit) => (isLowered(circuit) ? text("limitLowered", { limit: phaseAmps(limitsNow(circuit)) }) : null)],
  ]);
  const first = state.status.circuits.find((circuit) => circuit.id === id);
  const card = element("section", { class: "card" }, element(heading, {}, id), first.parent ? element("p", { class: "quiet" }, text("parent", { name: first.parent })) : null, bars, note, meter, list);
  return [card, (status) => {
    const circuit = status.circuits.find((each) => each.id === id);
    if (!circuit) return;
    updateBars(circuit);
    updateList(circuit);
    write(meter, ...meterText(circuit));
  }];
}

const barNote = () => element("p", { class: "note" }, text("barText"));

function alarmTable() {
  const writeLines = twoLines(alarmTitle, (alarm) => text("remedy", { text: alarmRemedy(alarm) }));
  const [made, update] = table(text("alarms"), [
    { title: text("problem"), write: (node, alarm) => { writeLines(node, alarm); node.firstChild.className = alarm.severity === "info" ? "" : alarm.severity === "critical" ? "over" : "near"; } },
    { title: text("since", { time: "" }), class: "wide whole", write: cell((alarm) => moment(alarm.since)) },
  ], text("noAlarms"));
  return [made, (status) => update(status.alarms, (alarm) => `${alarm.kind} ${alarm.subject}`)];
}

function viewOverview(main) {
  const root = state.status.circuits[0];
  const [card, updateCard] = circuitCard(root.id, barNote());
  const [list, updateList] = facts([
    [text("building"), (status) => baseLoadText(status.circuits[0])],
    [text("chargingNow"), (status) => `${status.evses.filter((evse) => evse.state === "charging").length} / ${status.evses.length}`],
    [text("stations"), (status) => `${status.stations.filter((station) => station.connected).length} / ${status.stations.length} ${text("connected")}`],
    [text("dimming"), dimmingText],
  ]);
  const [alarms, updateAlarms] = alarmTable();
  const [evses, updateEvses] = evseTable(text("noneCharging"));
  const [energy, updateEnergy] = energyCard();
  main.append(element("div", { class: "grid" }, card, element("section", { class: "card" }, element("h2", {}, text("drawing")), list)), element("section", { class: "card" }, element("h2", {}, text("alarms")), alarms), energy, element("section", { class: "card" }, element("h2", {}, text("chargingNow")), evses));
  return (status) => {
    updateCard(status);
    updateList(status);
    updateAlarms(status);
    updateEnergy(status);
    updateEvses(status, status.evses.filter((evse) => evse.state === "charging").slice(0, 20));
  };
}

// Energy over hours: what the plan holds to now. Hidden at a site without targets, prices, groups or a battery.
function energyCard() {
  const [list, updateList] = facts([
    [text("price"), (energy) => (energy.price === null ? null : `${number(energy.price, 3)} / kWh`)],
    [text("calendar"), (energy) => energy.calendar.join(", ") || null],
    [text("battery"), (energy) => (energy.battery_a ? `${amps(energy.battery_a)} A` : null)],
  ]);
  const [peaks, updatePeaks] = table(text("quarterPeaks"), [
    { title: text("circuit"), write: cell((peak) => peak.circuit) },
    { title: text("quarterUsed"), class: "number", write: twoLines((peak) => `${number(peak.used_kwh, 2)} / ${number(peak.budget_kwh, 2)} kWh`, (peak) => `${peak.assumed ? `${text("quarterAssumed")}, ` : ""}${text("quarterTarget", { target: watts(1000 * peak.target_kw), ends: age(peak.ends_in_s) })}`) },
    { title: text("monthPeak"), class: "number wide", write: cell((peak) => (peak.month_kw ? watts(1000 * peak.month_kw) : "–")) },
  ]);
  const [groups, updateGroups] = table(text("groups"), [
    { title: text("group"), write: cell((group) => group.id) },
    { title: text("guaranteed"), class: "number wide", write: cell((group) => `${amps(group.guaranteed_a)} A`) },
    { title: text("usedToday"), class: "number", write: cell((group) => `${number(group.used_kwh)}${group.quota_kwh === null ? "" : ` / ${number(group.quota_kwh)}`} kWh`) },
  ]);
  const [waiting, updateWaiting] = table(text("waitingCars"), [
    { title: text("evse"), write: cell(evseName) },
    { title: text("begins"), class: "whole", write: cell((each) => (each.begins === null ? "–" : moment(each.begins))) },
  ]);
  const card = element("section", { class: "card captioned", hidden: true }, element("h2", {}, text("energyPlan")), list, peaks, groups, waiting);
  return [card, ({ energy }) => {
    card.hidden = !energy || !(energy.peaks.length || energy.calendar.length || energy.groups.length || energy.waiting.length || energy.price !== null || energy.battery_a);
    if (card.hidden) return;
    updateList(energy);
    updatePeaks(energy.peaks, (peak) => peak.circuit);
    updateGroups(energy.groups, (group) => group.id);
    updateWaiting(energy.waiting, evseName);
  }];
}

function dimmingText(status) {
  const dimming = status.dimming;
  if (!dimming) return "–";
  if (!dimming.dimmed) return text("notDimmed");
  return `${text(isAssumed(dimming) ? "dimmingAssumed" : "dimmedNow")}: ${watts(dimming.limit_w)}`;
}

function isAssumed(dimming) {
  return dimming.statement?.code === "dimmed-assumed";
}

// The sources that are lost, also where a lower limit holds that another source has ordered.
function sourceFault(dimming) {
  if (!dimming.source_fault) return text("none");
  const fault = codedText(dimming.source_fault_parts ?? dimming.source_fault, dimming.source_fault);
  return isAssumed(dimming) ? `${text("dimmingAssumed")} (${fault})` : fault;
}

function viewCircuits(main) {
  const cards = state.status.circuits.map((circuit) => circuitCard(circuit.id));
  main.append(barNote(), element("div", { class: "grid" }, ...cards.map(([card]) => card)));
  return (status) => cards.forEach(([, update]) => update(status));
}

function stateText(evse) {
  if (!evse.connected) return [text(evse.ocpp ? "unaccepted" : "away"), "near"];
  const kind = evse.state === "faulted" ? "over" : evse.state === "charging" ? "good" : "";
  return [text(`evse.${evse.state}`), kind];
}

function evseTable(empty) {
  const [made, update] = table(text("evses"), [
    { title: text("evse"), write: (node, evse) => {
      if (!node.firstChild) node.append(element("a", { href: `#/stations/${encodeURIComponent(evse.station)}` }), element("span", { class: "second" }));
      write(node.firstChild, evseName(evse));
      write(node.lastChild, stationOf(evse.station)?.label ?? "");
    } },
    { title: text("state"), write: (node, evse) => {
      if (!node.firstChild) node.append(element("span"), element("span", { class: "second" }), element("span", { class: "second" }));
      const override = overrideOf(evse);
      write(node.children[0], ...stateText(evse));
      write(node.children[1], override ? overrideText(override) : "");
      write(node.children[2], reasonText(evse), evse.obeys === false ? "second near" : "second");
      node.children[2].lang = statementLanguage(evse.statement);
    } },
    { title: text("offered"), class: "number", write: cell(offer) },
    { title: text("drawn"), class: "number wide", write: cell((evse) => phaseAmps(evse.drawn_a)) },
    { title: text("energy"), class: "number wide", write: cell((evse) => { const session = runningAt(evse); return session?.energy_wh !== null && session !== undefined ? `${number(session.energy_wh / 1000)} kWh` : ""; }) },
    { title: text("card"), class: "wide", write: cell((evse) => runningAt(evse)?.card ?? "") },
  ], empty);
  return [made, (_, evses) => update(evses, evseName)];
}

const FILTERS = {
  all: () => true,
  charging: (evse) => evse.state === "charging",
  away: (evse) => !evse.connected,
  faulted: (evse) => evse.connected && (evse.state === "faulted" || evse.obeys === false),
  paused: (evse) => overrideOf(evse) !== undefined,
};

// The summary of a folded circuit: a fault must be seen without unfolding it.
function foldText(circuit, evses) {
  const counts = ["away", "faulted"].map((name) => [name, evses.filter(FILTERS[name]).length]).filter(([, count]) => count > 0);
  return [[`${circuit}: ${evses.length}`, ...counts.map(([name, count]) => `${count} ${text(name)}`)].join(", "), counts.length ? "near" : ""];
}

function viewStations(main) {
  const search = element("input", { type: "search" }), filter = select(Object.keys(FILTERS).map((name) => [name, text(name)]));
  const count = element("p", { class: "quiet", role: "status" }), folds = new Map(), place = element("div");
  const [knocks, updateKnocks] = knockCard();
  const matches = (evse) => {
    const wanted = search.value.trim().toLowerCase(), station = stationOf(evse.station);
    return FILTERS[filter.value](evse) && [evseName(evse), station?.label, station?.model, evse.circuit].some((each) => (each ?? "").toLowerCase().includes(wanted));
  };
  const update = (status) => {
    const chosen = status.evses.filter(matches), isSearch = search.value.trim() !== "" || filter.value !== "all";
    write(count, text("shown", { shown: chosen.length, count: status.evses.length }));
    for (const [id, { fold }] of folds) if (!status.circuits.some((circuit) => circuit.id === id)) { fold.remove(); folds.delete(id); }
    for (const circuit of status.circuits) {
      const evses = chosen.filter((evse) => evse.circuit === circuit.id);
      if (!folds.has(circuit.id)) {
        const [made, updateRows] = evseTable(), head = element("summary");
        const fold = element("details", { class: "card" }, head, made);
        fold.open = status.evses.length <= 40;
        folds.set(circuit.id, { fold, head, updateRows });
        place.append(fold);
      }
      const { fold, head, updateRows } = folds.get(circuit.id);
      fold.hidden = evses.length === 0;
      write(head, ...foldText(circuit.id, evses));
      if (isSearch && chosen.length <= 40) fold.open = true;
      if (fold.open) updateRows(status, evses);
    }
    updateKnocks(status);
  };
  for (const input of [search, filter]) input.addEventListener("input", () => update(state.status));
  place.addEventListener("toggle", () => update(state.status), true);
  main.append(element("div", { class: "row" }, field(text("search"), search), field(text("filter"), filter)), count, place, knocks);
  return update;
}

function knockCard() {
  const [made, update] = table(text("knocks"), [
    { title: text("station"), write: twoLines((knock) => knock.id, (knock) => [knock.vendor, knock.model, knock.serial_number, knock.firmware].filter(Boolean).join(" ")) },
    { title: text("address"), write: (node, knock) => write(node, knock.peer, knock.peer.includes(":") ? "" : "whole") },
    { title: text("firstSeen"), class: "wide whole", write: cell((knock) => moment(knock.first_seen)) },
    { title: text("lastSeen"), class: "wide whole", write: cell((knock) => moment(knock.last_seen)) },
    { title: text("tries"), class: "number wide", write: cell((knock) => knock.tries) },
    ...(can("station.adopt") ? [{ title: text("adopt"), write: (node, knock) => { if (!node.firstChild) node.append(button(text("adopt"), () => adopt(knock))); } }] : []),
  ]);
  const card = element("section", { class: "card", hidden: true }, element("h2", {}, text("knocks")), element("p", { class: "quiet" }, text("knockText")), made);
  return [card, (status) => { card.hidden = status.knocks.length === 0; update(status.knocks, (knock) => knock.id); }];
}

async function adopt(knock) {
  const circuits = select(state.status.circuits.map((circuit) => [circuit.id, circuit.id]));
  const owners = select([["", text("ownSite")], ...state.status.backends.map((backend) => [backend.id, backend.id])]);
  const phases = select([["L1,L2,L3", "L1 L2 L3"], ["L2,L3,L1", "L2 L3 L1"], ["L3,L1,L2", "L3 L1 L2"], ["L1", "L1"], ["L2", "L2"], ["L3", "L3"]]);
  const members = await ask(text("confirm", { action: text("adopt"), subject: knock.id }), [
    ["circuit", text("circuit"), circuits],
    ["phases", text("phases"), phases, (input) => input.value.split(",")],
    ["max_a", text("maxAmps"), numberInput(32, 6, 1000, 0.1), readNumber],
    ["label", text("name"), element("input", { maxlength: "60", autocomplete: "off" }), (input) => input.value.trim() || undefined],
    ["owner", text("owner"), owners, (input) => input.value || undefined],
  ], { note: text("knockText") });
  const result = members && await command("station.adopt", { station: knock.id, ...members });
  if (!result) return;
  const waits = [...(result.needs_restart ?? []), ...(result.waiting ?? [])].some((name) => name.startsWith(`station ${knock.id} `));
  show(text(waits ? "adoptedLater" : "adopted", { station: knock.id }));
}

function viewStation(main, id) {
  const station = stationOf(id);
  if (!station) { main.append(element("p", {}, "–")); return () => {}; }
  const [list, updateList] = facts([
    [text("name"), (each) => each.label || each.id],
    [text("link"), (each) => (each.connected ? `${text("connected")} ${each.peer} ${each.ocpp}` : text("away"))],
    [text("owner"), (each) => each.owner || text("ownSite")],
    [text("observers"), (each) => each.observers.join(", ") || text("none")],
    [text("model"), (each) => [each.vendor, each.model].filter(Boolean).join(" ") || "–"],
    [text("firmware"), (each) => each.firmware || "–"],
    [text("quirk"), (each) => (each.quirk === NO_QUIRK ? text("noQuirk") : each.quirk || "–")],
  ]);
  const evses = state.status.evses.filter((evse) => evse.station === id).map((evse) => {
    const [detail, update] = facts([
      [text("state"), (each) => stateText(each)[0]],
      [text("why"), (each) => element("span", { lang: statementLanguage(each.statement), class: each.obeys === false ? "near" : "" }, sentence(reasonText(each)))],
      [text("offered"), (each) => `${offer(each)}${each.single_phase ? ` (${text("onePhase")})` : ""}`],
      [text("drawn"), (each) => phaseAmps(each.drawn_a)],
      [text("circuit"), (each) => each.circuit],
      [text("departureGoal"), (each) => (each.goal_kwh === null ? null : text("goalLeft", { energy: number(each.goal_kwh), time: age(each.leaves_in_s) }))],
      [text("override"), (each) => { const override = overrideOf(each); return override ? overrideText(override) : text("noOverride"); }],
      [text("energy"), (each) => { const session = runningAt(each); return session ? `${session.energy_wh === null ? "–" : `${number(session.energy_wh / 1000)} kWh`} ${session.card}` : "–"; }],
    ]);
    const card = element("section", { class: "card" }, element("h2", {}, `${text("evse")} ${evse.evse}`), detail, commandButtons(EVSE_COMMANDS, { station: id, evse: evse.evse }, evseName(evse)));
    return [card, (status) => { const found = status.evses.find((each) => evseName(each) === evseName(evse)); if (found) update(found); }];
  });
  main.append(element("p", {}, element("a", { href: "#/stations" }, text("allStations"))), element("section", { class: "card" }, element("h2", {}, id), list, commandButtons(STATION_COMMANDS, { station: id }, id)), element("div", { class: "grid" }, ...evses.map(([card]) => card)), may("sessions:read") ? messageCard(id) : "");
  return (status) => {
    const found = status.stations.find((each) => each.id === id);
    if (found) updateList(found);
    evses.forEach(([, update]) => update(status));
  };
}

// The latest OCPP messages of a station; requested when the card is opened, and on request.
function messageCard(id) {
  const from = element("tbody"), note = element("p", { class: "quiet", role: "status" });
  const head = element("tr", {}, ...["message", "content"].map((name) => element("th", { scope: "col" }, text(name))));
  const list = element("table", { hidden: true }, element("caption", {}, text("lastMessages")), element("thead", {}, head), from);
  const row = (each) => {
    const direction = text(each.direction === "from-station" ? "fromStation" : "toStation");
    const payload = each.payload === null ? text(each.cut ? "messageLong" : "messageHidden", { count: each.length }) : typeof each.payload === "string" ? each.payload : JSON.stringify(each.payload);
    const content = payload.length <= 60 ? element("code", { lang: "en" }, payload) : element("details", {}, element("summary", { lang: "en" }, element("code", {}, `${payload.slice(0, 40)}…`)), element("pre", { lang: "en" }, typeof each.payload === "string" ? payload : JSON.stringify(each.payload, null, 2)));
    const at = new Date(each.time).toLocaleTimeString(language(), { timeStyle: "medium", timeZone: state.status?.timezone });
    return element("tr", {}, element("th", { scope: "row" }, element("span", { lang: "en" }, each.action || "–"), element("span", { class: "second" }, `${at}, ${text(`frame.${each.kind}`)} ${direction}`)), element("td", {}, content));
  };
  const load = async () => {
    try {
      const messages = await request("GET", `/stations/${encodeURIComponent(id)}/messages`);
      from.replaceChildren(...messages.map(row));
      list.hidden = messages.length === 0;
      write(note, messages.length ? text(may("messages:read") ? "messagesNote" : "messagesRedacted", { count: messages.length }) : text("noMessages"));
    } catch (error) { write(note, error.message); }
  };
  const card = element("details", { class: "card messages" }, element("summary", {}, text("lastMessages")), element("p", { class: "actions" }, button(text("readAgain"), load)), note, list);
  card.addEventListener("toggle", (event) => { if (event.target === card && card.open) load(); });
  return card;
}

function viewBackends(main) {
  const [made, update] = table(text("backends"), [
    { title: text("name"), write: cell((backend) => backend.id) },
    { title: text("links"), class: "state", write: (node, backend) => {
      const isAway = state.status.alarms.some((alarm) => alarm.kind === "backend-away" && alarm.subject === backend.id);
      const counts = Object.entries(backend.links).map(([name, count]) => (name === backend.id ? count : `${name}: ${count}`));
      write(node, isAway ? text("away") : counts.join(", "), isAway ? "state near" : "state");
    } },
    { title: text("waiting"), class: "number", write: cell((backend) => backend.waiting) },
    { title: text("oldest"), class: "number wide", write: cell((backend) => (backend.waiting ? age(backend.oldest_s) : "–")) },
    { title: text("setAside"), class: "number", write: (node, backend) => write(node, String(backend.set_aside), backend.set_aside ? "number near" : "number") },
    { title: text("dropped"), class: "number wide", write: cell((backend) => backend.dropped_total) },
  ], text("none"));
  const [card, updateSetAside] = setAsideCard();
  main.append(element("section", { class: "card" }, made), card);
  return (status) => { update(status.backends, (backend) => backend.id); updateSetAside(status); };
}

// Messages that backends reject; they are requested when the view opens and whenever their number changes.
function setAsideCard() {
  const decide = (name, label, each, danger) => button(text(label), async () => {
    const subject = `${each.action} ${each.station}`;
    if (!await ask(text("confirm", { action: text(label), subject }), [], { danger, note: each.reason })) return;
    await command(name, { station: each.station, backend: each.backend, number: each.number }, `${text(label)} ${subject}`);
  }, danger ? "danger" : "");
  const [made, update] = table(text("setAsideTitle"), [
    { title: text("station"), write: cell((each) => each.station) },
    { title: text("backend"), class: "wide", write: cell((each) => each.backend) },
    { title: text("message"), write: (node, each) => { if (!node.firstChild) node.append(element("span", { lang: "en" }), element("span", { class: "second", lang: "en" })); write(node.firstChild, each.action); write(node.lastChild, each.reason); } },
    { title: text("received"), class: "wide whole", write: cell((each) => moment(each.received)) },
    { title: text("decision"), write: (node, each) => { if (!node.firstChild) node.append(element("div", { class: "actions" }, can("outbox.retry") ? decide("outbox.retry", "retry", each, false) : null, can("outbox.drop") ? decide("outbox.drop", "drop", each, true) : null)); } },
  ]);
  const card = element("section", { class: "card", hidden: true }, element("h2", {}, text("setAsideTitle")), element("p", { class: "quiet" }, text("setAsideText")), made);
  let shown = -1;
  return [card, async (status) => {
    const count = status.backends.reduce((sum, backend) => sum + backend.set_aside, 0);
    if (count === shown || !may("outbox:read")) return;
    shown = count;
    try {
      const messages = count ? await request("GET", "/outbox") : [];
      card.hidden = messages.length === 0;
      update(messages, (each) => `${each.station} ${each.backend} ${each.number}`);
    } catch { shown = -1; /* requested again with the next status */ }
  }];
}

const perPhase = (values, unit) => (values.some((value) => value !== null) ? `${values.map((value) => (value === null ? "–" : number(value))).join(" / ")} ${unit}` : "–");

// A meter that is read well is not good where its circuit suspects it.
function judgedMeter(meter) {
  const circuit = state.status.circuits.find((each) => each.meter === meter.id && each.meter_quality !== "good");
  return circuit && meter.quality === "good" ? { quality: circuit.meter_quality, problem: circuit.meter_problem, statement: circuit.meter_statement } : meter;
}

function viewMeters(main) {
  const [made, update] = table(text("meters"), [
    { title: text("name"), write: twoLines((meter) => meter.id, (meter) => [meter.manufacturer, meter.model || meter.driver, meter.serial_number].filter(Boolean).join(" ")) },
    { title: text("quality"), class: "state", write: (node, read) => { const meter = judgedMeter(read); if (!node.firstChild) node.append(element("span"), element("span", { class: "second" })); write(node.firstChild, text(`quality.${meter.quality}`), meter.quality === "good" ? "good" : "over"); write(node.lastChild, statementText(meter.statement, meter.problem)); node.lastChild.lang = statementLanguage(meter.statement); } },
    { title: text("age"), class: "number wide", write: cell((meter) => age(meter.age_s)) },
    { title: text("current"), class: "number wraps", write: twoLines((meter) => perPhase(meter.current_a, "A"), (meter) => (meter.quality === "good" ? watts(meter.power_total_w) : `${watts(meter.power_total_w)} (${text("age")} ${age(meter.age_s)})`), "second narrow") },
    { title: text("voltage"), class: "number wide", write: cell((meter) => perPhase(meter.voltage_v, "V")) },
    { title: text("power"), class: "number wide", write: cell((meter) => watts(meter.power_total_w)) },
    { title: text("energyIn"), class: "number wide", write: cell((meter) => (meter.energy_import_wh === null ? "–" : `${number(meter.energy_import_wh / 1000)} kWh`)) },
  ], text("noMeter"));
  main.append(element("section", { class: "card" }, made));
  return (status) => update(status.meters, (meter) => meter.id);
}

// Returns an end reason of OCPP in words; one that OCPP does not have, as the station reported it.
const endText = (reason) => (reason && hasText(`end.${reason}`) ? text(`end.${reason}`) : (reason ?? ""));

function viewSessions(main) {
  const month = element("input", { type: "month", value: new Date().toISOString().slice(0, 7) }), total = element("p", { class: "quiet", role: "status" }), uncertain = element("p", {});
  const sessionMoment = (session, time) => `${moment(time)}${session.clock_synchronised ? "" : " *"}`;
  const download = element("a", { href: "#", download: "" }, text("download"));
  const [made, update] = table(text("sessions"), [
    { title: text("station"), write: cell((session) => `${session.station}/${session.evse ?? "–"}`) },
    { title: text("started"), class: "whole", write: twoLines((session) => sessionMoment(session, session.started), (session) => session.ended ? endText(session.reason) : text("running"), "second narrow") },
    { title: text("ended"), class: "wide whole", write: cell((session) => (session.ended ? sessionMoment(session, session.ended) : text("running"))) },
    { title: text("energy"), class: "number", write: cell((session) => (session.energy_wh === null ? "–" : `${number(session.energy_wh / 1000)} kWh`)) },
    { title: text("card"), class: "wide", write: cell((session) => session.card) },
    { title: text("reason"), class: "wide", write: cell((session) => endText(session.reason)) },
  ], text("noSessions"));
  const load = async () => {
    if (!/^\d{4}-\d{2}$/.test(month.value)) return;
    const chosen = month.value;
    const query = `first=${month.value}&last=${month.value}`;
    download.href = `${API}/sessions.csv?${query}`;
    try {
      const sessions = await request("GET", `/sessions?${query}`);
      if (month.value !== chosen) return; // another month was chosen meanwhile
      update(sessions, (session) => `${session.station} ${session.transaction} ${session.started}`);
      write(total, text("total", { count: sessions.length, energy: number(sessions.reduce((sum, each) => sum + (each.energy_wh ?? 0), 0) / 1000) }));
      write(uncertain, sessions.every((each) => each.clock_synchronised) ? "" : `* ${text("clockNotSynchronised")}`);
    } catch (error) { write(total, error.message); }
  };
  month.addEventListener("change", load);
  main.append(element("div", { class: "row" }, field(text("month"), month), download), total, uncertain, element("section", { class: "card" }, made));
  const requestAgain = follow(made, load);
  return (status) => requestAgain(revision(status, "sessions"));
}

function viewDimming(main) {
  if (!state.status.dimming) main.append(element("p", {}, text("noDimming")));
  const [list, updateList] = facts([
    [text("state"), (dimming) => (dimming.dimmed ? sentence(statementText(dimming.statement, dimming.why)) : text("notDimmed"))],
    [text("problem"), sourceFault],
    [text("limit"), (dimming) => watts(dimming.limit_w)],
    [text("drawnW"), (dimming) => watts(dimming.drawn_w)],
    [text("gridW"), (dimming) => watts(dimming.grid_w)],
    [text("devices"), (dimming) => String(dimming.devices)],
    [text("minimum"), (dimming) => watts(dimming.minimum_w)],
    [text("commands"), (dimming) => `${dimming.accepted_total} / ${Object.values(dimming.refused_total).reduce((sum, count) => sum + count, 0)}`],
    [text("evidence"), (dimming) => String(dimming.evidence_records)],
  ]);
  const [spans, updateSpans] = table(text("spans"), [
    { title: text("started"), class: "whole", write: cell((span) => moment(span.since)) },
    { title: text("ended"), class: "whole", write: cell((span) => (span.until ? moment(span.until) : text("goesOn"))) },
    { title: text("limit"), class: "number", write: twoLines((span) => watts(span.limit_w), (span) => (span.assumed ? text("assumed") : "")) },
    { title: text("sources"), class: "wide", write: cell((span) => span.sources.join(", ")) },
  ], text("none"));
  const card = element("section", { class: "card" }, list), past = element("section", { class: "card" }, element("h2", {}, text("spans")), spans);
  const [eebus, updateEebus] = eebusCard();
  const proof = may("events:read") ? evidenceCard() : element("p", { hidden: true });
  main.append(card, past, proof, eebus);
  return (status) => {
    card.hidden = past.hidden = proof.hidden = !status.dimming;
    if (status.dimming) { updateList(status.dimming); updateSpans([...status.dimming.spans].reverse(), (span) => span.since); }
    updateEebus(status);
  };
}

// Export of the evidence of a span, and verification of all of it.
function evidenceCard() {
  const day = (days) => new Date(Date.now() - days * 86400000).toISOString().slice(0, 10);
  const from = element("input", { type: "date", required: true, value: day(30) }), until = element("input", { type: "date", required: true, value: day(0) });
  const result = element("p", { role: "status" }), findings = element("ul", { lang: "en" });
  const download = element("a", { href: "#", download: "" }, text("evidenceExport"));
  const update = () => {
    const first = Date.parse(`${from.value}T00:00:00Z`) / 1000, last = Date.parse(`${until.value}T00:00:00Z`) / 1000 + 86400;
    download.hidden = !(first >= 0 && last > first);
    if (!download.hidden) download.href = `${API}/evidence.jsonl?since=${first}&until=${last}`;
  };
  for (const input of [from, until]) input.addEventListener("input", update);
  update();
  const verify = button(text("evidenceVerify"), async () => {
    verify.disabled = true;
    findings.replaceChildren();
    write(result, text("evidenceVerifying"), "");
    try {
      const found = await request("GET", "/evidence/verification");
      if (found.good) write(result, found.records ? text("evidenceGood", found) : text("evidenceNone"), "good");
      else write(result, text("evidenceBad", { count: found.finding_count, records: found.records }), "over");
      findings.replaceChildren(...found.findings.map((each) => element("li", {}, each)));
    } catch (error) { write(result, error.message, "over"); }
    verify.disabled = false;
  });
  return element("section", { class: "card" }, element("h2", {}, text("evidence")), element("div", { class: "row" }, field(text("evidenceFrom"), from), field(text("evidenceUntil"), until)), element("p", { class: "actions" }, download, verify), result, findings, element("p", { class: "note" }, text("evidenceText")));
}

function eebusCard() {
  const [list, updateList] = facts([
    ["SKI", (eebus) => eebus.ski],
    [text("state"), (eebus) => `${text(`eebus.${eebus.consumption.state}`)}: ${watts(eebus.consumption.limit_w)}`],
    [text("heartbeat"), (eebus) => age(eebus.heartbeat_age_s)],
  ]);
  const [partners, updatePartners] = table(text("partner"), [
    { title: text("partner"), write: twoLines((partner) => partner.ski, (partner) => `${partner.device} ${partner.phase}`) },
    { title: text("state"), class: "state", write: cell((partner) => text(partner.trusted ? "trusted" : "waits")) },
    ...(can("eebus.pair") || can("eebus.unpair") ? [{ title: text("action"), class: "act", write: (node, partner) => {
      const wanted = partner.trusted ? "unpair" : "pair";
      if (node.dataset.wanted === wanted || !can(`eebus.${wanted}`)) return;
      node.dataset.wanted = wanted;
      node.replaceChildren(button(text(wanted), async () => { if (await ask(text("confirm", { action: text(wanted), subject: partner.ski }), [], { danger: partner.trusted })) await command(`eebus.${wanted}`, { ski: partner.ski }, text(wanted)); }));
    } }] : []),
  ], text("none"));
  const actions = element("p", { class: "actions" }, can("eebus.register") ? button(text("register"), () => command("eebus.register", { seconds: 120 }, text("register"))) : null);
  const qr = element("img", { class: "qr", alt: text("eebusCode"), loading: "lazy" });
  const card = element("section", { class: "card", hidden: true }, element("h2", {}, text("eebus")), list, partners, actions, element("p", { class: "note" }, text("eebusCode")), qr);
  return [card, (status) => {
    card.hidden = !status.eebus;
    if (!status.eebus) return;
    if (!qr.src) qr.src = "/api/eebus/qr.svg";
    updateList(status.eebus);
    updatePartners(status.eebus.partners, (partner) => partner.ski);
  }];
}

const SPANS = { day: 86400, week: 7 * 86400, monthSpan: 31 * 86400 };

function historyTitle(channel) {
  const [kind, name] = channel.split("/");
  return kind === "power" ? text("power_", { name }) : text(kind === "charging" ? "chargingCount" : "dimmedCount");
}

// The card of one channel; its update draws other values, and leaves the table open.
function historySection(channel) {
  const title = historyTitle(channel), [, name] = channel.split("/");
  const place = element("div"), peakText = element("p", { class: "quiet" }), rows = element("div"), values = element("details", {}, element("summary", {}, text("values")), rows);
  let format = String, quarters = [], draw = () => {}, drawn = 0;
  const [made, updateRows] = table(title, [{ title: text("time"), write: cell((row) => moment(row[0] * 1000)) }, { title: text("mean"), class: "number", write: cell((row) => format(row[1])) }]);
  rows.append(made);
  const writeRows = () => { if (values.open) updateRows(quarters, (row) => row[0]); };
  values.addEventListener("toggle", writeRows);
  new ResizeObserver(() => { if (place.clientWidth !== drawn) draw(); }).observe(place);
  const update = (series, start, end, times) => {
    const isPower = series.unit === "W", zone = state.status.timezone;
    format = isPower ? watts : (value) => number(value, Number.isInteger(value) ? 0 : 1);
    const formatTime = (time) => (end - start > 2 * 86400 ? new Date(time * 1000).toLocaleDateString(language(), { day: "numeric", month: "numeric", timeZone: zone }) : clockTime(time * 1000));
    const circuit = state.status.circuits.find((each) => each.id === name);
    const limit = isPower && circuit ? circuit.limit_a.reduce((sum, each) => sum + each, 0) * state.status.voltage_v : undefined;
    const shown = limit !== undefined && Math.max(...series.high) > limit / 3 ? limit : undefined;
    draw = () => { drawn = place.clientWidth; place.replaceChildren(lineChart(series, { start, end, title, format, formatTime, times, limit: shown, whole: !isPower, width: drawn || undefined })); };
    draw();
    quarters = quarterMeans(series);
    const peak = quarters.reduce((best, each) => (each[1] > best[1] ? each : best), quarters[0]);
    write(peakText, isPower && peak ? text("quarterPeak", { value: watts(peak[1]), time: moment(peak[0] * 1000) }) : "");
    writeRows();
  };
  return { card: element("section", { class: "card" }, element("h2", {}, title), place, peakText, values), update };
}

function quarterMeans(series) {
  const sums = new Map();
  series.times.forEach((time, index) => {
    const quarter = time - (time % 900), [sum, count] = sums.get(quarter) ?? [0, 0];
    sums.set(quarter, [sum + series.mean[index], count + 1]);
  });
  return [...sums].map(([quarter, [sum, count]]) => [quarter, sum / count]);
}

function viewHistory(main) {
  const span = select(Object.keys(SPANS).map((name) => [name, text(name)])), note = element("p", { role: "status" }), place = element("div"), sections = new Map();
  const load = async () => {
    const end = Math.floor(Date.now() / 1000), chosen = span.value, start = end - SPANS[chosen];
    try {
      const found = await request("GET", `/history?start=${start}&end=${end}`);
      if (span.value !== chosen) return; // another span was chosen meanwhile
      const filled = found.filter((series) => series.times.length > 1);
      for (const [channel, { card }] of sections) if (!filled.some((series) => series.channel === channel)) { card.remove(); sections.delete(channel); }
      const times = timeMarks(start, end, state.status.timezone);
      for (const series of filled) {
        if (!sections.has(series.channel)) { sections.set(series.channel, historySection(series.channel)); place.append(sections.get(series.channel).card); }
        sections.get(series.channel).update(series, start, end, times);
      }
      write(note, filled.length ? "" : text("noHistory"));
    } catch (error) { write(note, error.message); }
  };
  span.addEventListener("change", load);
  main.append(field(text("time"), span), note, place);
  const requestAgain = follow(place, load);
  return (status) => requestAgain(`${state.connections} ${Math.floor(Date.parse(status.time) / 1000 / (span.value === "day" ? 60 : 900))}`);
}

// The actor of an entry of the audit: a name, and in brackets the way it came.
function actorText(actor) {
  const [, name, origin] = /^(.*) \((\w+)\)$/.exec(actor) ?? [null, actor, ""];
  return origin && hasText(`origin.${origin}`) ? `${name} (${text(`origin.${origin}`)})` : actor;
}

function viewEvents(main) {
  const [made, update] = table(text("events"), [
    { title: text("time"), class: "whole", write: cell((entry) => moment(entry.time)) },
    { title: text("event"), write: (node, entry) => {
      if (!node.firstChild) node.append(element("span"), element("span", { class: "second narrow" }));
      node.firstChild.lang = statementLanguage(entry.statement);
      write(node.firstChild, sentence(statementText(entry.statement, entry.text)), entry.severity === "critical" ? "over" : entry.severity === "warning" ? "near" : "");
      write(node.lastChild, actorText(entry.actor));
    } },
    { title: text("actor"), class: "wide", write: cell((entry) => actorText(entry.actor)) },
  ], text("noEvents"));
  const problem = element("p", { class: "over", role: "status" });
  const load = async () => {
    try {
      const counts = new Map(); // two entries of one second may be equal
      const keyOf = (entry) => { const key = `${entry.time} ${entry.actor} ${entry.text}`, count = (counts.get(key) ?? 0) + 1; counts.set(key, count); return `${key} ${count}`; };
      const entries = (await request("GET", "/events")).reverse().map((entry) => ({ ...entry, key: keyOf(entry) })).reverse();
      update(entries, (entry) => entry.key);
      write(problem, "");
    } catch (error) { write(problem, error.message); }
  };
  main.append(problem, element("section", { class: "card" }, made));
  const requestAgain = follow(made, load);
  return (status) => requestAgain(revision(status, "events"));
}

// -- login ------------------------------------------------------------------------------------------------

function viewLogin(main) {
  const name = element("input", { required: true, autocomplete: "username", maxlength: "100" }), password = secretInput("current-password"), problem = element("p", { class: "over", role: "alert" });
  const form = element("form", { class: "card", onsubmit: async (event) => {
    event.preventDefault();
    try {
      await request("POST", "/login", { name: name.value, password: password.value });
      location.hash = "#/overview";
      await begin();
    } catch (error) {
      password.value = "";
      write(problem, text("loginFailed", { text: error.message }));
    }
  } }, element("h2", {}, text("loginTitle")), state.me && !state.me.has_users ? element("p", {}, text("noUsers")) : null, field(text("name"), name), field(text("password"), password), problem, element("p", {}, element("button", { type: "submit", class: "main" }, text("login"))));
  main.append(form);
  return () => {};
}

async function logout() {
  await request("POST", "/logout", {});
  await begin();
}

// -- routing ----------------------------------------------------------------------------------------------

const VIEWS = [
  ["overview", viewOverview, "status:read"], ["circuits", viewCircuits, "status:read"], ["stations", viewStations, "stations:read"], ["backends", viewBackends, "status:read"],
  ["meters", viewMeters, "status:read"], ["sessions", viewSessions, "sessions:read"], ["dimming", viewDimming, "dimming:read"], ["history", viewHistory, "history:read"],
  ["events", viewEvents, "events:read"], ["settings", (main) => showSettings(main, { me: state.me, may, can, moment, begin, revision }), "users:read"],
];
const isLoggedIn = () => Boolean(state.me) && state.me.name !== "anonymous";
const isShown = ([name, , permission]) => may(permission) || (name === "settings" && isLoggedIn());

// Views that are made of the site's circuits and EVSEs; the others follow changes of them, and keep what a person fills in.
const SHAPED = ["overview", "circuits", "stations/", "dimming"];
let shownAt = "", shape = "";

function route(moveFocus = false) {
  const [, name = "overview", part] = location.hash.split("/");
  const main = byId("main"), known = VIEWS.filter(isShown);
  const isLogin = name === "login" || !known.length;
  const [chosen, view] = isLogin ? ["login", viewLogin] : known.find(([each]) => each === name) ?? known[0];
  if (!isLogin && !state.status) return;
  shownAt = location.hash || "#/overview";
  state.isShown = !isLogin;
  main.replaceChildren(element("h1", {}, text(chosen === "login" ? "login" : chosen)));
  state.update = chosen === "stations" && part ? viewStation(main, decodeURIComponent(part)) : view(main);
  if (state.status) state.update(state.status);
  byId("views").replaceChildren(...(isLogin ? [] : known.map(([each]) => element("a", { href: `#/${each}`, ...(each === chosen ? { "aria-current": "page" } : {}) }, text(each)))));
  document.title = `${text(chosen)} – ${state.status?.site ?? "local-controller"}`;
  if (moveFocus) main.focus();
}

function updateFrame() {
  for (const node of document.querySelectorAll("[data-text]")) write(node, text(node.dataset.text));
  byId("views").setAttribute("aria-label", text("views"));
  byId("login-button").hidden = isLoggedIn();
  byId("logout-button").hidden = !isLoggedIn();
  write(byId("actor"), isLoggedIn() ? state.me.name : "");
}

function clockText(clock) {
  if (!clock) return "";
  const state = text("clock", { state: text(`clock.${clock.state}`) });
  return clock.state === "unverified" && clock.reason ? `${state} (${codedText(clock.reason_parts ?? clock.reason, clock.reason)})` : state;
}

function onStatus() {
  const status = state.status;
  write(byId("site"), status.site);
  write(byId("footer"), [`local-controller ${status.version}`, text("updated", { time: moment(status.time) }), clockText(status.clock)].filter(Boolean).join(" · "));
  updateSign();
  const wanted = JSON.stringify([status.circuits.map((each) => each.id), status.evses.map(evseName), Boolean(status.dimming)]);
  const isOther = wanted !== shape;
  shape = wanted;
  if (!state.isShown || (location.hash || "#/overview") !== shownAt || (isOther && SHAPED.some((each) => shownAt.startsWith(`#/${each}`)))) route();
  else state.update(status);
}

function applyChange(change) {
  const status = state.status;
  for (const [name, value] of Object.entries(change)) {
    if (Array.isArray(status[name]) && value && !Array.isArray(value)) for (const [index, each] of Object.entries(value)) status[name][index] = each;
    else status[name] = value;
  }
}

function openStream() {
  state.stream?.close();
  if (!may("status:read")) return;
  const stream = new EventSource(`${API}/live`);
  state.stream = stream;
  const on = (name, act) => stream.addEventListener(name, (event) => { state.receivedAt = Date.now(); act(JSON.parse(event.data)); onStatus(); });
  on("status", (status) => { state.status = status; state.connections += 1; });
  on("change", applyChange);
  on("alive", () => {});
  stream.addEventListener("end", () => { stream.close(); begin(); });
  stream.addEventListener("open", () => { state.receivedAt = Date.now(); updateSign(); });
  stream.addEventListener("error", () => { if (stream.readyState === EventSource.CLOSED) setTimeout(begin, 3000); });
}

async function loadSessions() {
  if (!may("sessions:read")) { state.sessions = []; return; }
  try { state.sessions = await request("GET", "/sessions"); } catch (error) { if (error.status !== 429) state.sessions = []; }
}

// Begins anew with the rights of now: at the start, after a login or logout, and when a stream has ended.
async function begin() {
  try { state.me = await request("GET", "/me"); } catch (error) { state.me = null; setTimeout(begin, 3000); updateSign(); return; }
  updateFrame();
  await loadSessions();
  if (!may("status:read")) { state.status = null; state.stream?.close(); byId("sign").hidden = true; route(); return; }
  byId("sign").hidden = false;
  state.isShown = false;
  openStream();
}

byId("language").addEventListener("change", (event) => {
  chooseLanguage(event.target.value);
  try { localStorage.setItem("language", language()); } catch { /* private mode: the choice lasts for this page */ }
  signShown = "";
  updateFrame();
  updateSign();
  route();
});
byId("login-button").addEventListener("click", () => { location.hash = "#/login"; });
byId("logout-button").addEventListener("click", logout);
addEventListener("hashchange", () => route(true));
setInterval(updateSign, 2000);
setInterval(loadSessions, 30000);

let remembered = null;
try { remembered = localStorage.getItem("language"); } catch { /* private mode */ }
chooseLanguage(remembered ?? (navigator.language.startsWith("de") ? "de" : "en"));
byId("language").value = language();
updateFrame();
updateSign();
begin();
