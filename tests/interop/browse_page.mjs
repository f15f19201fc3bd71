// Opens the page in headless Chromium, clicks through all views and reports what is wrong as JSON.
// usage: node browse_page.mjs URL FOLDER WIDTH LANGUAGE SCHEME
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { launch } from "./browser.mjs";

const [url, folder, width, language, scheme] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const problems = [], foreign = [], accessibility = [], wide = [], broken = [], english = [], shown = {};
const browser = await launch(language);

try {
  const page = await browser.newPage();
  await page.setBypassCSP(true); // for axe, which is added as inline script; a second page checks the policy
  page.setDefaultTimeout(60000); // ends a hang only: a busy machine is slow
  await page.setViewport({ width: Number(width), height: 900 });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }, { name: "prefers-reduced-motion", value: "reduce" }]);
  page.on("console", (message) => { if (["error", "warn"].includes(message.type())) problems.push(message.text()); });
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("request", (request) => { if (!request.url().startsWith(url) && !request.url().startsWith("data:")) foreign.push(request.url()); });

  const audit = async (name) => {
    await page.evaluate(axe);
    const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
    for (const each of found.violations) accessibility.push(`${name}: ${each.id}: ${each.help}: ${each.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ")}`);
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    if (overflow > 0) wide.push(`${name}: ${overflow} px`);
    // Words of tables whose letters stand in several lines; ids and names may be longer than a line.
    const torn = await page.evaluate(() => [...document.querySelectorAll("main :is(td, th)")].filter((cell) => cell.checkVisibility() && !cell.closest(".messages") && getComputedStyle(cell).hyphens !== "auto").flatMap((cell) => {
      const walker = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT), range = document.createRange(), found = [];
      while (walker.nextNode()) {
        for (const word of walker.currentNode.textContent.matchAll(/(?<!\S)\p{Lu}?\p{Ll}{2,12}(?![^\s.,:;])/gu)) {
          range.setStart(walker.currentNode, word.index);
          range.setEnd(walker.currentNode, word.index + word[0].length);
          if (new Set([...range.getClientRects()].map((each) => Math.round(each.top))).size > 1) found.push(word[0]);
        }
      }
      return found;
    }));
    broken.push(...torn.map((word) => `${name}: ${word}`));
    const cut = await page.$$eval("svg.chart text", (texts) => texts.filter((each) => each.getBoundingClientRect().left < each.closest("svg").getBoundingClientRect().left).map((each) => each.textContent));
    broken.push(...cut.map((word) => `${name}: cut off: ${word}`));
    shown[name] = await page.$eval("main", (main) => main.innerText);
    if (language === "de") {
      const texts = await page.evaluate(() => {
        const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
        while (walker.nextNode()) {
          const parent = walker.currentNode.parentElement;
          if (parent.closest("[lang]").lang === "de" && !parent.closest("code, pre, select, option, script, style, noscript")) found.push(walker.currentNode.textContent);
        }
        return found;
      });
      for (const each of texts) if (/\b(the|is|are|not|and|of|its|check|has|from|does|cannot)\b/.test(each)) english.push(`${name}: ${each.trim()}`);
    }
    await page.screenshot({ path: `${folder}/${name}-${width}-${language}-${scheme}.png` });
  };
  const open = async (hash, name) => {
    await page.evaluate((each) => { location.hash = each; }, hash);
    await page.waitForFunction((each) => location.hash === each && document.querySelector("main h1"), {}, hash);
    await page.waitForNetworkIdle({ idleTime: 200, concurrency: 1, timeout: 5000 }).catch(() => {});
    await audit(name);
  };

  await page.goto(url);
  await page.select("#language", language);
  await page.waitForSelector("main form", { timeout: 60000 });
  await audit("login");
  await page.type("input[autocomplete=username]", "administrator");
  await page.type("input[type=password]", "wrong password");
  await page.click("form button.main");
  await page.waitForFunction(() => document.querySelector("form [role=alert]").textContent !== "");
  const expected = problems.findIndex((each) => each.includes("401"));
  if (expected >= 0) problems.splice(expected, 1); // the browser logs the rejected login itself
  await page.type("input[type=password]", "administrator");
  await page.click("form button.main");
  await page.waitForSelector("nav a[aria-current]", { timeout: 60000 });
  await page.waitForSelector("main .card");
  const views = await page.$$eval("nav a", (links) => links.map((link) => link.getAttribute("href")));
  for (const view of views) await open(view, view.slice(2));
  await open("#/dimming", "dimming");
  let verified = "", exported = "";
  if (await page.$("main input[type=date]")) {
    await page.evaluate(() => [...document.querySelectorAll("main .actions button")].find((each) => ["Verify", "Prüfen"].includes(each.textContent)).click());
    await page.waitForFunction(() => document.querySelector("main [role=status].good"));
    verified = await page.$eval("main [role=status].good", (node) => node.textContent);
    exported = await page.evaluate(() => fetch(document.querySelector("main a[download]").href).then((answer) => answer.text()));
    await audit("evidence");
  }
  await open("#/stations", "stations");
  const result = { verified, exported, views: views.length, sign: await page.$eval("#sign", (node) => node.className) };
  shown.sign = await page.$eval("#sign", (node) => node.innerText);
  await page.type("input[type=search]", "CS01");
  result.found = await page.$$eval("main details:not([hidden]) tbody tr", (rows) => rows.length);
  await open("#/stations/CS01", "station");
  await page.click("main details.messages > summary");
  await page.waitForSelector("main details.messages tbody tr");
  result.messages = await page.$$eval("main details.messages tbody tr", (rows) => rows.map((row) => row.textContent));
  await page.click("main details.messages tbody summary");
  await audit("messages");
  const pause = await page.evaluateHandle(() => document.querySelector("main .grid .actions button"));
  await pause.click();
  await page.waitForSelector("dialog[open]");
  await audit("dialog");
  await page.keyboard.press("Escape");
  await page.waitForFunction(() => !document.querySelector("dialog[open]"));
  await pause.click();
  await page.waitForSelector("dialog[open] button.main");
  await page.click("dialog[open] button.main");
  await page.waitForFunction(() => !document.querySelector("#message").hidden);
  result.message = await page.$eval("#message", (node) => node.textContent);
  await page.click("#logout-button");
  await page.waitForSelector("main form");
  await page.keyboard.press("Tab");
  result.focus = await page.evaluate(() => document.activeElement.tagName);

  const strict = await browser.newPage(); // under the page's own policy
  strict.on("console", (message) => { if (message.type() === "error") problems.push(message.text()); });
  strict.on("pageerror", (error) => problems.push(String(error)));
  await strict.goto(url);
  await strict.waitForSelector("main form");
  console.log(JSON.stringify({ ...result, problems, foreign, accessibility, wide, broken, english, shown }));
} finally {
  await browser.close();
}
