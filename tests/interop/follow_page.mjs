// Opens views of lists in headless Chromium while the site changes, and reports as JSON what they show then.
// usage: node follow_page.mjs URL
import { launch } from "./browser.mjs";

const [url] = process.argv.slice(2);
const problems = [], result = {};
const browser = await launch();

try {
  const page = await browser.newPage();
  page.setDefaultTimeout(60000); // ends a hang only: a busy machine is slow
  await page.setViewport({ width: 390, height: 500 });
  page.on("console", (message) => { if (["error", "warn"].includes(message.type())) problems.push(message.text()); });
  page.on("pageerror", (error) => problems.push(String(error)));
  const requests = {};
  page.on("request", (request) => { const path = new URL(request.url()).pathname; requests[path] = (requests[path] ?? 0) + 1; });
  const open = async (hash) => {
    await page.evaluate((each) => { location.hash = each; }, hash);
    await page.waitForFunction((each) => location.hash === each && document.querySelector("main h1"), {}, hash);
  };
  // Changes the site; what a view shows is then `wait`ed for.
  const change = () => page.evaluate(() => fetch("/api/v1/commands/station.resume", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ station: "CS01" }) }).then((answer) => answer.status));
  const shows = (wanted) => page.waitForFunction((each) => document.querySelector("main").textContent.includes(each), {}, wanted);

  await page.goto(url);
  await page.waitForSelector("main form");
  await page.type("input[autocomplete=username]", "administrator");
  await page.type("input[type=password]", "administrator");
  await page.click("form button.main");
  await page.waitForSelector("nav a[aria-current]"); // the login sets the hash itself, and its form is a card, too

  await open("#/events");
  await shows("Event 0");
  await page.evaluate(() => { window.firstRow = [...document.querySelectorAll("main tbody tr")].find((row) => row.textContent.includes("Event 0")); });
  await change();
  await shows("Event 1");
  result.keptRow = await page.evaluate(() => window.firstRow.isConnected);
  result.actor = await page.evaluate(() => [...document.querySelectorAll("main tbody .second.narrow")].map((node) => (node.checkVisibility() ? node.textContent : ""))[0]);

  await open("#/sessions");
  await shows("S-1/1");
  await page.evaluate(() => { const input = document.querySelector("main input[type=month]"); input.value = "2026-10"; input.dispatchEvent(new Event("change")); input.focus(); });
  await change();
  await shows("S-2/1");
  result.month = await page.evaluate(() => [document.querySelector("main input[type=month]").value, document.activeElement.type]);

  await open("#/history");
  await page.waitForSelector("main svg.chart");
  await page.evaluate(() => { window.card = document.querySelector("main section.card"); document.querySelector("main details").open = true; });
  await shows("2 W");
  await page.evaluate(() => { document.querySelector("main select").focus(); scrollTo(0, 120); });
  await change();
  await shows("3 W");
  result.history = await page.evaluate(() => ({ kept: window.card.isConnected, open: document.querySelector("main details").open, focus: document.activeElement.tagName, scrolled: scrollY > 0 }));
  result.labels = await page.evaluate(() => [...document.querySelectorAll("main svg text")].map((node) => node.getBoundingClientRect().height));
  result.axis = await page.evaluate(() => [...document.querySelectorAll("main svg text[text-anchor=middle]")].map((node) => node.textContent));

  await open("#/settings");
  await shows("user-3");
  await page.waitForFunction(() => document.querySelector("main textarea").value.includes("version 3"));
  const notices = () => page.evaluate(() => [...document.querySelectorAll("main section.near")].filter((node) => node.checkVisibility()).map((node) => [node.firstChild.textContent, ...[...node.querySelectorAll("button")].map((each) => each.textContent)]));
  result.notInUse = await notices();
  await page.evaluate(() => { for (const each of document.querySelectorAll("main details")) each.open = true; });
  await page.waitForSelector("main details form input[inputmode=decimal]");
  await page.focus("main details form input[inputmode=decimal]");
  await page.keyboard.type("7");
  result.typed = await page.evaluate(() => document.activeElement.value);
  await change();
  await shows("user-4");
  await page.waitForFunction(() => document.querySelector("main textarea").value.includes("version 4"));
  await page.waitForFunction(() => [...document.querySelectorAll("main p.near")].filter((node) => node.checkVisibility()).length === 1);
  result.inUse = await notices();
  result.form = await page.evaluate(() => [document.activeElement.inputMode, document.activeElement.value]);
  await page.evaluate(() => { const editor = document.querySelector("main textarea"); editor.value += "# mine"; });
  await change();
  await shows("user-5");
  await page.waitForFunction(() => [...document.querySelectorAll("main p.near")].filter((node) => node.checkVisibility()).length === 2);
  result.editor = await page.evaluate(() => document.querySelector("main textarea").value);
  await page.evaluate(() => [...document.querySelectorAll("main p.near button")].at(-1).click());
  await page.waitForFunction(() => document.querySelector("main textarea").value.includes("version 5"));
  // Of two forms that are filled in, one is written: the other one stays as it is, upon the new file.
  const drafts = () => page.evaluate(() => [...document.querySelectorAll("main details form")].map((form) => [...form.querySelectorAll("input, select")].filter((input) => input.value !== input.dataset.value).map((input) => input.value)).filter((values) => values.length));
  await page.waitForFunction(() => [...document.querySelectorAll("main p.near")].filter((node) => node.checkVisibility()).length === 1);
  await page.evaluate(() => { [...document.querySelectorAll("main p.near button")].find((node) => node.checkVisibility()).click(); });
  await page.waitForFunction(() => [...document.querySelectorAll("main details form :is(input, select)")].every((input) => input.value === input.dataset.value));
  await page.evaluate(() => { [...document.querySelectorAll("main details form")].slice(0, 2).forEach((form, index) => { form.querySelector("input").value = `draft ${index}`; }); });
  result.drafts = [await drafts()];
  await page.evaluate(() => { window.written = document.querySelector("main details form"); window.written.requestSubmit(); });
  await page.waitForSelector("dialog[open] button.main");
  await page.click("dialog[open] button.main");
  await page.waitForFunction(() => !window.written.isConnected);
  result.drafts.push(await drafts());
  result.focusWritten = await page.evaluate(() => document.activeElement === document.querySelector("main details summary"));
  await page.evaluate(() => [...document.querySelectorAll("main button")].find((each) => each.textContent === "Add or change a user").click());
  await page.waitForSelector("dialog[open] select");
  result.roles = await page.$$eval("dialog[open] select option", (options) => options.map((option) => option.value));
  await page.keyboard.press("Escape");

  await open("#/events");
  await shows("Event 6");
  const before = requests["/api/v1/events"];
  for (let number = 0; number < 10; number += 1) await change();
  await shows("Event 16");
  result.requested = requests["/api/v1/events"] - before;
  console.log(JSON.stringify({ ...result, problems }));
} finally {
  await browser.close();
}
