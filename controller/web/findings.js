// Findings of the check in German, each text by its code. {name} stands for a value, as in the English text, which
// is shown where a finding has no code.

import { element } from "/assets/elements.js";
import { language, text } from "/assets/texts.js";

const DE = {
  "unknown-key": "Schlüssel unbekannt",
  "missing": "fehlt",
  "cannot-be": "kann nicht {value} sein",
  "cannot-be-in-unit": "kann nicht {value} {unit} sein",
  "invalid-value": "hat einen ungültigen Wert",
  "does-not-exist": "{kind} \"{name}\" gibt es nicht",
  "defined-already": "\"{name}\" gibt es schon",
  "did-you-mean": "gemeint ist vermutlich {meant}",
  "did-you-mean-in-unit": "gemeint ist vermutlich {meant}; die Einheit ist {unit}, {bounds}",
  "not-in-percent": "in {unit} angeben, nicht in Prozent: {form}",
  "write": "anzugeben ist {form}",
  "put-in-quotes": "in Anführungszeichen setzen",
  "write-as-table": "als Tabelle schreiben: {table}",
  "write-as-tables": "{table} mit zwei Klammern schreiben: es kann mehrere geben",
  "write-below": "unter {table} schreiben",
  "key-of": "ist ein Schlüssel von {tables}",
  "remove-known-are": "entfernen; bekannt sind {names}",
  "known-are": "bekannt sind {names}",
  "add-key": "ergänzen: {key} = ... ({form})",
  "add-table": "Tabelle ergänzen: {table}",
  "add-a": "{table} ergänzen",
  "give-own-id": "jedem eine eigene id geben",
  "one-or-other": "{others} oder {last}",
  "a-table": "eine Tabelle",
  "empty-list": "eine leere Liste",
  "list-of": "eine Liste von {count}",
  "text": "ein Text",
  "whole-number": "eine ganze Zahl",
  "number": "eine Zahl",
  "true-or-false": "true oder false",
  "date": "ein Datum, wie 2027-12-31",
  "time": "eine Zeit mit ihrer Zone, wie 2026-11-21T12:00:00Z",
  "one-of": "eines von {names}",
  "from-to": "{kind} von {least} bis {most}",
  "bounds": "von {least} bis {most}",
  "bounds-above": "über {least}, höchstens {most}",
};

const german = (coded) => (typeof coded === "string" ? coded : DE[coded.code].replace(/\{(\w+)\}/g, (_, name) => german(coded.values[name])));

// Returns the list entry of a finding: line, key, problem and remedy; in German if both have a code.
export function findingItem(finding, hintClass) {
  const isGerman = language() === "de" && finding.what && finding.remedy;
  const found = isGerman ? `${finding.key}: ${german(finding.what)}; ${german(finding.remedy)}` : finding.text;
  const place = finding.line === null ? "" : `${text("line", { line: finding.line })}: `;
  return element("li", { class: finding.severity === "error" ? "over" : hintClass, lang: isGerman ? "de" : "en" }, place + found);
}
