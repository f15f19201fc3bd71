// Statements in German: reasons of limits, alarms, remedies and events, each by its code. {name} stands for a value
// of the statement, as in the English text, which the controller sends with it.

import { codedText } from "/assets/findings.js";
import { language } from "/assets/texts.js";

const DE = {
  "not-planned": "noch nicht geplant",
  "all-it-can-take": "mehr kann der Ladepunkt nicht",
  "all-its-car-takes": "mehr nimmt das Auto nicht",
  "car-takes-nothing": "das Auto nimmt zurzeit nichts",
  "car-probed": "das Auto nimmt nichts: ab und zu wird ihm Strom angeboten",
  "car-offered-leftover": "das Auto nimmt nichts: angeboten wird, was kein anderes braucht",
  "car-on-one-phase": "das Auto lädt vielleicht auf nur einer Phase",
  "no-car": "kein Auto",
  "no-car-no-fallback": "lädt kein Auto, und kein Platz für den Rückfallwert, den eines nähme",
  "unauthorized": "wartet auf Freigabe",
  "draw-not-reported": "die Station hat seit dem Start keinen Verbrauch gemeldet",
  "state-not-reported": "die Station hat ihren Zustand nicht gemeldet",
  "cannot-pause": "die Station kann nicht pausieren: sie behält ihr Minimum",
  "phase-full": "{circuit} L{phase} ist voll",
  "power-full": "{circuit} ist voll (Leistung)",
  "phase-leads": "{circuit} L{phase} liegt zu weit über L{other_phase}",
  "building-peak": "{circuit} L{phase}: das Gebäude bezog {current_a} um {time}",
  "quarter-hour-peak": "{circuit}: Viertelstundenspitze von {power_w}",
  "no-room": "kein Platz für das Minimum von {minimum_a}, {cause}: wartet",
  "below-minimum": "{cause}: {current_a}, weniger als das Minimum von {minimum_a}",
  "resting": "hat den Platz abgegeben, ruht mindestens {duration_s}",
  "stopped-often": "musste innerhalb von {duration_s} zweimal aufhören, ruht zur Schonung des Schützes",
  "rising": "steigt, sobald andere gesunken sind",
  "step-for-meter": "kurz gesenkt, um einen Zähler mit dem Auto zu vergleichen",
  "step-for-phases": "kurz gesenkt, um die Phasen des Autos zu finden",
  "export-used": "{circuit} speist nichts mehr ein",
  "surplus-gone": "lädt nur mit Überschuss, und der blieb aus: wartet mindestens {duration_s}",
  "backend-limit-a": "das Backend erlaubt {current_a}",
  "backend-limit-w": "das Backend erlaubt {power_w}",
  "site-limit": "das Backend begrenzt den Standort auf {current_a}",
  "calendar-limit": "Kalender „{name}“ begrenzt {circuit} auf {current_a}",
  "paused": "pausiert durch {name} bis {time}",
  "limited": "begrenzt auf {current_a} durch {name} bis {time}",
  "dimmed": "nach § 14a EnWG begrenzt durch {name} auf {power_w}",
  "dimmed-until": "nach § 14a EnWG begrenzt durch {name} auf {power_w} bis {time}",
  "dimmed-each": "nach § 14a EnWG begrenzt durch {name}",
  "dimmed-assumed": "begrenzt auf {power_w}, angenommen: die Quelle {name} ist ausgefallen",
  "under": "{context}: {cause}",
  "leaves": "fährt in {duration_s} ab, braucht im Mittel {current_a}",
  "less-energy": "hat weniger Energie erhalten als andere",
  "price-above": "wartet auf einen Preis von höchstens {price}",
  "cheaper-quarter": "wartet auf eine günstigere Viertelstunde vor der Abfahrt",
  "shows-phases": "zeigt, welche Phasen das Auto nutzt, bevor es auf eine günstigere Viertelstunde wartet",
  "quota-used": "Gruppe „{name}“ hat ihre {energy_wh} des Tages verbraucht",
  "offline": "nicht verbunden",
  "registration-pending": "verbunden, noch nicht angemeldet",
  "limits-refused": "lehnt Grenzen ab ({detail})",
  "limits-unconfirmed": "hat die Grenzen nicht bestätigt",
  "kept-free": "{cause}: {current_a} bleiben dafür frei",
  "disobeys": "bezieht {drawn_a}, obwohl nur {current_a} erlaubt sind",
  "meter-not-good": "Zähler {name} ist {quality}",
  "meter-suspected": "Zähler {name} ist unter Verdacht: {cause}",
  "meter-without-phases": "Zähler {name} zeigt den Strom der Phasen nicht",
  "at-fallback": "{cause}: bleibt auf dem Rückfallwert",
  "shows-meter": "{cause}: das Auto bekommt sein Minimum, um zu zeigen, ob das behoben ist",
  "meter-none": "{detail}",
  "meter-not-read": "{detail}",
  "meter-unreachable": "{detail}",
  "meter-connection-closed": "{detail}",
  "meter-tls": "{detail}",
  "meter-role": "{detail}",
  "meter-no-answer": "{detail}",
  "meter-corrupt-answer": "{detail}",
  "meter-wrong-answer": "{detail}",
  "meter-refused": "{detail}",
  "meter-busy": "{detail}",
  "meter-gateway": "{detail}",
  "meter-wrong-device": "{detail}",
  "meter-ambiguous": "{detail}",
  "meter-missing-value": "{detail}",
  "meter-impossible-value": "{detail}",
  "meter-frozen": "{detail}",
  "meter-source": "{detail}",
  "meter-not-reported": "{detail}",
  "on-one-phase": "auf einer Phase: {cause}",
  "to-one-phase": "pausiert, um danach auf einer Phase zu laden",
  "to-all-phases": "pausiert, um danach auf allen Phasen zu laden",
  "control-stalled": "die Regelung steht seit {duration_s} still",
  "configuration-invalid": "die Konfigurationsdatei hat Fehler; die letzte gültige wird verwendet",
  "store-not-writable": "der Speicher kann nicht beschrieben werden ({detail})",
  "store-damaged": "eine Datei des Speichers war beschädigt und ist jetzt {name}",
  "clock-unverified": "die Uhr des Gateways ist nicht geprüft ({detail})",
  "signing-waits": "signierte Nachrichten, die bis {time} entstehen, werden abgelehnt: die Uhr wurde zurückgestellt, oder der Speicher der empfangenen ging verloren",
  "signing-waits-for-clock": "signierte Nachrichten werden abgelehnt, bis die Uhr synchronisiert ist: der Speicher der empfangenen ging verloren",
  "disk-low": "auf dem Datenträger des Speichers sind {count} MB frei",
  "meter-lost": "der Zähler von {circuit} ist {quality}: {cause}",
  "meter-incomplete": "der Zähler von {circuit} zeigt nicht alles: {cause}",
  "circuit-over-limit": "{circuit} liegt seit {duration_s} über seiner Grenze",
  "circuit-not-protected": "{circuit} kann {current_a} über seine Grenze kommen: {name} haben keine Grenze angenommen",
  "station-clock-differs": "die Uhr der Ladestation {name} weicht um {offset_s} ab",
  "backend-clock-differs": "die Uhr des Backends {name} weicht um {offset_s} ab",
  "station-away": "Ladestation {name} ist nicht verbunden; Strom bleibt für sie frei",
  "evse-faulted": "Ladepunkt {name} meldet eine Störung",
  "limit-not-followed": "Ladepunkt {name} hat die letzte niedrigere Grenze nicht befolgt",
  "evse-at-fallback": "Ladepunkt {name} darf nur seinen Rückfallwert beziehen: die Station {cause}",
  "removed-evse-booked": "Ladepunkt {name} ist nicht mehr in der Konfiguration und kann noch Strom ziehen: {current_a} bleiben dafür belegt",
  "evse-not-configured": "Ladepunkt {name} fehlt in der Konfiguration, und dort kann ein Auto sein: er {cause}; {current_a} bleiben dafür frei",
  "it-is-at-station-fallback": "ist auf den Rückfallwert der Station begrenzt",
  "it-takes-no-limit": "nimmt keine Grenze an",
  "it-shares-station-limit": "bezieht unter der Grenze der Station",
  "backend-away": "Backend {name} ist nicht verbunden",
  "backend-silent": "Backend {name} ist verbunden, lässt aber Nachrichten ohne Antwort, zuletzt {command}",
  "outbox-old": "{count} Nachrichten warten auf {name}, die älteste seit {duration_s}",
  "messages-set-aside": "{name} lehnt {count} Nachrichten ab; sie sind zurückgestellt",
  "dimming-source-lost": "eine Begrenzung wird angenommen, nicht vom Netzbetreiber angeordnet ({detail})",
  "certificate-expired": "{name} ist abgelaufen",
  "certificate-ends": "{name} endet in {count} Tagen",
  "certificate-ends-soon": "{name} endet in {duration_s}",
  "restart-controller": "Stationen gehen von selbst auf ihren Rückfallwert; Controller neu starten und sein Protokoll aufbewahren",
  "correct-configuration": "Datei berichtigen: local-controller check zeigt die Fehler",
  "make-room-on-disk": "Platz auf dem Datenträger schaffen und Rechte prüfen; Vorgänge warten so lange in den Stationen",
  "free-disk-space": "löschen, was nicht gebraucht wird, z. B. journalctl --vacuum-size=200M, bevor der Speicher nicht mehr beschrieben werden kann",
  "restore-backup": "Sicherung einspielen, falls vorhanden; nach abgenutzter Speicherkarte oder Stromausfall suchen",
  "reach-time-server": "chrony oder systemd-timesyncd einen Zeitserver erreichen lassen",
  "resume-signing": "zuerst die Uhr richtig stellen (NTP); danach nimmt local-controller policy resume sie nach einem Zeitfenster wieder an",
  "check-meter": "Versorgung, Leitung und Adresse prüfen: local-controller meter read",
  "check-meter-wiring": "Stromwandler, Phasen und Modell prüfen: local-controller meter read",
  "reduce-other-loads": "andere Lasten verringern; wiederholt es sich, margin_a erhöhen",
  "enable-smart-charging": "Lademanagement in diesen Stationen einschalten oder ihre Firmware erneuern; bis dahin den Nennstrom ihrer Ladepunkte so einstellen, dass der Stromkreis ihn trägt",
  "set-station-clock": "Uhr der Station stellen",
  "check-time-server": "Zeitserver des Gateways prüfen",
  "check-station-link": "Versorgung, Netzwerk und Backend-URL der Station prüfen",
  "see-station-log": "Anzeige oder Protokoll der Station ansehen; ein Neustart kann helfen",
  "check-smart-charging": "Firmware der Station prüfen, und ob Lademanagement in ihr eingeschaltet ist",
  "disconnect-station": "Station von ihrem Stromkreis trennen; ihr Strom wird frei, sobald sie eine halbe Stunde lang nicht mehr versucht hat, sich zu verbinden",
  "add-evse": "bei der Station eintragen, wie er angeschlossen ist: {detail}",
  "check-backend-link": "Internetverbindung des Gateways, URL und Zugangsdaten des Backends prüfen",
  "check-clock-then-link": "zuerst die Uhr des Gateways richtig stellen (NTP): nach ihr wird das Zertifikat des Backends geprüft; dann Internetverbindung, URL und Zugangsdaten prüfen",
  "ask-backend": "den Betreiber des Backends fragen; das Protokoll nennt jede Nachricht: call not answered",
  "bring-backend-back": "nichts geht verloren; Verbindung zum Backend wiederherstellen",
  "decide-messages": "über jede entscheiden: local-controller outbox list",
  "check-control-box": "Kontaktmodul, Steuerbox und ihre Leitungen prüfen",
  "nothing-to-do": "nichts zu tun: endet von selbst",
  "renew-certificate": "erneuern; neuere Dateien gelten ohne Neustart",
  "ended": "beendet: {cause}",
  "not-done": "nicht ausgeführt: {cause} ({detail})",
  "order-pause": "{name} für {duration_s} pausiert",
  "order-resume": "{name}: Eingriff beendet",
  "order-limit": "{name} für {duration_s} auf {current_a} begrenzt",
  "order-prioritize": "{name} für {duration_s} mit Priorität {count} vorgezogen",
  "order-boost": "{name} lädt {duration_s} lang sofort",
  "order-departure": "{name}: {energy_wh} werden innerhalb von {duration_s} gebraucht",
  "order-departures": "Abfahrten von einem Programm gesetzt: {count}",
  "order-prices": "Energiepreise von einem Programm gesetzt: {count}",
  "order-start": "{name}: Laden gestartet",
  "order-stop": "{name}: Laden beendet",
  "order-reset-soft": "Ladestation {name} neu gestartet (sanft)",
  "order-reset-hard": "Ladestation {name} neu gestartet (hart)",
  "order-reconnect": "Ladestation {name} getrennt, damit sie sich neu verbindet",
  "order-adopt": "Ladestation {name} in Stromkreis {circuit} mit höchstens {current_a} übernommen",
  "order-dismiss": "Ladestation {name} aus der Liste unbekannter Stationen entfernt",
  "order-reload": "Konfigurationsdatei neu gelesen",
  "order-write": "Konfigurationsdatei geändert",
  "order-rollback": "frühere Fassung {name} der Konfigurationsdatei wieder geschrieben",
  "order-resume-signing": "signierte Nachrichten nach einem Zeitfenster wieder angenommen",
  "order-retry": "Nachricht {count} von {name} noch einmal an {detail} gesendet",
  "order-drop": "Nachricht {count} von {name} für {detail} verworfen",
  "order-pair": "EEBUS-Partner {name} vertraut",
  "order-unpair": "EEBUS-Partner {name} nicht mehr vertraut",
  "order-register": "der nächste EEBUS-Partner wird innerhalb von {duration_s} angenommen",
  "order-register-none": "kein weiterer EEBUS-Partner wird angenommen",
  "order-suspend": "EEBUS-Grenzen abgelehnt: {detail}",
  "order-resume-limits": "EEBUS-Grenzen wieder befolgt",
  "order-user": "Benutzer {name} mit der Rolle {detail} angelegt oder geändert",
  "order-remove-user": "Benutzer {name} entfernt",
  "order-password": "Passwort von Benutzer {name} geändert",
  "order-token": "Token {name} für {detail} angelegt",
  "order-revoke-token": "Token {name} widerrufen",
};

