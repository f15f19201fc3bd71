// Elements, requests and dialogs that the page's views and the setup are made of. All texts are written as
// textContent, never as markup.

import { codedText } from "/assets/findings.js";
import { text } from "/assets/texts.js";

export const API = "/api/v1";
export const byId = (id) => document.getElementById(id);

// -- elements ---------------------------------------------------------------------------------------------

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && typeof value !== "string") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function write(node, value, className) {
  if (node.textContent !== value) node.textContent = value; // untouched text stays selectable
  if (className !== undefined && node.className !== className) node.className = className;
}

let fieldNumber = 0;
export function field(label, input) {
  fieldNumber += 1;
  input.id = `field-${fieldNumber}`;
  return element("div", {}, element("label", { for: input.id }, label), input);
}

export function select(options, chosen) {
  const made = element("select", {}, ...options.map(([value, label]) => element("option", { value }, label)));
  if (chosen !== undefined) made.value = chosen;
  return made;
}

export function button(label, act, className = "") {
  return element("button", { type: "button", class: className, onclick: act }, label);
}

// A table whose rows are kept over updates by their key: `columns` are {title, class, write(cell, row)}.
export function table(caption, columns, empty) {
  const head = element("tr", {}, ...columns.map((column) => element("th", { scope: "col", class: column.class ?? "" }, column.title)));
  const body = element("tbody"), rows = new Map();
  const none = element("p", { class: "quiet", hidden: true }, empty ?? "");
  const made = element("table", {}, element("caption", {}, caption), element("thead", {}, head), body);
  const update = (items, keyOf) => {
    const keys = new Set(items.map(keyOf));
    for (const [key, { row }] of rows) if (!keys.has(key)) { row.remove(); rows.delete(key); } // first: a row that is moved loses the focus
    items.forEach((item, index) => {
      const key = keyOf(item);
      if (!rows.has(key)) {
        const cells = columns.map((column, place) => element(place === 0 ? "th" : "td", place === 0 ? { scope: "row", class: column.class ?? "" } : { class: column.class ?? "" }));
        rows.set(key, { row: element("tr", {}, ...cells), cells });
      }
      const { row, cells } = rows.get(key);
      columns.forEach((column, place) => column.write(cells[place], item));
      if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null);
    });
    made.hidden = items.length === 0;
    none.hidden = items.length > 0 || !empty;
  };
  return [element("div", {}, made, none), update];
}

export const cell = (value) => (node, row) => write(node, String(value(row) ?? ""));

// A cell with a second line below the first one; `kind`: the classes of that line.
export const twoLines = (first, second, kind = "second") => (node, row) => {
  if (!node.firstChild) node.append(element("span"), element("span", { class: kind }));
  write(node.firstChild, first(row));
  write(node.lastChild, second(row));
};

// A list of `entries` ([label, value of the source]); an entry whose value is null is hidden.
export function facts(entries) {
  const list = element("dl", { class: "facts" }), labels = [], places = entries.map(([label]) => {
    const place = element("dd");
    labels.push(element("dt", {}, label));
    list.append(labels.at(-1), place);
    return place;
  });
  return [list, (source) => entries.forEach(([, value], index) => {
    const found = value(source);
    places[index].hidden = labels[index].hidden = found === null;
    if (found === null) return;
    if (typeof found === "string") write(places[index], found);
    else places[index].replaceChildren(found);
  })];
}

// -- requests ---------------------------------------------------------------------------------------------

export class RequestError extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export async function request(method, path, body) {
  const options = { method, headers: {}, cache: "no-store" };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const response = await fetch(`${API}${path}`, options);
  const answer = (response.headers.get("Content-Type") ?? "").includes("json") ? await response.json() : null;
  if (!response.ok) throw new RequestError(response.status, answer?.coded ? codedText(answer.coded, answer.detail) : answer?.detail ?? response.statusText);
  return answer;
}

let messageTimer = 0;
export function show(message) {
  const place = byId("message");
  place.hidden = false;
  place.textContent = message;
  clearTimeout(messageTimer);
  messageTimer = setTimeout(() => { place.hidden = true; }, 8000);
}

export async function command(name, members, label) {
  try {
    const answer = await request("POST", `/commands/${name}`, members);
    show(text("done", { action: label ?? name }));
    return answer.result;
  } catch (error) {
    show(text("notDone", { text: error.message }));
    return null;
  }
}

// -- lists that follow the live stream ----------------------------------------------------------------------

const FOLLOW_MS = 4000; // shortest time between two requests of one list
const FOLLOW_SHARE = 20; // and so many times as long as the last one has taken

// Returns a function that requests a list anew by `load` when `revision` differs from that of its last call, for
// as long as `place` is in the page. The first call requests it at once.
export function follow(place, load) {
  let wanted, shown, earliest = 0, isLoading = false, timer = 0;
  const run = async () => {
    clearTimeout(timer);
    if (isLoading || wanted === shown || !place.isConnected) return;
    const wait = earliest - Date.now();
    if (wait > 0) { timer = setTimeout(run, wait); return; }
    isLoading = true;
    shown = wanted;
    const begun = Date.now();
    await load();
    isLoading = false;
    earliest = Date.now() + Math.max(FOLLOW_MS, FOLLOW_SHARE * (Date.now() - begun));
    run();
  };
  return (revision) => { wanted = revision; run(); };
}

// -- dialogs ----------------------------------------------------------------------------------------------

// Asks in a dialog; `inputs` are [member, label, input, read]. Resolves to the members, null if it was closed.
export function ask(title, inputs, { danger = false, note = "" } = {}) {
  const dialog = byId("dialog");
  return new Promise((resolve) => {
    const finish = (result) => { dialog.close(); resolve(result); };
    const act = element("button", { type: "submit", class: danger ? "danger" : "main" }, text("do"));
    const form = element("form", { method: "dialog", onsubmit: (event) => {
      event.preventDefault();
      finish(Object.fromEntries(inputs.map(([member, , input, read]) => [member, (read ?? ((each) => each.value))(input)]).filter(([, value]) => value !== undefined)));
    } }, element("h2", { id: "dialog-title" }, title), note ? element("p", {}, note) : null, ...inputs.map(([, label, input]) => field(label, input)), element("p", { class: "actions" }, act, button(text("cancel"), () => finish(null))));
    dialog.setAttribute("aria-labelledby", "dialog-title");
    dialog.oncancel = () => resolve(null);
    dialog.replaceChildren(form);
    dialog.showModal();
  });
}

export function showSecret(label, secret) {
  const dialog = byId("dialog");
  dialog.setAttribute("aria-labelledby", "dialog-title");
  dialog.replaceChildren(element("h2", { id: "dialog-title" }, label), element("p", { class: "secret", tabindex: "0" }, secret), button(text("close"), () => dialog.close(), "main"));
  dialog.showModal();
}

export const numberInput = (value, min, max, step = 1) => element("input", { type: "number", value: String(value), min: String(min), max: String(max), step: String(step), required: true });
export const readNumber = (input) => Number(input.value);
export const secretInput = (autocomplete) => element("input", { type: "password", required: true, autocomplete, minLength: autocomplete === "new-password" ? 10 : 0 });
