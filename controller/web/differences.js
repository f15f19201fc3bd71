// Differences between two texts, by lines.

import { element } from "/assets/elements.js";
import { text } from "/assets/texts.js";

// Returns the lines of two texts as [kind, line]: " " both, "-" only the first, "+" only the second.
export function differences(before, after) {
  const one = before.split("\n"), two = after.split("\n");
  let start = 0, end = 0;
  while (start < one.length && start < two.length && one[start] === two[start]) start += 1;
  while (end < one.length - start && end < two.length - start && one.at(-1 - end) === two.at(-1 - end)) end += 1;
  const left = one.slice(start, one.length - end), right = two.slice(start, two.length - end);
  if (left.length * right.length > 4e6) return [...left.map((line) => ["-", line]), ...right.map((line) => ["+", line])];
  // Longest common subsequence of what is left, from the back.
  const lengths = Array.from({ length: left.length + 1 }, () => new Uint32Array(right.length + 1));
  for (let i = left.length - 1; i >= 0; i -= 1) for (let j = right.length - 1; j >= 0; j -= 1) lengths[i][j] = left[i] === right[j] ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
  const found = [];
  let i = 0, j = 0;
  while (i < left.length || j < right.length) {
    if (i < left.length && j < right.length && left[i] === right[j]) { found.push([" ", left[i]]); i += 1; j += 1; }
    else if (j >= right.length || (i < left.length && lengths[i + 1][j] >= lengths[i][j + 1])) { found.push(["-", left[i]]); i += 1; }
    else { found.push(["+", right[j]]); j += 1; }
  }
  return found;
}

export function differenceNodes(before, after) {
  const lines = differences(before, after).filter(([kind]) => kind !== " ");
  return lines.length ? lines.map(([kind, line]) => element(kind === "+" ? "ins" : "del", {}, `${kind} ${line}`)) : [text("noDifferences")];
}

export const differenceList = (before, after) => element("pre", { class: "diff", tabindex: "0" }, ...differenceNodes(before, after));
