// Texts of the page in English and German. {name} stands for a value.

const EN = {
  skip: "Skip to content", language: "Language", login: "Log in", logout: "Log out", views: "Views",
  overview: "Overview", circuits: "Circuits", stations: "Stations", backends: "Backends", meters: "Meters",
  sessions: "Sessions", dimming: "Dimming", history: "History", events: "Events", settings: "Settings",
  connecting: "Connecting to the controller …", lost: "No connection to the controller since {time}. The values are old.",
  fine: "Site fine", fineText: "All circuits are within their limits, and everything that is needed answers.",
  alarmCount: "{count} more", since: "since {time}", remedy: "Remedy: {text}",
  name: "Name", password: "Password", loginTitle: "Log in to see and operate the site",
  noUsers: "There is no user yet. On the gateway: local-controller user add NAME",
  loginFailed: "Not logged in: {text}", openStatus: "Without a login you see the state of the site and nothing personal.",
  connection: "Grid connection", drawing: "What draws", building: "Building", evses: "EVSEs", alarms: "Alarms", noAlarms: "No alarms.",
  phase: "Phase", limit: "Limit", measured: "Measured", baseLoad: "Base load", booked: "EVSEs at most", margin: "Margin",
  meter: "Meter", noMeter: "no meter: possible current", assumed: "assumed", of: "{value} of {limit} A",
  parent: "fed by {name}", overloads: "{count} overloads longer than 10 s",
  search: "Search", filter: "Show", all: "all", chargingNow: "Charging now", charging: "charging", away: "away", faulted: "with a fault", paused: "with an order",
  shown: "{shown} of {count} EVSEs", state: "State", offered: "Offered", drawn: "Drawn L1/L2/L3", why: "Reason", station: "Station", evse: "EVSE",
  circuit: "Circuit", onePhase: "one phase", energy: "Energy", card: "Card", running: "running",
  model: "Model", firmware: "Firmware", quirk: "Handled as", link: "Connection", owner: "Backend", observers: "Observers", ownSite: "the controller itself",
  connected: "connected", action: "Action", order: "Order", orderUntil: "{kind} until {time} by {by}", none: "none",
  pause: "Pause", resume: "Resume", boost: "Boost", prioritize: "Prioritize", limitAction: "Limit", start: "Start", stop: "Stop", reset: "Reset", reconnect: "Reconnect",
  "kind.pause": "paused", "kind.limit": "limited to {value} A", "kind.priority": "priority {value}", "kind.boost": "boosted",
  duration: "Duration", hours: "{count} h", minutes: "{count} min", days: "{count} days", cancel: "Cancel", do: "Do it", save: "Save", close: "Close",
  amps: "Current (A per phase)", priority: "Priority", idToken: "Card number", resetMode: "How", soft: "soft: running transactions end in order", hard: "hard: at once",
  confirm: "{action}: {subject}?", done: "Done: {action}", notDone: "Not done: {text}",
  knocks: "Unknown stations that tried to connect", knockText: "Adopt a station only if you know it: id and address must be those of a charger of yours.",
  adopt: "Adopt", firstSeen: "First seen", lastSeen: "Last seen", address: "Address", tries: "Tries", phases: "Phases", maxAmps: "Most current (A)",
  links: "Connections", waiting: "Waiting", oldest: "Oldest", setAside: "Set aside", dropped: "Dropped", nothing: "nothing",
  setAsideText: "Messages set aside are listed by: local-controller outbox list",
  quality: "Quality", age: "Age", current: "Current", power: "Power", voltage: "Voltage", energyIn: "Energy imported", problem: "Problem", device: "Device",
  month: "Month", download: "Download as CSV", started: "Started", ended: "Ended", reason: "End", noSessions: "No sessions in this month.", total: "{count} sessions, {energy} kWh",
  dimmedNow: "Limited now", notDimmed: "Not limited", dimmingAssumed: "Assumed, not ordered", devices: "Controllable devices", minimum: "Minimum left by law", drawnW: "They draw", gridW: "Grid connection",
  spans: "Last limits", until: "until", goesOn: "goes on", sources: "Sources", commands: "Commands accepted / rejected", evidence: "Evidence records", noDimming: "No limit source is configured ([dimming]).",
  evidenceText: "Export and verify on the gateway: local-controller evidence export, local-controller evidence verify",
  eebus: "EEBUS", pair: "Trust", unpair: "Remove", register: "Trust the first that connects within 2 minutes", partner: "Partner", trusted: "trusted", waits: "waits to be trusted",
  day: "Day", week: "Week", monthSpan: "Month", power_: "Power of {name}", chargingCount: "EVSEs that charge", dimmedCount: "Limited by the grid operator", quarterPeak: "Highest quarter hour: {value} at {time}", noHistory: "Nothing is recorded yet.", values: "Values as a table", time: "Time", low: "Lowest", mean: "Mean", high: "Highest",
  noEvents: "No events yet.", actor: "Who", event: "Event",
  account: "Your account", ownPassword: "Change your password", oldPassword: "Present password", newPassword: "New password (10 characters or more)",
  users: "Users", role: "Role", addUser: "Add or change a user", generated: "Password, shown this once:", remove: "Remove",
  tokens: "Bearer tokens of programs", scopes: "Scopes", expires: "Ends", addToken: "Add a token", secret: "Secret, shown this once:", daysValid: "Days valid (empty: no end)",
  configuration: "Configuration file", check: "Check", differences: "Differences", write: "Write and reload", versions: "Earlier versions", rollBack: "Write this version again", noFindings: "No errors.", line: "line {line}", version: "Version", noDifferences: "No differences.", reload: "Read the file again",
  updated: "updated {time}", clock: "Clock {state}", storeFails: "The store cannot be written: {error}",
  "evse.available": "free", "evse.preparing": "car connected", "evse.charging": "charging", "evse.suspended-ev": "car pauses", "evse.suspended-evse": "paused", "evse.finishing": "finished", "evse.reserved": "reserved", "evse.unavailable": "out of service", "evse.faulted": "fault", "evse.unknown": "unknown",
  "quality.good": "good", "quality.stale": "stale", "quality.dead": "dead", "quality.implausible": "implausible",
};

