// The setup: sections of questions, the review, and the password of the first administrator. Which question is
// asked, and whether an answer is valid, is decided by the controller: it gets all answers each time.

import { reviewedFindings } from "/assets/findings.js";
import { button, byId, element, field, request, select, write } from "/assets/elements.js";
import { differenceList } from "/assets/differences.js";
import { chooseLanguage, language, text } from "/assets/texts.js";

const KNOCKS_MS = 3000; // stations that connect meanwhile are added to their section
const SEARCH_MS = 1000;
const START_MS = 1500;
const RADIOS = 4; // more choices are a list

// `answers`: valid ones; `drafts`: what was typed, also before a step back; `done`: sections that were answered.
const state = { answers: {}, drafts: {}, done: [], progress: null, timer: 0, isNew: true };

function show(...nodes) {
  byId("main").replaceChildren(...nodes.filter(Boolean));
  document.title = `${text("setup")} – local-controller`;
}

function later(act, wait) {
  clearTimeout(state.timer);
  state.timer = setTimeout(act, wait);
}

// -- the code -----------------------------------------------------------------------------------------------

function showCode() {
  const code = element("input", { required: true, autocomplete: "one-time-code", maxlength: "40", autocapitalize: "characters", spellcheck: false });
  const problem = element("p", { class: "over", role: "alert" });
  show(element("h1", {}, text("setup")), element("form", { class: "card", onsubmit: async (event) => {
    event.preventDefault();
    try {
      await request("POST", "/setup/login", { code: code.value });
      await advance();
    } catch (error) { write(problem, text("notDone", { text: error.message })); }
  } }, element("p", {}, text("codeText")), field(text("code"), code), problem, element("p", { class: "actions" }, element("button", { type: "submit", class: "main" }, text("continue")))));
}

// -- questions ----------------------------------------------------------------------------------------------

async function advance() {
  clearTimeout(state.timer);
  let progress;
  try {
    progress = await request("POST", "/setup/next", { answers: state.answers, language: language() });
  } catch (error) {
    if (error.status === 401 || error.status === 403) return state.isNew ? showCode() : location.assign("/#/login");
    return show(element("h1", {}, text("setup")), element("p", { class: "over", role: "alert" }, error.message), element("p", { class: "actions" }, button(text("again"), advance)));
  }
  const shown = state.progress;
  state.progress = progress;
  if (progress.review) return showReview(progress.review);
  const { section } = progress;
  const scan = section.questions.find((each) => each.kind === "scan");
  if (scan) return showSearch(section, scan, progress.search);
  if (section.name === "stations") later(refreshStations, KNOCKS_MS);
  const ids = (each) => each?.section?.questions.map((question) => question.id).join(" ");
  if (ids(shown) !== ids(progress) || !byId("questions") || Object.keys(progress.problems).length) showSection(section, progress.problems);
}

// The answers of this section that were typed stay as drafts while it is shown anew with more questions.
async function refreshStations() {
  if (byId("questions")) keepDrafts();
  const first = document.activeElement?.id;
  await advance();
  if (first) byId(first)?.focus();
}

function showSection(section, problems) {
  const inputs = section.questions.map((question) => [question, questionField(question, problems[question.id])]);
  const form = element("form", { id: "questions", class: "card", onsubmit: async (event) => {
    event.preventDefault();
    keepDrafts();
    const before = state.progress.section.name;
    for (const question of section.questions) if (question.id in state.drafts) state.answers[question.id] = state.drafts[question.id];
    await advance();
    if (state.progress.section?.name !== before) state.done.push([before, section.questions.map((each) => each.id)]);
  } }, ...inputs.map(([, node]) => node), element("p", { class: "actions" }, element("button", { type: "submit", class: "main" }, text("continue")), state.done.length ? button(text("back"), back) : null));
  show(element("h1", {}, text("setup")), element("h2", { class: "section" }, section.title), section.name === "stations" ? element("p", { class: "quiet", role: "status" }, text("stationsWait", { url: state.progress.stations_url })) : null, form);
  if (Object.keys(problems).length) form.querySelector("[aria-invalid] , .over")?.closest(".question")?.querySelector("input, select")?.focus();
  else byId("main").focus();
}

const proposal = (question) => state.drafts[question.id] ?? (question.value || state.answers[question.id] || question.default);

function questionField(question, problem) {
  const value = proposal(question), note = `note-${question.id}`;
  const notes = [question.help ? element("p", { class: "quiet", id: note }, question.help) : null, problem ? element("p", { class: "over", role: "alert" }, problem) : null];
  const described = question.help ? { "aria-describedby": note } : {};
  if (question.choices.length && question.choices.length <= RADIOS) {
    const radios = question.choices.map((choice, index) => {
      const input = element("input", { type: "radio", name: question.id, id: `${question.id}-${index}`, value: choice.value, required: true });
      input.checked = choice.value === value;
      return element("div", { class: "check" }, input, element("label", { for: input.id }, choice.text));
    });
    return element("fieldset", { class: "question", "data-question": question.id, ...described }, element("legend", {}, question.text), ...notes, ...radios);
  }
  let input;
  if (question.choices.length) {
    input = select([["", ""], ...question.choices.map((choice) => [choice.value, choice.text])], value);
    input.required = true;
  } else input = element("input", { type: "text", inputmode: question.kind === "number" ? "decimal" : "text", value, autocomplete: "off", maxlength: "10000", spellcheck: false });
  if (!question.is_optional) input.required = true;
  for (const [name, each] of Object.entries({ ...described, ...(problem ? { "aria-invalid": "true" } : {}) })) input.setAttribute(name, each);
  const made = field(question.text, input);
  made.className = "question";
  made.dataset.question = question.id;
  made.append(...notes.filter(Boolean));
  return made;
}

