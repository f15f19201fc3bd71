// Walks through the page in headless Chromium by keyboard alone and reports what cannot be done as JSON.
// usage: node walk_page.mjs URL WIDTH
import { launch } from "./browser.mjs";
import { makeKeyboard } from "./keyboard.mjs";

const [url, width] = process.argv.slice(2);
const unreached = [], invisible = [], trapped = [], result = { stops: {} };
const browser = await launch();

try {
  const page = await browser.newPage();
  await page.setViewport({ width: Number(width), height: 900 });
  await page.emulateMediaFeatures([{ name: "prefers-reduced-motion", value: "reduce" }]);
  const { walk, reach, settle } = await makeKeyboard(page, { unreached, invisible, stops: result.stops });

  await page.goto(url);
  await page.waitForSelector("main form");
  await walk("login");
  await reach(() => document.activeElement.autocomplete === "username");
  await page.keyboard.type("administrator");
  await page.keyboard.press("Tab");
  await page.keyboard.type("administrator");
  await page.keyboard.press("Enter");
  await page.waitForSelector("nav a[aria-current]");
  await page.waitForSelector("main .card");
  const views = await page.$$eval("nav a", (links) => links.map((link) => link.getAttribute("href")));
  for (const view of views) {
    await reach((href) => document.activeElement.getAttribute("href") === href, view);
    await page.keyboard.press("Enter");
    await page.waitForFunction((href) => location.hash === href && document.querySelector("main h1"), {}, view);
    await settle();
    await walk(view.slice(2));
  }

  await page.evaluate(() => { location.hash = "#/stations/CS01"; });
  await page.waitForSelector("main details.messages > summary");
  await settle();
  await walk("station");
  await reach(() => document.activeElement.matches("main details.messages > summary"));
  await page.keyboard.press("Space");
  await page.waitForSelector("main details.messages[open] tbody tr");
  for (const key of ["Enter", "Space"]) {
    await reach(() => document.activeElement.matches("main .grid .actions button"));
    await page.evaluate(() => { window.opener_ = document.activeElement; });
    await page.keyboard.press(key);
    await page.waitForSelector("dialog[open]");
    for (const [back, steps] of [[false, 12], [true, 12]]) {
      for (let step = 0; step < steps; step += 1) {
        if (back) await page.keyboard.down("Shift");
        await page.keyboard.press("Tab");
        if (back) await page.keyboard.up("Shift");
        const outside = await page.evaluate(() => { const node = document.activeElement; return node !== document.body && !node.closest("dialog[open]") ? window.nameOf(node) : ""; });
        if (outside) trapped.push(`dialog: focus left to ${outside}`);
      }
    }
    await page.keyboard.press("Escape");
    await page.waitForFunction(() => !document.querySelector("dialog[open]"));
    if (!(await page.evaluate(() => document.activeElement === window.opener_))) trapped.push(`dialog: focus not given back after ${key}`);
  }
  await reach(() => document.activeElement.matches("main .grid .actions button"));
  await page.keyboard.press("Enter");
  await page.waitForSelector("dialog[open] button.main");
  for (let step = 0; step < 15 && !(await page.evaluate(() => document.activeElement.matches("dialog button.main"))); step += 1) await page.keyboard.press("Tab");
  await page.keyboard.press("Space");
  await page.waitForFunction(() => !document.querySelector("#message").hidden);
  console.log(JSON.stringify({ ...result, views: views.length, unreached, invisible, trapped }));
} finally {
  await browser.close();
}
