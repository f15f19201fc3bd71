// Headless Chromium of the tests.
import puppeteer from "puppeteer-core";

export const launch = (language = "en") => puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", `--lang=${language}`],
});
