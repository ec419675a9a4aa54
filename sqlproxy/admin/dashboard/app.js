// Follows the proxy's stream of server-sent events and keeps the page up to date.

import {END, switchover, VERBS} from "./actions.js";
import * as charts from "./charts.js";
import {byId, count, element, forgetRates, rate, speed, Table, TONES, write} from "./page.js";
import {draw} from "./picture.js";

const MAX_EVENTS = 200, SILENCE = 10000;
const cards = new Map();
let started = null, heard = performance.now(), newest = null;

const FIGURES = [
  ["connections", (s) => count(s.connections)], ["reads/s", (s, flow) => speed(flow.reads)],
  ["writes/s", (s, flow) => speed(flow.writes)], ["at work", (s) => count(s.operations)],
  ["probe ms", (s) => count(s.latency_ms)], ["errors", (s) => count(s.errors)],
];

function card(name) {
  if (cards.has(name)) return cards.get(name);
  const item = element("li"), parts = {item, name: element("span", name), role: element("span", "", "role"),
    address: element("p", "", "address"), reason: element("p", "", "reason"), figures: [], verbs: []};
  const title = element("h3"), list = element("dl"), verbs = element("div", null, "verbs");
  title.append(parts.name, parts.role);
  for (const [label] of FIGURES) {
    const pair = element("div"), value = element("dd");
    pair.append(element("dt", label), value);
    list.append(pair);
    parts.figures.push(value);
  }
  for (const verb of VERBS) {
    const button = element("button", verb.title);
    button.type = "button";
    button.setAttribute("aria-label", `${verb.title}: ${name}`);
    button.addEventListener("click", () => verb.run(parts.server));
    verbs.append(button);
    parts.verbs.push(button);
  }
  item.append(title, parts.address, parts.reason, list, verbs);
  cards.set(name, parts);
  return parts;
}

function fill(parts, server, flow) {
  parts.server = server;
  parts.item.className = "card " + (TONES[server.role] || "none") + (server.primary ? " primary" : "");
  write(parts.role, (server.primary ? "★ " : "") + server.role + (server.state === "active" ? "" : " · " + server.state));
  write(parts.address, server.address + (server.zone ? " · zone " + server.zone : ""));
  write(parts.reason, server.reason);
  FIGURES.forEach(([, value], place) => write(parts.figures[place], value(server, flow)));
  VERBS.forEach((verb, place) => { parts.verbs[place].hidden = !verb.when(server); });
}

function showServers(servers, flows) {
  const names = new Set(servers.map((server) => server.name));
  for (const [name, parts] of cards) if (!names.has(name)) { parts.item.remove(); cards.delete(name); }
  for (const server of servers) {
    const parts = card(server.name);
    fill(parts, server, flows.get(server.name));
    if (!parts.item.isConnected) byId("servers").append(parts.item);
  }
}

const services = new Table(byId("services"), [
  ["service", (s) => s.name], ["listens at", (s) => s.listen.join(", ")], ["router", (s) => s.router],
  ["sessions", (s) => count(s.sessions), "number"],
  ["statements/s", (s) => speed(rate("s" + s.name, s.statements)), "number"],
  ["waiting", (s) => count(s.waiting), "number"],
  ["longest pause ms", (s) => count(s.longest_pause_ms), "number"],
  ["retried reads", (s) => count(s.reads_retried), "number"],
  ["replayed", (s) => count(s.transactions_replayed), "number"],
  ["outcomes unknown", (s) => count(s.outcomes_unknown), "number"],
], (s) => s.name, "no service runs");

const milliseconds = (value) => value >= 100 ? count(value) : value.toPrecision(3);

const digests = new Table(byId("digests"), [
  ["statement", (d) => d.statement + (d.understood ? "" : " (not understood: to the primary)"), "wide"],
  ["service", (d) => d.service], ["count", (d) => count(d.count), "number"], ["errors", (d) => count(d.errors), "number"],
  ["rows", (d) => count(d.rows), "number"], ["avg ms", (d) => milliseconds(d.avg_ms), "number"],
  ["p95 ms", (d) => milliseconds(d.p95_ms), "number"], ["max ms", (d) => milliseconds(d.max_ms), "number"],
  ["total s", (d) => count(d.total_ms / 1000), "number"],
], (d) => d.service + "/" + d.digest + "/" + d.statement, "no statement was counted");

