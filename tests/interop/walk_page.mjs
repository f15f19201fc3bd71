// Walks through the page in headless Chromium by keyboard alone and reports what cannot be done as JSON.
// usage: node walk_page.mjs URL WIDTH
import puppeteer from "puppeteer-core";

const [url, width] = process.argv.slice(2);
const MOST_STEPS = 500;
const unreached = [], invisible = [], trapped = [], result = { stops: {} };
const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--lang=en"],
});

try {
  const page = await browser.newPage();
  await page.setViewport({ width: Number(width), height: 900 });
  await page.emulateMediaFeatures([{ name: "prefers-reduced-motion", value: "reduce" }]);
  await page.evaluateOnNewDocument(() => {
    window.nameOf = (node) => `${node.tagName.toLowerCase()} ${node.id} ${(node.ariaLabel || node.textContent || node.name || node.type || "").trim().slice(0, 40)}`;
    window.controls = (root) => [...root.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")]
      .filter((node) => !node.disabled && node.tabIndex >= 0 && node.type !== "hidden" && node.checkVisibility({ visibilityProperty: true }));
  });

  // Presses Tab until the focus is back at the begin; returns the number of controls that had it.
  const walk = async (name) => {
    await page.evaluate(() => { document.activeElement.blur(); getSelection().removeAllRanges(); window.seen = new Set(); window.ends = 0; });
    for (let step = 0; step < MOST_STEPS; step += 1) {
      await page.keyboard.press("Tab");
      const at = await page.evaluate(() => {
        const node = document.activeElement;
        if (node === document.body) return (window.ends += 1) > 1 ? null : { isNew: false }; // the end, before the begin
        const isNew = !window.seen.has(node), style = getComputedStyle(node), box = node.getBoundingClientRect();
        window.seen.add(node);
        const outlined = (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== "none";
        const onScreen = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
        return { name: window.nameOf(node), isNew, visible: outlined && onScreen };
      });
      if (at === null) break;
      if (at.isNew && !at.visible) invisible.push(`${name}: ${at.name}`);
    }
    const missed = await page.evaluate(() => window.controls(document).filter((node) => !window.seen.has(node)).map(window.nameOf));
    const mouseOnly = await page.evaluate(() => [...document.querySelectorAll("body *")]
      .filter((node) => (node.onclick || getComputedStyle(node).cursor === "pointer") && node.checkVisibility() && !node.closest("a, button, input, select, textarea, summary, label, [tabindex]"))
      .map(window.nameOf));
    unreached.push(...[...missed, ...mouseOnly].map((each) => `${name}: ${each}`));
    result.stops[name] = await page.evaluate(() => window.seen.size);
  };
  // Moves the focus by Tab to the first control that the test accepts.
  const reach = async (accepts, ...values) => {
    await page.evaluate(() => { document.activeElement.blur(); });
    for (let step = 0; step < MOST_STEPS; step += 1) {
      await page.keyboard.press("Tab");
      if (await page.evaluate(accepts, ...values)) return;
    }
    throw new Error(`not reached by Tab: ${accepts}`);
  };
  const settle = () => page.waitForNetworkIdle({ idleTime: 200, concurrency: 1, timeout: 5000 }).catch(() => {});

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
