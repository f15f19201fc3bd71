// Keyboard of a person without a mouse: walks by Tab, and what cannot be done by it.
const MOST_STEPS = 500;

// Returns `walk(name)`, `reach(accepts, ...values)` and `settle()` for a page that is not loaded yet.
export const makeKeyboard = async (page, { unreached, invisible, stops }) => {
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
    const missed = await page.evaluate(() => window.controls(document)
      .filter((node) => !window.seen.has(node))
      .filter((node) => node.type !== "radio" || ![...window.seen].some((each) => each.type === "radio" && each.name === node.name)) // arrows reach the others
      .map(window.nameOf));
    const mouseOnly = await page.evaluate(() => [...document.querySelectorAll("body *")]
      .filter((node) => (node.onclick || getComputedStyle(node).cursor === "pointer") && node.checkVisibility() && !node.closest("a, button, input, select, textarea, summary, label, [tabindex]"))
      .map(window.nameOf));
    unreached.push(...[...missed, ...mouseOnly].map((each) => `${name}: ${each}`));
    stops[name] = await page.evaluate(() => window.seen.size);
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
  return { walk, reach, settle };
};
