// Answers the setup in headless Chromium by keyboard alone and reports what cannot be done as JSON.
// usage: node walk_setup.mjs URL CODE FOLDER WIDTH
import { launch } from "./browser.mjs";
import { makeKeyboard } from "./keyboard.mjs";

const [url, code, folder, width] = process.argv.slice(2);
const unreached = [], invisible = [], lost = [], stops = {};
const browser = await launch();

try {
  const page = await browser.newPage();
  page.setDefaultTimeout(60000);
  await page.setViewport({ width: Number(width), height: 900 });
  await page.emulateMediaFeatures([{ name: "prefers-reduced-motion", value: "reduce" }]);
  const { walk, reach, settle } = await makeKeyboard(page, { unreached, invisible, stops });

  const at = (question) => `[data-question="${question}"]`;
  const answer = async (question, value) => {
    await page.waitForSelector(at(question));
    await reach((place) => document.activeElement.closest(place) !== null && document.activeElement.matches("input, select"), at(question));
    const kind = await page.evaluate(() => document.activeElement.type);
    if (kind === "radio" || kind === "select-one") {
      if (kind === "radio") await page.keyboard.press("Space");
      const current = () => page.evaluate(() => document.activeElement.value);
      for (let step = 0; step < 20 && (await current()) !== value; step += 1) await page.keyboard.press("ArrowDown");
      if ((await current()) !== value) throw new Error(`${question}: ${value} is not reached by arrows`);
      return;
    }
    await page.keyboard.down("Control");
    await page.keyboard.press("a");
    await page.keyboard.up("Control");
    await page.keyboard.type(value);
  };
  // Goes on by Enter on the main button, or within the last field; the focus has to be on what is new.
  const next = async (name, shown, key = "Enter") => {
    if (key !== "") await reach(() => document.activeElement.matches("#questions button.main, main .actions button.main, main form button.main"));
    await page.keyboard.press(key || "Enter");
    await page.waitForSelector(shown);
    await settle();
    const focus = await page.evaluate(() => document.activeElement.tagName);
    if (focus === "BODY") lost.push(name);
    await walk(name);
    await page.screenshot({ path: `${folder}/keyboard-${name}-${width}.png`, fullPage: true });
  };

  await page.goto(url);
  await page.waitForSelector("main form input");
  await walk("code");
  await reach(() => document.activeElement.matches("main form input"));
  await page.keyboard.type(code);
  await next("site", at("site.id"), "");
  await answer("site.id", "depot");
  await answer("site.timezone", "Europe/Berlin");
  await next("connection", at("connection.limit"));
  await answer("connection.limit", "much");
  await answer("connection.base_load", "20");
  await next("problem", `${at("connection.limit")} .over`, "Space");
  await answer("connection.limit", "63");
  await next("meter", at("meter.connection"));
  await answer("meter.connection", "none");
  await next("backend", at("backend.kind"), "Space");
  await answer("backend.kind", "none");
  await next("authorization", at("backend.authorization"));
  await answer("backend.authorization", "free");
  await next("stations", at("stations.more"));
  await answer("stations.more", "CS01");
  await next("wiring", at("stations.CS01.phases"));
  await answer("stations.CS01.max_a", "16");
  await next("dimming", at("dimming.kind"));
  await answer("dimming.kind", "none");
  await next("page", at("page.user"));
  await answer("page.host", "local");
  await answer("page.user", "anna");
  await next("review", "main pre");
  await next("password", ".secret", "Space");
  console.log(JSON.stringify({ unreached, invisible, lost, stops }));
} finally {
  await browser.close();
}
