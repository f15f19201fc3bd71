// The settings: the person's account, forms for what installers change, users, tokens, the whole file.

import { ask, button, byId, cell, command, element, field, follow, request, secretInput, select, show, showSecret, table, twoLines } from "/assets/elements.js";
import { differenceList, differenceNodes } from "/assets/differences.js";
import { findingItem, reviewedFindings } from "/assets/findings.js";
import { hasText, text } from "/assets/texts.js";

let me = null, may = () => false, can = () => false, moment = String, begin = () => {}, revision = () => 0;

// `page`: who looks at it and what they may do; `begin` loads the page anew, `revision` is what a list changes with.
// Returns its update: lists are requested again when they have changed, but what a person fills in is kept.
export function showSettings(main, page) {
  ({ me, may, can, moment, begin, revision } = page);
  const updates = [];
  const add = ([card, update]) => { main.append(card); updates.push(update); };
  if (me?.origin === "page" && me.name !== "anonymous") main.append(accountCard());
  const notice = reloadNotice();
  if (may("configuration:read")) { main.append(notice); add(formsCard()); }
  if (may("users:read")) { add(usersCard()); add(tokensCard()); }
  if (may("configuration:read")) add(configurationCard(notice));
  return (status) => updates.forEach((update) => update(status));
}

function accountCard() {
  return element("section", { class: "card" }, element("h2", {}, text("account")), element("p", {}, me.name), button(text("ownPassword"), async () => {
    const members = await ask(text("ownPassword"), [["old", text("oldPassword"), secretInput("current-password")], ["new", text("newPassword"), secretInput("new-password")]]);
    if (!members) return;
    try { await request("POST", "/password", members); await begin(); show(text("passwordChanged")); } catch (error) { show(text("notDone", { text: error.message })); }
  }));
}

function usersCard() {
  const [made, update] = table(text("users"), [
    { title: text("name"), write: twoLines((user) => user.name, (user) => user.role, "second narrow") },
    { title: text("role"), class: "wide", write: cell((user) => user.role) },
    { title: text("action"), write: (node, user) => { if (!node.firstChild && can("user.remove")) node.append(button(text("remove"), async () => { if (await ask(text("confirm", { action: text("remove"), subject: user.name }), [], { danger: true })) { await command("user.remove", { user: user.name }); load(); } }, "danger")); } },
  ], text("none"));
  let roles = [];
  const load = async () => {
    try {
      roles = await request("GET", "/roles");
      update(await request("GET", "/users"), (user) => user.name);
    } catch (error) { show(error.message); }
  };
  const card = element("section", { class: "card" }, element("h2", {}, text("users")), made, can("user.add") ? button(text("addUser"), async () => {
    const members = await ask(text("addUser"), [["user", text("name"), element("input", { required: true, maxlength: "48", autocomplete: "off" })], ["role", text("role"), select(roles.map((role) => [role.name, role.name]), roles.some((role) => role.name === "operator") ? "operator" : undefined)]]);
    const result = members && await command("user.add", members);
    if (result) { showSecret(text("generated"), result.password); load(); }
  }) : null), requestAgain = follow(card, load);
  return [card, (status) => requestAgain(revision(status, "users"))];
}

function tokensCard() {
  const [made, update] = table(text("tokens"), [
    { title: text("name"), write: cell((token) => token.name) },
    { title: text("scopes"), write: cell((token) => token.scopes.join(" ")) },
    { title: text("expires"), class: "wide whole", write: cell((token) => (token.expires ? moment(token.expires * 1000) : "–")) },
    { title: text("action"), write: (node, token) => { if (!node.firstChild && can("token.revoke")) node.append(button(text("remove"), async () => { if (await ask(text("confirm", { action: text("remove"), subject: token.name }), [], { danger: true })) { await command("token.revoke", { token: token.name }); load(); } }, "danger")); } },
  ], text("none"));
  const load = async () => { try { update(await request("GET", "/tokens"), (token) => token.name); } catch (error) { show(error.message); } };
  const card = element("section", { class: "card" }, element("h2", {}, text("tokens")), made, can("token.create") ? button(text("addToken"), async () => {
    const members = await ask(text("addToken"), [
      ["token", text("name"), element("input", { required: true, maxlength: "48", autocomplete: "off" })],
      ["scopes", text("scopes"), element("input", { required: true, value: "status:read stations:read" }), (input) => input.value.split(/[\s,]+/).filter(Boolean)],
      ["days", text("daysValid"), element("input", { type: "number", min: "1", max: "3650" }), (input) => (input.value ? Number(input.value) : undefined)],
    ]);
    const result = members && await command("token.create", members);
    if (result) { showSecret(text("secret"), result.secret); load(); }
  }) : null), requestAgain = follow(card, load);
  return [card, (status) => requestAgain(revision(status, "users"))];
}

