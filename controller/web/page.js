"use strict";
// Asks for /api/status each second and shows it. Every text of the site goes in as textContent, never as markup.

const POLL_MS = 1000, PATIENCE_MS = 4000;
const USUAL_REACTION_S = 5; // a car may take so long by its standard
const NEAR = 0.9, FULL = 1.0; // shares of the limit from which a bar changes its colour
const PHASES = ["L1", "L2", "L3"];
const byId = (id) => document.getElementById(id);
const amps = (value) => value.toFixed(1);

let shape = "";      // which circuits and EVSEs are on the page
let painters = [];   // functions that bring one part of the page up to date
let answeredAt = Date.now();

function element(tag, className, ...children) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...children);
  return made;
}

function write(node, text, className) {
  if (node.textContent !== text) node.textContent = text; // untouched text stays selectable
  if (className !== undefined && node.className !== className) node.className = className;
}

function carried(circuit, phase) {
  return circuit.measured_a ? circuit.measured_a[phase] : circuit.base_a[phase] + circuit.booked_a[phase];
}

function phaseBar(phase) {
  const fill = element("div", "fill"), said = element("output", "");
  const bar = element("div", "phase", element("span", "small", PHASES[phase]), element("div", "trough", fill), said);
  const paint = (circuit) => {
    const now = carried(circuit, phase), limit = circuit.limit_a[phase], share = now / limit;
    fill.style.width = `${100 * Math.max(0, Math.min(1, share))}%`;
    fill.className = share > FULL ? "fill over" : share > NEAR ? "fill near" : "fill";
    write(said, `${amps(now)} of ${limit} A`);
  };
  return [bar, paint];
}

function circuitPart(id) {
  const meter = element("span", ""), base = element("span", "");
  const head = element("div", "head", element("h2", "", id), meter, base);
  const bars = PHASES.map((_, phase) => phaseBar(phase));
  const part = element("section", "circuit", head, ...bars.map(([bar]) => bar));
  painters.push((status) => {
    const circuit = status.circuits.find((each) => each.id === id);
    const quality = circuit.meter_quality;
    if (quality === null) write(meter, "no meter: possible current", "");
    else {
      const problem = circuit.meter_problem ? `: ${circuit.meter_problem}` : "";
      write(meter, `meter ${quality}${problem}`, quality === "good" ? "" : "bad");
    }
    write(base, `base load ${circuit.base_a.map(amps).join(" / ")} A`);
    for (const [, paint] of bars) paint(circuit);
  });
  return part;
}

const TITLES = ["EVSE", "OCPP", "state", "offered", "drawn L1/L2/L3", "why"];
const COLUMNS = ["name", "ocpp small", "state", "number offered", "number drawn", "why"];

function stateOf(evse) {
  if (!evse.connected) return ["away", "state bad"];
  if (evse.state.startsWith("suspended")) return [evse.state, "state waiting"];
  return [evse.state, `state ${evse.state}`];
}

function learntOf(evse) { // what is worth saying of a station beside its reason
  const said = [];
  if (evse.obeys === false) said.push("did not follow its last lower limit");
  else if (evse.reaction_s > USUAL_REACTION_S) said.push(`takes ${evse.reaction_s.toFixed(0)} s to follow`);
  if (evse.step_a) said.push(`rounds limits down, by ${amps(evse.step_a)} A at most`);
  return said.length ? `observed: ${said.join("; ")}` : "";
}

function evseRow(station, number) {
  const cells = COLUMNS.map((column) => element("span", column));
  const reason = element("span", ""), learnt = element("span", "learnt small");
  const [name, ocpp, state, offered, drawn, why] = cells;
  name.textContent = `${station}/${number}`;
  painters.push((status) => {
    const evse = status.evses.find((each) => each.station === station && each.evse === number);
    write(ocpp, (evse.ocpp ?? "").replace("ocpp", ""));
    write(state, ...stateOf(evse));
    write(offered, `${evse.single_phase ? "1 × " : ""}${amps(evse.offered_a)} A`);
    write(drawn, evse.drawn_a.map((value) => (value ? amps(value) : "–")).join(" / ") + " A");
    write(reason, evse.reason);
    write(learnt, learntOf(evse));
  });
  why.append(reason, learnt);
  return element("div", "evse", ...cells);
}