const DE = {
  skip: "Zum Inhalt", language: "Sprache", login: "Anmelden", logout: "Abmelden", views: "Ansichten",
  overview: "Übersicht", circuits: "Stromkreise", stations: "Ladestationen", backends: "Backends", meters: "Zähler",
  sessions: "Ladevorgänge", dimming: "Steuerung § 14a", history: "Verlauf", events: "Ereignisse", settings: "Einstellungen",
  connecting: "Verbindung zum Controller wird aufgebaut …", lost: "Keine Verbindung zum Controller seit {time}. Die Werte sind alt.",
  fine: "Standort in Ordnung", fineText: "Alle Stromkreise liegen unter ihren Grenzen, und alles Nötige antwortet.",
  alarmCount: "{count} weitere", since: "seit {time}", remedy: "Abhilfe: {text}",
  name: "Name", password: "Passwort", loginTitle: "Anmelden, um den Standort zu sehen und zu bedienen",
  noUsers: "Es gibt noch keinen Benutzer. Auf dem Gateway: local-controller user add NAME",
  loginFailed: "Nicht angemeldet: {text}", openStatus: "Ohne Anmeldung ist der Zustand des Standorts zu sehen, aber nichts Persönliches.",
  connection: "Netzanschluss", drawing: "Verbrauch", building: "Gebäude", evses: "Ladepunkte", alarms: "Alarme", noAlarms: "Keine Alarme.",
  phase: "Phase", limit: "Grenze", measured: "Gemessen", baseLoad: "Grundlast", booked: "Ladepunkte höchstens", margin: "Reserve",
  meter: "Zähler", noMeter: "kein Zähler: möglicher Strom", assumed: "angenommen", of: "{value} von {limit} A",
  parent: "versorgt aus {name}", overloads: "{count} Überlastungen länger als 10 s",
  search: "Suche", filter: "Anzeigen", all: "alle", chargingNow: "Laden zurzeit", charging: "ladend", away: "nicht verbunden", faulted: "gestört", paused: "mit Eingriff",
  shown: "{shown} von {count} Ladepunkten", state: "Zustand", offered: "Angeboten", drawn: "Bezug L1/L2/L3", why: "Grund", station: "Ladestation", evse: "Ladepunkt",
  circuit: "Stromkreis", onePhase: "einphasig", energy: "Energie", card: "Karte", running: "läuft",
  model: "Modell", firmware: "Firmware", quirk: "Behandelt als", link: "Verbindung", owner: "Backend", observers: "Beobachter", ownSite: "der Controller selbst",
  connected: "verbunden", action: "Aktion", order: "Eingriff", orderUntil: "{kind} bis {time} durch {by}", none: "keine",
  pause: "Pausieren", resume: "Fortsetzen", boost: "Sofort laden", prioritize: "Vorziehen", limitAction: "Begrenzen", start: "Starten", stop: "Beenden", reset: "Neustart", reconnect: "Neu verbinden",
  "kind.pause": "pausiert", "kind.limit": "begrenzt auf {value} A", "kind.priority": "Priorität {value}", "kind.boost": "Sofortladen",
  duration: "Dauer", hours: "{count} h", minutes: "{count} min", days: "{count} Tage", cancel: "Abbrechen", do: "Ausführen", save: "Speichern", close: "Schließen",
  amps: "Strom (A je Phase)", priority: "Priorität", idToken: "Kartennummer", resetMode: "Art", soft: "sanft: laufende Vorgänge enden geordnet", hard: "hart: sofort",
  confirm: "{action}: {subject}?", done: "Erledigt: {action}", notDone: "Nicht ausgeführt: {text}",
  knocks: "Unbekannte Stationen mit Verbindungsversuch", knockText: "Nur übernehmen, was bekannt ist: Kennung und Adresse müssen zu einer eigenen Ladestation gehören.",
  adopt: "Übernehmen", firstSeen: "Zuerst", lastSeen: "Zuletzt", address: "Adresse", tries: "Versuche", phases: "Phasen", maxAmps: "Höchster Strom (A)",
  links: "Verbindungen", waiting: "Wartend", oldest: "Älteste", setAside: "Zurückgestellt", dropped: "Verworfen", nothing: "nichts",
  setAsideText: "Zurückgestellte Nachrichten zeigt: local-controller outbox list",
  quality: "Qualität", age: "Alter", current: "Strom", power: "Leistung", voltage: "Spannung", energyIn: "Energiebezug", problem: "Störung", device: "Gerät",
  month: "Monat", download: "Als CSV herunterladen", started: "Beginn", ended: "Ende", reason: "Endegrund", noSessions: "Keine Ladevorgänge in diesem Monat.", total: "{count} Ladevorgänge, {energy} kWh",
  dimmedNow: "Zurzeit begrenzt", notDimmed: "Nicht begrenzt", dimmingAssumed: "Angenommen, nicht angeordnet", devices: "Steuerbare Verbrauchseinrichtungen", minimum: "Gesetzliche Mindestleistung", drawnW: "Ihr Bezug", gridW: "Netzanschluss",
  spans: "Letzte Begrenzungen", until: "bis", goesOn: "dauert an", sources: "Quellen", commands: "Befehle angenommen / abgelehnt", evidence: "Nachweise", noDimming: "Keine Quelle von Begrenzungen eingerichtet ([dimming]).",
  evidenceText: "Ausgeben und prüfen auf dem Gateway: local-controller evidence export, local-controller evidence verify",
  eebus: "EEBUS", pair: "Vertrauen", unpair: "Entfernen", register: "Dem Ersten vertrauen, der sich in 2 Minuten verbindet", partner: "Partner", trusted: "vertraut", waits: "wartet auf Vertrauen",
  day: "Tag", week: "Woche", monthSpan: "Monat", power_: "Leistung von {name}", chargingCount: "Ladende Ladepunkte", dimmedCount: "Begrenzt durch den Netzbetreiber", quarterPeak: "Höchste Viertelstunde: {value} um {time}", noHistory: "Noch nichts aufgezeichnet.", values: "Werte als Tabelle", time: "Zeit", low: "Kleinster", mean: "Mittel", high: "Größter",
  noEvents: "Noch keine Ereignisse.", actor: "Wer", event: "Ereignis",
  account: "Ihr Konto", ownPassword: "Passwort ändern", oldPassword: "Bisheriges Passwort", newPassword: "Neues Passwort (mindestens 10 Zeichen)",
  users: "Benutzer", role: "Rolle", addUser: "Benutzer anlegen oder ändern", generated: "Passwort, nur dieses Mal gezeigt:", remove: "Entfernen",
  tokens: "Zugangstoken für Programme", scopes: "Rechte", expires: "Endet", addToken: "Token anlegen", secret: "Geheimnis, nur dieses Mal gezeigt:", daysValid: "Gültig für Tage (leer: ohne Ende)",
  configuration: "Konfigurationsdatei", check: "Prüfen", differences: "Unterschiede", write: "Schreiben und neu laden", versions: "Frühere Fassungen", rollBack: "Diese Fassung wieder schreiben", noFindings: "Keine Fehler.", line: "Zeile {line}", version: "Fassung", noDifferences: "Keine Unterschiede.", reload: "Datei neu lesen",
  updated: "Stand {time}", clock: "Uhr {state}", storeFails: "Der Speicher kann nicht beschrieben werden: {error}",
  "evse.available": "frei", "evse.preparing": "Auto verbunden", "evse.charging": "lädt", "evse.suspended-ev": "Auto pausiert", "evse.suspended-evse": "pausiert", "evse.finishing": "beendet", "evse.reserved": "reserviert", "evse.unavailable": "außer Betrieb", "evse.faulted": "gestört", "evse.unknown": "unbekannt",
  "quality.good": "gut", "quality.stale": "veraltet", "quality.dead": "ausgefallen", "quality.implausible": "unplausibel",
  "alarm.control-stalled": "Die Regelung steht still", "alarm.configuration-invalid": "Die Konfigurationsdatei hat Fehler; die letzte gültige wird verwendet",
  "alarm.store-not-writable": "Der Speicher kann nicht beschrieben werden", "alarm.store-damaged": "Eine Datei des Speichers war beschädigt: {subject}",
  "alarm.clock-unverified": "Die Uhr des Gateways ist nicht geprüft", "alarm.meter-lost": "Der Zähler von {subject} liefert keine guten Werte",
  "alarm.circuit-over-limit": "{subject} liegt über seiner Grenze", "alarm.station-away": "Ladestation {subject} ist nicht verbunden; Strom wird für sie freigehalten",
  "alarm.evse-faulted": "Ladepunkt {subject} meldet eine Störung", "alarm.limit-not-followed": "Ladepunkt {subject} hat die letzte niedrigere Grenze nicht befolgt",
  "alarm.backend-away": "Backend {subject} ist nicht verbunden", "alarm.outbox-old": "Nachrichten warten lange auf {subject}",
  "alarm.messages-set-aside": "{subject} lehnt Nachrichten ab; sie sind zurückgestellt", "alarm.dimming-source-lost": "Eine Begrenzung wird angenommen, nicht vom Netzbetreiber angeordnet: die Quelle {subject} ist ausgefallen",
  "alarm.dimming-active": "Der Netzbetreiber begrenzt die Ladepunkte ({subject})", "alarm.certificate-ends": "{subject} läuft ab oder ist abgelaufen",
  "remedy.control-stalled": "Stationen gehen von selbst auf ihren Rückfallwert; Controller neu starten und sein Protokoll aufbewahren",
  "remedy.configuration-invalid": "Datei berichtigen: local-controller check zeigt die Fehler", "remedy.store-not-writable": "Platz auf der Platte schaffen und Rechte prüfen; Vorgänge warten so lange in den Stationen",
  "remedy.store-damaged": "Sicherung einspielen, falls vorhanden; nach abgenutzter Karte oder Stromausfall suchen", "remedy.clock-unverified": "chrony oder systemd-timesyncd einen Zeitserver erreichen lassen",
  "remedy.meter-lost": "Versorgung, Leitung und Adresse prüfen: local-controller meter read", "remedy.circuit-over-limit": "Andere Lasten verringern; wiederholt es sich, margin_a erhöhen",
  "remedy.station-away": "Versorgung, Netzwerk und Backend-URL der Station prüfen", "remedy.evse-faulted": "Anzeige oder Protokoll der Station ansehen; ein Neustart kann helfen",
  "remedy.limit-not-followed": "Firmware der Station prüfen, und ob Lademanagement in ihr eingeschaltet ist", "remedy.backend-away": "Internetverbindung des Gateways, URL und Zugangsdaten des Backends prüfen",
  "remedy.outbox-old": "Nichts geht verloren; Verbindung zum Backend wiederherstellen", "remedy.messages-set-aside": "Über jede entscheiden: local-controller outbox list",
  "remedy.dimming-source-lost": "Kontaktmodul, Steuerbox und ihre Leitungen prüfen", "remedy.dimming-active": "Nichts zu tun: endet von selbst", "remedy.certificate-ends": "Erneuern; neuere Dateien gelten ohne Neustart",
};

const LANGUAGES = { en: EN, de: DE };
let chosen = "en";

export function chooseLanguage(name) {
  chosen = name in LANGUAGES ? name : "en";
  document.documentElement.lang = chosen;
}

export const language = () => chosen;
export const hasText = (key) => key in LANGUAGES[chosen];

// Returns the text of a key in the chosen language, with values in place of {name}.
export function text(key, values = {}) {
  const found = LANGUAGES[chosen][key] ?? EN[key] ?? key;
  return found.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}