const sessions = new Table(byId("sessions"), [
  ["id", (s) => s.id, "number"], ["user", (s) => s.user + "@" + s.host], ["service", (s) => s.service],
  ["database", (s) => s.database || ""], ["state", (s) => s.state + (s.in_transaction ? " in transaction" : "")],
  ["primary", (s) => s.primary || "–"], ["replica", (s) => s.replica || "–"],
  ["statements", (s) => count(s.statements), "number"], ["pinned by", (s) => (s.pins || []).join("; "), "wide"],
], (s) => s.id, "no client is connected", END);

function showEvents(fresh) {
  const list = byId("events");
  list.querySelector(".empty")?.remove();
  for (const event of fresh) {
    const tone = event.kind === "alarm" ? "bad" : event.kind === "primary" ? "good" : "none";
    const item = element("li", null, tone), when = new Date(event.time * 1000);
    const time = element("time", when.toLocaleTimeString());
    time.dateTime = when.toISOString();
    time.title = when.toLocaleString();
    item.append(time, element("span", event.kind, "kind"), element("span", event.text, "text"));
    list.prepend(item);
  }
  while (list.children.length > MAX_EVENTS) list.lastChild.remove();
  charts.mark(fresh);
}

function summary({servers, services: all, monitor}) {
  const primary = servers.find((server) => server.primary);
  const reads = servers.filter((server) => server.role === "replica" && server.state === "active").length;
  const clients = all.reduce((sum, service) => sum + service.sessions, 0);
  write(byId("summary"), monitor.topology + " · primary " + (primary ? primary.name : "none") + " · " + reads +
    " replica" + (reads === 1 ? "" : "s") + " · " + clients + " client" + (clients === 1 ? "" : "s") +
    " · version " + monitor.version);
  document.title = (primary ? primary.name : "no primary") + " – sqlproxy";
  const alarms = monitor.alarms.concat(monitor.stale ? ["the servers have not been judged recently"] : []);
  write(byId("problem"), alarms.join(" · "));
  return clients;
}

function show(state) {
  newest = state;
  const flows = new Map(state.servers.map((server) => [server.name,
    {reads: rate("r" + server.name, server.reads), writes: rate("w" + server.name, server.writes)}]));
  showServers(state.servers, flows);
  draw(byId("picture"), state.servers, flows, summary(state));
  services.update(state.services);
  sessions.update(state.sessions);
  digests.update(state.digests);
  if (state.sample.time) charts.add(state.sample, state.servers);
}

function begin(hello) {
  const who = hello.who.split(" from ")[0];
  write(byId("who"), who === "anonymous" ? "no login is set up: anybody on this machine may steer it" : "logged in as " + who);
  charts.begin(hello);
  // The events come again from the start with every stream; another process numbers its own.
  byId("events").replaceChildren(element("li", "nothing has changed yet", "empty"));
  if (hello.started_at !== started) forgetRates();
  started = hello.started_at;
}

function listen() {
  const stream = new EventSource("/v1/stream");
  const on = (kind, use) => stream.addEventListener(kind, (message) => { heard = performance.now(); use(JSON.parse(message.data)); });
  on("hello", begin);
  on("state", show);
  on("events", showEvents);
  stream.addEventListener("error", () => {
    write(byId("problem"), "the proxy does not answer; what is shown is the last it said");
    // A browser reconnects by itself after a lost connection, but gives up after an error response.
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, 3000);
  });
}

byId("switchover").addEventListener("click", switchover);
setInterval(() => {
  if (performance.now() - heard > SILENCE) write(byId("problem"), "the proxy has been silent for a while; what is shown is the last it said");
}, 2000);
new ResizeObserver(() => { if (newest) draw(byId("picture"), newest.servers, new Map(), newest.services.reduce((n, s) => n + s.sessions, 0)); })
  .observe(byId("picture"));
listen();