function build(status) {
  painters = [];
  const parts = new Map();
  byId("tree").replaceChildren();
  for (const circuit of status.circuits) { // parents first
    const part = circuitPart(circuit.id);
    parts.set(circuit.id, part);
    const evses = status.evses.filter((evse) => evse.circuit === circuit.id);
    if (evses.length) {
      const titles = element("div", "evse titles", ...TITLES.map((title, i) => element("span", COLUMNS[i], title)));
      part.append(element("div", "evses", titles, ...evses.map((evse) => evseRow(evse.station, evse.evse))));
    }
    (parts.get(circuit.parent) ?? byId("tree")).append(part);
  }
  byId("dimming").hidden = status.dimming === null;
  byId("dimming").replaceChildren(...(status.dimming ? dimmingPart() : []));
  byId("eebus").hidden = !status.eebus;
  byId("eebus").replaceChildren(...(status.eebus ? eebusPart(status.eebus) : []));
  byId("overlay").hidden = status.overlay === null;
  byId("overlay").replaceChildren(...(status.overlay ? overlayPart(status.overlay) : []));
  byId("backends").replaceChildren(element("div", "head", element("h2", "", "Backends")), ...status.backends.map((each) => backendRow(each.id)));
}

function age(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

function linksOf(backend) {
  const uplinks = Object.entries(backend.links), all = uplinks.reduce((sum, [, count]) => sum + count, 0);
  const said = `${all} link${all === 1 ? "" : "s"}`;
  return uplinks.length === 1 ? said : `${said} (${uplinks.map(([id, count]) => `${id} ${count}`).join(", ")})`;
}

function backendRow(id) {
  const name = element("span", "name", id), links = element("span", ""), queue = element("span", "");
  painters.push((status) => {
    const backend = status.backends.find((each) => each.id === id);
    write(links, linksOf(backend));
    const waits = backend.waiting ? `${backend.waiting} messages queued, the oldest for ${age(backend.oldest_s)}` : "nothing queued";
    const aside = backend.set_aside ? `; ${backend.set_aside} set aside` : "";
    write(queue, waits + aside, backend.waiting || backend.set_aside ? "waiting" : "small");
  });
  return element("div", "backend", name, links, queue);
}

const NODES_SHOWN = 12;

function neighbourRow(link) {
  const name = element("span", "name", link), reached = element("span", "");
  painters.push(({ overlay }) => {
    const nodes = Object.keys(overlay.neighbours.find((each) => each.link === link).reached);
    const more = nodes.length > NODES_SHOWN ? ` and ${nodes.length - NODES_SHOWN} more` : "";
    write(reached, nodes.slice(0, NODES_SHOWN).join(", ") + more);
  });
  return element("div", "backend", name, reached);
}

function overlayPart(overlay) {
  const dropped = element("span", "small");
  painters.push((status) => {
    const counts = Object.entries(status.overlay.dropped_total).map(([reason, count]) => `${count} ${reason}`);
    write(dropped, counts.length ? `not routed: ${counts.join(", ")}` : "", "small");
  });
  return [element("div", "head", element("h2", "", "Nodes reached over neighbors"), dropped), ...overlay.neighbours.map((each) => neighbourRow(each.link))];
}

const SPANS_SHOWN = 3;
const kilowatts = (watts) => (watts === null ? "?" : (watts / 1000).toFixed(1));

const timeOfDay = (time, zone, more) =>
  new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", ...more, hourCycle: "h23", timeZone: zone });

function spanInWords(span, zone) {
  const at = (time) => timeOfDay(time, zone);
  const what = span.limit_w === null ? "single stations" : `${kilowatts(span.limit_w)} kW`;
  return `${at(span.since)} – ${span.until ? at(span.until) : "now"}: ${what} by ${span.sources.join(" and ")}`;
}

function dimmingPart() {
  const state = element("span", ""), counts = element("span", ""), spans = element("ol", "");
  const fill = element("div", "fill"), said = element("output", "");
  const bar = element("div", "phase", element("span", "small", "kW"), element("div", "trough", fill), said);
  painters.push(({ dimming, timezone }) => {
    write(state, dimming.dimmed ? dimming.why : "not dimmed", dimming.dimmed ? "waiting" : "");
    const refused = Object.entries(dimming.refused_total).map(([reason, count]) => `${count} ${reason}`);
    write(counts, `commands: ${[`${dimming.accepted_total} accepted`, ...refused].join(", ")}; ${dimming.evidence_records} records`);
    const share = dimming.limit_w ? dimming.drawn_w / dimming.limit_w : 0;
    bar.hidden = dimming.limit_w === null;
    fill.style.width = `${100 * Math.max(0, Math.min(1, share))}%`;
    fill.className = share > FULL ? "fill over" : "fill";
    write(said, `${kilowatts(dimming.drawn_w)} of ${kilowatts(dimming.limit_w)} kW`);
    const lines = dimming.spans.slice(-SPANS_SHOWN).reverse().map((span) => spanInWords(span, timezone));
    if (spans.innerText !== lines.join("\n")) spans.replaceChildren(...lines.map((line) => element("li", "", line)));
  });
  return [element("div", "head", element("h2", "", "Dimming"), state, counts), bar, spans];
}

function eebusLimit(limit) {
  const watts = limit.limit_w === null ? "not limited" : `${kilowatts(limit.limit_w)} kW`;
  const until = limit.until_s === null ? "" : ` for ${age(limit.until_s)}`;
  return `${limit.state}: ${watts}${until}`;
}

function eebusPart(eebus) {
  const state = element("span", ""), heartbeat = element("span", ""), partners = element("ol", "");
  const code = element("img", "qr");
  code.alt = eebus.qr;
  fetch("/api/eebus/qr.svg").then((answer) => answer.text()).then((svg) => { code.src = `data:image/svg+xml,${encodeURIComponent(svg)}`; });
  painters.push(({ eebus: now }) => {
    const production = now.production ? `; production ${eebusLimit(now.production)}` : "";
    write(state, eebusLimit(now.consumption) + production, now.consumption.limit_w === null ? "" : "waiting");
    const beat = now.heartbeat_age_s === null ? "no heartbeat yet" : `heartbeat ${age(now.heartbeat_age_s)} ago`;
    const register = now.register_s ? `; registration open for ${age(now.register_s)}` : "";
    write(heartbeat, beat + register, now.heartbeat_age_s === null || now.heartbeat_age_s > 60 ? "waiting" : "small");
    const lines = now.partners.map((each) => each.trusted
      ? `${each.ski} ${each.phase}${each.guard ? ", energy guard" : ""} ${each.device}`
      : `${each.ski} waits to be accepted: local-controller eebus pair ${each.ski}`);
    if (partners.innerText !== lines.join("\n")) partners.replaceChildren(...lines.map((line) => element("li", "", line)));
  });
  const identity = element("p", "small", `SKI ${eebus.ski}`);
  return [element("div", "head", element("h2", "", "Control box (EEBUS)"), state, heartbeat), partners, identity, code];
}

function show(status) {
  const places = [status.eebus?.qr, status.dimming !== null, status.overlay?.neighbours.map((n) => n.link), status.backends.map((b) => b.id), status.circuits.map((c) => [c.id, c.parent]), status.evses.map((e) => [e.station, e.evse, e.circuit])];
  if (JSON.stringify(places) !== shape) {
    shape = JSON.stringify(places);
    build(status);
  }
  for (const paint of painters) paint(status);
  const connected = Object.values(status.links.connected).reduce((sum, count) => sum + count, 0);
  const charging = status.evses.filter((evse) => evse.state === "charging").length;
  document.title = `${status.site} · local-controller`;
  write(byId("site"), status.site);
  write(byId("summary"), `${connected} station${connected === 1 ? "" : "s"} connected · ${charging} of ${status.evses.length} EVSEs charging`);
  write(byId("footer"), `local-controller ${status.version} · as of ${timeOfDay(status.time, status.timezone, { second: "2-digit" })} (${status.timezone})`);
  const damaged = status.damaged.map((file) => `A damaged file was set aside as ${file}.`).join(" ");
  const unwritten = status.store.writable ? "" : `The store cannot be written: ${status.store.error} `;
  const invalid = status.configuration_problem ? `The configuration has errors, the last valid one is in use: ${status.configuration_problem} ` : "";
  tell(status.healthy ? invalid + unwritten + damaged : `The control loop stands still: its last step was ${status.tick_age_s.toFixed(0)} s ago.`);
}

function tell(trouble) {
  byId("trouble").hidden = trouble === "";
  write(byId("trouble"), trouble);
}

async function poll() {
  try {
    const answer = await fetch("/api/status", { signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    show(await answer.json());
    answeredAt = Date.now();
  } catch (error) {
    const age = Math.round((Date.now() - answeredAt) / 1000);
    tell(`No answer from the controller for ${age} s: the values below are old.`);
  }
  setTimeout(poll, POLL_MS);
}

poll();
