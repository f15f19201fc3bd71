// Answers the setup in headless Chromium, logs in at the site that then runs, changes a form, and reports as JSON.
// usage: node browse_setup.mjs URL CODE METER FOLDER WIDTH LANGUAGE SCHEME
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { launch } from "./browser.mjs";

const [url, code, meter, folder, width, language, scheme] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const problems = [], foreign = [], accessibility = [], wide = [];
const browser = await launch(language);

try {
  const page = await browser.newPage();
  page.setDefaultTimeout(60000);
  await page.setBypassCSP(true); // for axe, which is added as inline script
  await page.setViewport({ width: Number(width), height: 900 });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }, { name: "prefers-reduced-motion", value: "reduce" }]);
  // The browser logs answers that are errors: without a login, and while the site starts.
  page.on("console", (message) => { if (["error", "warn"].includes(message.type()) && !/40[14]|ERR_CONNECTION|ERR_EMPTY/.test(message.text())) problems.push(message.text()); });
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("request", (request) => { if (!request.url().startsWith(url) && !request.url().startsWith("data:")) foreign.push(request.url()); });

  const audit = async (name) => {
    await page.evaluate(axe);
    const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
    for (const each of found.violations) accessibility.push(`${name}: ${each.id}: ${each.help}: ${each.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ")}`);
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    if (overflow > 0) wide.push(`${name}: ${overflow} px`);
    const odd = await page.evaluate(() => /\b(null|undefined|NaN|\[object)\b/.exec(document.body.innerText)?.[0]);
    if (odd) problems.push(`${name}: shows ${odd}`);
    await page.screenshot({ path: `${folder}/setup-${name}-${width}-${language}-${scheme}.png`, fullPage: true });
  };
  const at = (question) => `[data-question="${question}"]`;
  const answer = async (question, value) => {
    await page.waitForSelector(at(question));
    const kind = await page.$eval(at(question), (node) => (node.querySelector("input[type=radio]") ? "radio" : node.querySelector("select") ? "select" : "text"));
    if (kind === "radio") await page.click(`${at(question)} input[value="${value}"]`);
    else if (kind === "select") await page.select(`${at(question)} select`, value);
    else {
      const input = await page.$(`${at(question)} input`);
      await input.click({ count: 3 });
      await input.type(value);
    }
  };
  const next = () => page.click("#questions button.main");
  const shown = (question) => page.waitForSelector(at(question));

  await page.goto(url);
  await page.waitForSelector("main form");
  await page.select("#language", language);
  await page.waitForSelector("main form input");
  await audit("code");
  await page.type("main form input", code);
  await page.click("main form button.main");
  await shown("site.id");
  await answer("site.id", "depot");
  await answer("site.timezone", "Europe/Berlin");
  await audit("site");
  await next();
  await answer("connection.limit", "much");
  await answer("connection.base_load", "20");
  await next();
  await page.waitForSelector(`${at("connection.limit")} .over`);
  await audit("problem");
  await answer("connection.limit", "63");
  await next();
  await answer("meter.connection", "network");
  await next();
  await answer("meter.host", meter);
  await next();
  await shown("meter.model"); // after the search
  await audit("meter");
  await answer("meter.model", "janitza-umg604/1");
  await next();
  await answer("backend.kind", "none");
  await next();
  await answer("backend.authorization", "free");
  await next();
  await shown("stations.more");
  const hint = await page.$eval("main p[role=status]", (node) => node.textContent);
  await shown("stations.CS01.adopt"); // the station has connected meanwhile
  await audit("stations");
  await answer("stations.CS01.adopt", "yes");
  await next();
  await answer("stations.CS01.phases", "L2 L3 L1");
  await answer("stations.CS01.max_a", "16");
  await audit("wiring");
  await next();
  await answer("dimming.kind", "none");
  await next();
  await answer("page.host", "local");
  await answer("page.user", "anna");
  await next();
  await page.waitForFunction(() => document.querySelector("main pre"));
  await audit("review");
  await page.click("main .actions button:last-child"); // back, and again
  await shown("page.user");
  await next();
  await page.waitForFunction(() => document.querySelector("main pre"));
  await page.click("main .actions button.main");
  await page.waitForSelector(".secret");
  const password = await page.$eval(".secret", (node) => node.textContent);
  await audit("password");
  await page.click("main .actions button.main");
  await page.waitForSelector("input[autocomplete=username], nav a", { timeout: 90000 });

  await page.goto(`${url}#/login`);
  await page.waitForSelector("input[autocomplete=username]");
  await page.type("input[autocomplete=username]", "anna");
  await page.type("input[type=password]", password);
  await page.click("form button.main");
  await page.waitForSelector("#logout-button:not([hidden])");
  await page.waitForFunction(() => document.querySelector("main .card"));
  await page.waitForFunction(() => document.querySelector("main").textContent.includes("CS01") || document.querySelector("main").textContent.includes("1 / 1"));
  await audit("overview");
  await page.evaluate(() => { location.hash = "#/settings"; });
  await page.waitForFunction(() => [...document.querySelectorAll("main details > summary")].some((each) => each.textContent.endsWith(" grid")));
  const fold = await page.evaluateHandle(() => [...document.querySelectorAll("main details > summary")].find((each) => each.textContent.endsWith(" grid")));
  await fold.click();
  const limit = await page.evaluateHandle(() => document.querySelector("main details[open] input"));
  await limit.click({ count: 3 });
  await limit.type("much");
  await limit.press("Enter");
  await page.waitForFunction(() => !document.querySelector("#message").hidden);
  const wrong = await limit.evaluate((input) => [document.querySelector("#message").textContent, document.activeElement === input]);
  await page.evaluate(() => { document.querySelector("#message").hidden = true; });
  problems.pop(); // the rejection, which Chromium logs
  await limit.click({ count: 3 });
  await limit.type("50");
  await audit("form");
  await page.click("main details[open] form button[type=submit]");
  await page.waitForSelector("dialog[open] ins");
  const difference = await page.$$eval("dialog[open] ins, dialog[open] del", (nodes) => nodes.map((node) => node.textContent));
  await audit("difference");
  await page.click("dialog[open] button.main");
  await page.waitForFunction(() => !document.querySelector("#message").hidden);
  await page.waitForFunction(() => [...document.querySelectorAll("main details[open] input")].some((each) => each.value === "50"));
  await page.goto(`${url}setup`);
  await shown("site.id");
  await audit("again");
  const proposed = await page.$eval(`${at("site.id")} input`, (node) => node.value);
  console.log(JSON.stringify({ password: password.length, difference, wrong, hint, proposed, problems, foreign, accessibility, wide }));
} finally {
  await browser.close();
}
