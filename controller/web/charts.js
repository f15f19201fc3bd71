// Line charts as SVG: the band from the lowest to the highest value, and the mean as a line.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 720, HEIGHT = 220, LEFT = 52, RIGHT = 8, TOP = 10, BOTTOM = 26;

function shape(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Returns a step of 1, 2 or 5 times a power of ten that divides `span` into at most `parts`.
export function niceStep(span, parts) {
  const raw = span / parts || 1, power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= raw);
}

// Returns the parts of a series without gaps: a value missing for three intervals ends a part.
function unbroken(series) {
  const parts = [];
  series.times.forEach((time, index) => {
    const last = parts.at(-1);
    if (last && time - series.times[last.at(-1)] <= 3 * series.interval_s) last.push(index);
    else parts.push([index]);
  });
  return parts;
}

// Draws one series from `start` to `end` (s). `limit`: a line at that value; `format` writes a value.
export function lineChart(series, { start, end, limit, title, format, formatTime }) {
  const all = [...series.high, ...series.low, 0, ...(limit === undefined ? [] : [limit])];
  const high = Math.max(...all), low = Math.min(...all);
  const step = niceStep(high - low || 1, 4), top = Math.ceil(high / step) * step || step, bottom = Math.floor(low / step) * step;
  const x = (time) => LEFT + ((time - start) / (end - start)) * (WIDTH - LEFT - RIGHT);
  const y = (value) => TOP + ((top - value) / (top - bottom)) * (HEIGHT - TOP - BOTTOM);
  const chart = shape("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
  chart.setAttribute("aria-label", title);
  chart.append(shape("title", {}, title));
  for (let value = bottom; value <= top + step / 2; value += step) {
    chart.append(shape("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }));
    chart.append(shape("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, format(value)));
  }
  for (let part = 0; part <= 4; part += 1) {
    const time = start + ((end - start) * part) / 4, anchor = part === 0 ? "start" : part === 4 ? "end" : "middle";
    chart.append(shape("text", { x: x(time), y: HEIGHT - 8, "text-anchor": anchor }, formatTime(time)));
  }
  for (const part of unbroken(series)) {
    const point = (values) => (index) => `${x(series.times[index]).toFixed(1)},${y(values[index]).toFixed(1)}`;
    const above = part.map(point(series.high)), below = part.map(point(series.low)).reverse();
    chart.append(shape("polygon", { class: "area", points: [...above, ...below].join(" ") }));
    chart.append(shape("polyline", { class: "line", points: part.map(point(series.mean)).join(" ") }));
  }
  if (limit !== undefined) chart.append(shape("line", { class: "limit", x1: LEFT, x2: WIDTH - RIGHT, y1: y(limit), y2: y(limit) }));
  return chart;
}