// Shown where the file was changed on the gateway, and is not in use yet.
function reloadNotice() {
  return element("section", { class: "card near", role: "status", hidden: true }, element("p", {}, text("notInUse")), can("configuration.reload") ? element("p", { class: "actions" }, button(text("reload"), () => command("configuration.reload", {}, text("reload")), "main")) : null);
}

function configurationCard(notice) {
  const editor = element("textarea", { spellcheck: false, readOnly: !can("configuration.write") }), findings = element("ul"), diff = element("pre", { class: "diff" });
  const versions = element("ul"), changed = changedNote(() => load(true));
  let present = { text: "", version: "" }, loaded = "";
  const showDiff = () => diff.replaceChildren(...differenceNodes(present.text, editor.value));
  const check = async () => {
    try {
      const found = await request("POST", "/configuration/check", { text: editor.value });
      findings.replaceChildren(...(found.length ? found.map((each) => findingItem(each, "near")) : [element("li", { class: "good" }, text("noFindings"))]));
    } catch (error) { show(error.message); }
  };
  const load = async (isWanted = false) => {
    try {
      const read = await request("GET", "/configuration"), isEdited = editor.value !== loaded;
      notice.hidden = read.in_use !== false;
      changed.hidden = isWanted || !isEdited || read.version === present.version;
      if (isWanted || !isEdited) {
        if (read.version !== present.version) { present = read; findings.replaceChildren(); }
        editor.value = present.text;
        loaded = editor.value; // with the line ends of an editor
        diff.replaceChildren();
      }
      const stored = await request("GET", "/configuration/versions");
      versions.replaceChildren(...stored.map((each) => element("li", {}, `${moment(each.time)} ${each.actor} ${each.version.slice(0, 12)} `, button(text("differences"), async () => { editor.value = (await request("GET", `/configuration/versions/${each.version}`)).text; showDiff(); }), can("configuration.rollback") ? button(text("rollBack"), async () => { if (await ask(text("confirm", { action: text("rollBack"), subject: moment(each.time) }), [], { danger: true }) && await command("configuration.rollback", { version: each.version }, text("rollBack"))) load(true); }) : null)));
    } catch (error) { findings.replaceChildren(element("li", {}, error.message)); }
  };
  const save = async () => {
    let found;
    try { found = await request("POST", "/configuration/check", { text: editor.value }); } catch (error) { return show(error.message); }
    if (await confirmReview({ before: present.text, text: editor.value, findings: found }) && await command("configuration.write", { text: editor.value, base: present.version }, text("write"))) load(true);
  };
  const card = element("section", { class: "card" }, element("h2", {}, text("configuration")), changed, field(text("configuration"), editor), element("p", { class: "actions" }, button(text("check"), check), button(text("differences"), showDiff), can("configuration.write") ? button(text("write"), save, "main") : null, can("configuration.reload") ? button(text("reload"), () => command("configuration.reload", {}, text("reload"))) : null), element("div", { role: "status" }, findings), diff, element("h3", {}, text("versions")), versions), requestAgain = follow(card, load);
  return [card, (status) => requestAgain(revision(status, "configuration"))];
}

// Shown where the file has changed while a person fills in what was made from it.
function changedNote(load) {
  return element("p", { class: "near", role: "status", hidden: true }, `${text("changedMeanwhile")} `, button(text("loadAgain"), load));
}

// -- forms --------------------------------------------------------------------------------------------------

const fieldLabel = (each) => { const key = `field.${each.label}`; return `${hasText(key) ? text(key) : each.label}${each.unit ? ` (${each.unit})` : ""}`; };

function fieldInput(each) {
  if (each.choices.length) return select([["", text("notSet")], ...each.choices.map((choice) => [choice, choice])], each.value);
  return element("input", { type: "text", inputmode: each.kind === "number" && !each.words.length ? "decimal" : "text", value: each.value, placeholder: text("notSet"), autocomplete: "off", maxlength: "1000" });
}