const DE_VALUES = {
  good: "gut", stale: "veraltet", dead: "ausgefallen", implausible: "unplausibel",
};

const number = (value, digits = 2) => value.toLocaleString("de", { maximumFractionDigits: digits });

function duration(seconds) {
  if (seconds < 600) return `${number(seconds, 0)}\u00a0s`;
  const minutes = Math.round(seconds / 60), hours = Math.floor(minutes / 60);
  return [hours ? `${hours}\u00a0h` : "", minutes % 60 ? `${minutes % 60}\u00a0min` : ""].filter(Boolean).join(" ");
}

// How a value is shown: by its name, else by the unit that its name ends with.
const UNITS = {
  a: (value) => `${number(value, 1)}\u00a0A`,
  w: (value) => `${number(value / 1000)}\u00a0kW`,
  wh: (value) => `${number(value / 1000)}\u00a0kWh`,
  s: duration,
  offset_s: (value) => `${value > 0 ? "+" : ""}${number(value, 0)}\u00a0s`,
};

function valueText(name, value) {
  if (name === "detail") return codedText(value, value);
  if (value !== null && typeof value === "object") return german(value);
  if (name === "quality") return DE_VALUES[value] ?? value;
  if (typeof value === "string") return value;
  const render = UNITS[name] ?? UNITS[name.split("_").pop()];
  return render ? render(value) : number(value);
}

// Values that are empty or 0 are not sent.
const EMPTY = { detail: "", count: "0" };

const german = (statement) => DE[statement.code].replace(/\{(\w+)\}/g, (_, name) => (name in statement ? valueText(name, statement[`${name}_parts`] ?? statement[name]) : EMPTY[name] ?? "–"));

// Returns a statement in the chosen language; `english` is the text that was sent with it.
export function statementText(statement, english) {
  return language() === "de" && statement && statement.code in DE ? german(statement) : english;
}

// Returns the language of that text, for screen readers.
export const statementLanguage = (statement) => (language() === "de" && statement && statement.code in DE ? "de" : "en");

export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);