function keepDrafts() {
  for (const node of document.querySelectorAll("[data-question]")) {
    const input = node.querySelector("input[type=radio]:checked") ?? node.querySelector("input:not([type=radio]), select");
    if (input) state.drafts[node.dataset.question] = input.value;
  }
}

function back() {
  clearTimeout(state.timer);
  if (byId("questions")) keepDrafts();
  const [, ids] = state.done.pop();
  for (const id of ids) delete state.answers[id];
  state.progress = null;
  advance();
}

// -- the search for a meter -----------------------------------------------------------------------------------

async function showSearch(section, scan, search) {
  const steps = element("ul", { role: "status" }, ...(search?.steps ?? []).map((step) => element("li", { lang: "en" }, step)));
  show(element("h1", {}, text("setup")), element("h2", { class: "section" }, section.title), element("section", { class: "card" }, element("p", {}, scan.text), steps, element("p", { class: "actions" }, button(text("back"), () => {
    for (const question of section.questions) delete state.answers[question.id];
    state.progress = null;
    advance();
  }))));
  if (!search?.running) {
    try { await request("POST", "/setup/search", { target: scan.target }); } catch (error) { write(steps, error.message); }
  }
  later(advance, SEARCH_MS);
}

// -- review -----------------------------------------------------------------------------------------------

function showReview(review) {
  const errors = review.findings.filter((each) => each.severity === "error");
  const isSame = review.before === review.text && !review.user;
  const problem = element("p", { class: "over", role: "alert" });
  const writeButton = button(text(review.before ? "write" : "writeFirst"), async () => {
    writeButton.disabled = true;
    try {
      const result = await request("POST", "/setup/write", { answers: state.answers, language: language() });
      showResult(result);
    } catch (error) { writeButton.disabled = false; write(problem, text("notDone", { text: error.message })); }
  }, "main");
  writeButton.disabled = errors.length > 0 || isSame;
  show(
    element("h1", {}, text("setup")),
    element("h2", { class: "section" }, text("review")),
    element("section", { class: "card" }, ...reviewedFindings(review.findings), problem, element("p", { class: "actions" }, writeButton, button(text("back"), back))),
    element("section", { class: "card" }, element("h3", {}, text(review.before ? "differences" : "configuration")), review.before ? differenceList(review.before, review.text) : element("pre", { tabindex: "0" }, review.text)),
  );
  byId("main").focus();
}

function showResult(result) {
  const start = button(text(state.isNew ? "startSite" : "toSite"), async () => {
    start.disabled = true;
    if (!state.isNew) return location.assign("/");
    await request("POST", "/setup/finish", {}).catch(() => {}); // it ends the server that answers
    write(waiting, text("starting"));
    later(waitForSite, START_MS);
  }, "main");
  const waiting = element("p", { role: "status" });
  show(element("h1", {}, text("setup")), element("section", { class: "card" }, element("p", { class: "good" }, text("written")), result.password ? element("div", {}, element("p", {}, text("firstPassword", { user: result.user })), element("p", { class: "secret", tabindex: "0" }, result.password), element("p", { class: "quiet" }, text("passwordNote"))) : null, element("p", { class: "actions" }, start), waiting));
  byId("main").focus();
}

async function waitForSite() {
  try {
    if ((await fetch("/api/v1/me", { cache: "no-store" })).ok) return location.assign("/");
  } catch { /* the site is starting: its port is closed for a moment */ }
  later(waitForSite, START_MS);
}

// -- begin ------------------------------------------------------------------------------------------------

function updateFrame() {
  for (const node of document.querySelectorAll("[data-text]")) write(node, text(node.dataset.text));
}

byId("language").addEventListener("change", (event) => {
  if (byId("questions")) keepDrafts();
  chooseLanguage(event.target.value);
  try { localStorage.setItem("language", language()); } catch { /* private mode: the choice lasts for this page */ }
  updateFrame();
  state.progress = null;
  advance();
});

let remembered = null;
try { remembered = localStorage.getItem("language"); } catch { /* private mode */ }
chooseLanguage(remembered ?? (navigator.language.startsWith("de") ? "de" : "en"));
byId("language").value = language();
updateFrame();
// In setup mode there is no site yet, and the page is also at /setup of a running site.
fetch("/api/v1/me", { cache: "no-store" }).then((response) => { state.isNew = !response.ok; }).catch(() => {}).then(advance);
