// Line charts as SVG: the band from the lowest to the highest value, and the mean as a line.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 220, LEFT = 56, RIGHT = 8, TOP = 10, BOTTOM = 26;
const WIDTH = 720; // without a place; else the width of that in pixels, so that texts keep their size
const LETTER = 7; // width of a digit of the marks, which are 12 px high
const EDGE = 18; // a mark so near to the edge has no text: it would be cut off

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

const QUARTER_S = 900; // offsets of time zones are multiples of it

// Returns the times (s) at which the axis is marked: each 6 hours of a day, each midnight of a week, each fifth of a
// month, by the clock of `zone`. A day begins where the date changes, also where the clock skips its midnight.
export function timeMarks(start, end, zone) {
  const clock = new Intl.DateTimeFormat("en-GB", { timeZone: zone, year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", hourCycle: "h23" });
  const partOf = (time) => {
    const parts = Object.fromEntries(clock.formatToParts(new Date(time * 1000)).map((each) => [each.type, each.value]));
    const day = `${parts.year}-${parts.month}-${parts.day}`;
    return end - start > 2 * 86400 ? day : `${day} ${Math.floor(Number(parts.hour) / 6)}`;
  };
  const marks = [], first = Math.ceil(start / QUARTER_S) * QUARTER_S;
  let before = partOf(first - QUARTER_S);
  for (let time = first; time <= end; time += QUARTER_S) {
    const part = partOf(time);
    if (part !== before) marks.push(time);
    before = part;
  }
  return end - start > 8 * 86400 ? marks.filter((_, index) => index % 5 === 0) : marks;
}

// Returns the values at which the axis is marked, which enclose the values; `whole`: they are counts.
export function valueMarks(low, high, whole) {
  const step = Math.max(niceStep(high - low || 1, 4), whole ? 1 : 0), first = Math.floor(low / step), last = Math.max(Math.ceil(high / step), first + 1);
  return Array.from({ length: last - first + 1 }, (_, index) => (first + index) * step);
}

// Draws one series from `start` to `end` (s), marked at `times`. `limit`: a line at that value; `format` writes a value;
// `whole`: the values are counts.
export function lineChart(series, { start, end, times, limit, title, format, formatTime, whole = false, width = WIDTH }) {
  const all = [...series.high, ...series.low, 0, ...(limit === undefined ? [] : [limit])];
  const marks = valueMarks(Math.min(...all), Math.max(...all), whole), bottom = marks[0], top = marks.at(-1);
  const left = Math.max(LEFT, 12 + LETTER * Math.max(...marks.map((value) => format(value).length)));
  const x = (time) => left + ((time - start) / (end - start)) * (width - left - RIGHT);
  const y = (value) => TOP + ((top - value) / (top - bottom)) * (HEIGHT - TOP - BOTTOM);
  const chart = shape("svg", { class: "chart", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img" });
  chart.setAttribute("aria-label", title);
  chart.append(shape("title", {}, title));
  for (const value of marks) {
    chart.append(shape("line", { class: "axis", x1: left, x2: width - RIGHT, y1: y(value), y2: y(value) }));
    chart.append(shape("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, format(value)));
  }
  for (const time of times) {
    chart.append(shape("line", { class: "axis", x1: x(time), x2: x(time), y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM + 5 }));
    if (x(time) > left + EDGE && x(time) < width - RIGHT - EDGE) chart.append(shape("text", { x: x(time), y: HEIGHT - 8, "text-anchor": "middle" }, formatTime(time)));
  }
  for (const part of unbroken(series)) {
    const point = (values) => (index) => `${x(series.times[index]).toFixed(1)},${y(values[index]).toFixed(1)}`;
    const above = part.map(point(series.high)), below = part.map(point(series.low)).reverse();
    chart.append(shape("polygon", { class: "area", points: [...above, ...below].join(" ") }));
    chart.append(shape("polyline", { class: "line", points: part.map(point(series.mean)).join(" ") }));
  }
  if (limit !== undefined) chart.append(shape("line", { class: "limit", x1: left, x2: width - RIGHT, y1: y(limit), y2: y(limit) }));
  return chart;
}