// One form for each table; EVSEs of a station are told apart by their place.
function formOf(group, forms, load) {
  const fields = group.fields.map((each) => [each, fieldInput(each)]);
  for (const [each, input] of fields) Object.assign(input.dataset, { value: input.value, path: JSON.stringify(each.path) });
  if (!can("configuration.write")) for (const [, input] of fields) Object.assign(input, input.tagName === "SELECT" ? { disabled: true } : { readOnly: true });
  const evses = new Set(group.fields.map((each) => each.evse).filter((evse) => evse !== null));
  const label = (each) => fieldLabel(each) + (each.evse !== null && evses.size > 1 ? ` – ${text("evse")} ${each.evse}` : "");
  const name = [text(`table.${group.table}`), group.id].filter(Boolean).join(" ");
  const form = element("form", { onsubmit: async (event) => {
    event.preventDefault();
    const changes = fields.filter(([each, input]) => input.value.trim() !== each.value).map(([each, input]) => ({ path: each.path, value: input.value.trim() }));
    if (!changes.length) return show(text("noDifferences"));
    try {
      const review = await request("POST", "/configuration/fields", { base: forms.version, changes, language: document.documentElement.lang });
      if (await confirmReview(review) && await command("configuration.write", { text: review.text, base: review.version }, text("write"))) load(form);
    } catch (error) {
      const wrong = fields.find(([each]) => error.message.startsWith(`${each.path.join(".")}: `));
      if (wrong) wrong[1].focus();
      show(text("notDone", { text: wrong ? `${name}, ${label(wrong[0])}${error.message.slice(wrong[0].path.join(".").length)}` : error.message }));
    }
  } }, element("div", { class: "fields" }, ...fields.map(([each, input]) => field(label(each), input))), can("configuration.write") ? element("p", { class: "actions" }, element("button", { type: "submit" }, text("save"))) : null);
  return element("details", {}, element("summary", {}, name), form);
}

// Shows the differences and what the check finds; resolves to true if they are to be written.
function confirmReview(review) {
  const dialog = byId("dialog"), errors = review.findings.some((each) => each.severity === "error");
  return new Promise((resolve) => {
    const finish = (agreed) => { dialog.close(); resolve(agreed); };
    const act = button(text("write"), () => finish(true), "main");
    act.disabled = errors;
    dialog.setAttribute("aria-labelledby", "dialog-title");
    dialog.oncancel = () => resolve(false);
    dialog.replaceChildren(element("h2", { id: "dialog-title" }, text("differences")), differenceList(review.before, review.text), ...reviewedFindings(review.findings), element("p", { class: "actions" }, act, button(text("cancel"), () => finish(false))));
    dialog.showModal();
  });
}

function formsCard() {
  const place = element("div"), search = element("input", { type: "search" }), changed = changedNote(() => load(true));
  let version = "";
  const inputs = () => [...place.querySelectorAll("input, select")];
  const filledIn = () => inputs().filter((input) => input.value !== input.dataset.value), isFilledIn = () => filledIn().length > 0;
  const filter = () => { for (const fold of place.children) fold.hidden = !fold.firstChild.textContent.toLowerCase().includes(search.value.trim().toLowerCase()); };
  // `saved`: the form that was written; what is filled in in the others stays.
  const load = async (isWanted = false, saved = null) => {
    try {
      const forms = await request("GET", "/configuration/fields");
      changed.hidden = isWanted || forms.version === version || !isFilledIn();
      if (!isWanted && (forms.version === version || isFilledIn())) return;
      version = forms.version;
      const kept = saved === null ? [] : filledIn().filter((input) => !saved.contains(input)).map((input) => [input.dataset.path, input.value]);
      const name = saved?.parentElement.firstChild.textContent, open = [...place.querySelectorAll("details[open] > summary")].map((each) => each.textContent);
      place.replaceChildren(...forms.groups.map((group) => formOf(group, forms, (form) => load(true, form))));
      const values = new Map(kept);
      for (const input of inputs()) if (values.has(input.dataset.path)) input.value = values.get(input.dataset.path);
      for (const fold of place.children) { fold.open = open.includes(fold.firstChild.textContent); if (fold.firstChild.textContent === name) fold.firstChild.focus(); }
      filter();
    } catch (error) { place.replaceChildren(element("p", {}, error.message)); }
  };
  search.addEventListener("input", filter);
  const card = element("section", { class: "card" }, element("h2", {}, text("forms")), element("p", { class: "quiet" }, text("formsText")), can("configuration.write") ? element("p", {}, element("a", { href: "/setup" }, text("setupLink"))) : null, field(text("search"), search), changed, place), requestAgain = follow(card, load);
  return [card, (status) => requestAgain(revision(status, "configuration"))];
}
