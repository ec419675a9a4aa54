// The topology as a picture: the proxy on the left, its servers on the right, what flows between them.

import {count, TONES} from "./page.js";

const SVG = "http://www.w3.org/2000/svg", ROW = 66, GAP = 14, PROXY = 92;
const SIGNS = {primary: "★", replica: "●", joining: "◔", donor: "◑", desynced: "◒", suspect: "…",
  "non-primary": "⊘", down: "✕", unknown: "?"};

function shape(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

const short = (text, most) => text.length > most ? text.slice(0, most - 1) + "…" : text;

// Servers that see each other are one component: same group state and same view of its members.
function components(servers) {
  const known = new Map();
  for (const {figures} of servers) {
    if (!figures.cluster_conf_id || !figures.cluster_state_uuid) continue;
    const key = figures.cluster_state_uuid + "/" + figures.cluster_conf_id;
    if (!known.has(key)) known.set(key, {colour: known.size % 4, members: 0, size: figures.cluster_size,
      status: figures.cluster_status});
    known.get(key).members += 1;
  }
  return (server) => known.get(server.figures.cluster_state_uuid + "/" + server.figures.cluster_conf_id);
}

const alive = (server) => !["down", "unknown", "non-primary"].includes(server.role);

function edge(server, from, to, flow) {
  const tone = TONES[server.role] || "none", total = flow.reads + flow.writes;
  const kind = !alive(server) || server.state !== "active" ? " cut" : total < 0.05 ? " idle" : "";
  const middle = (from.x + to.x) / 2;
  return shape("path", {class: "edge " + tone + kind, "stroke-width": Math.min(8, 1.5 + Math.log10(1 + total) * 1.6),
    d: `M${from.x},${from.y} C${middle},${from.y} ${middle},${to.y} ${to.x},${to.y}`});
}

function flowText(flow) {
  const parts = [];
  if (flow.writes >= 0.05) parts.push(count(flow.writes) + " writes/s");
  if (flow.reads >= 0.05) parts.push(count(flow.reads) + " reads/s");
  return parts.join(" · ");
}

function box(server, x, y, width, component) {
  const tone = TONES[server.role] || "none", most = Math.floor((width - 30) / 6.3);
  const group = shape("g", {class: tone});
  group.append(shape("rect", {class: "node" + (server.primary ? " first" : ""), x, y, width, height: ROW, rx: 8}));
  const words = server.role + (server.state === "active" ? "" : " · " + server.state);
  const title = shape("text", {x: x + 12, y: y + 23, "font-weight": 700}, server.name);
  const role = shape("text", {class: "role", x: x + width - 16, y: y + 23, "text-anchor": "end"},
    (SIGNS[server.role] || "?") + " " + words);
  const reason = shape("text", {class: "soft", x: x + 12, y: y + 41}, short(server.reason, most));
  const seen = component ? `sees ${component.size} node${component.size === "1" ? "" : "s"}, ${component.status}` : "";
  const place = shape("text", {class: "soft", x: x + 12, y: y + 57}, short([server.address, seen].filter(Boolean).join(" · "), most));
  group.append(title, role, reason, place, shape("title", {}, `${server.name}: ${words}; ${server.reason}`));
  if (component) {
    group.append(shape("rect", {class: "c" + component.colour, x: x + width - 7, y: y + 32, width: 4, height: ROW - 40, rx: 2}));
  }
  return group;
}

// servers: rows of /v1/servers; flows: name to {reads, writes} per second; clients: sessions now.
export function draw(target, servers, flows, clients) {
  const width = Math.max(330, Math.min(1100, target.clientWidth - 18)), height = servers.length * (ROW + GAP) - GAP + 8;
  const start = width < 560 ? PROXY + 56 : Math.round(width * 0.45), middle = height / 2;
  const svg = shape("svg", {viewBox: `0 0 ${width} ${height}`, role: "img"});
  const component = components(servers);
  svg.append(shape("title", {}, servers.map((s) => `${s.name} is ${s.role}: ${s.reason}`).join("; ")));
  const boxes = [], labels = [];
  servers.forEach((server, place) => {
    const y = 4 + place * (ROW + GAP), flow = flows.get(server.name) || {reads: 0, writes: 0};
    svg.append(edge(server, {x: PROXY, y: middle}, {x: start, y: y + ROW / 2}, flow));
    boxes.push(box(server, start, y, width - start - 4, component(server)));
    if (width >= 560) labels.push(shape("text", {class: "label", x: start - 12, y: y + ROW / 2 - 8, "text-anchor": "end"}, flowText(flow)));
  });
  svg.append(shape("rect", {class: "node read", x: 2, y: middle - 32, width: PROXY - 2, height: 64, rx: 8}),
    shape("text", {x: PROXY / 2, y: middle - 4, "text-anchor": "middle", "font-weight": 700}, "sqlproxy"),
    shape("text", {class: "soft", x: PROXY / 2, y: middle + 16, "text-anchor": "middle"},
      count(clients) + " client" + (clients === 1 ? "" : "s")), ...boxes, ...labels);
  target.replaceChildren(svg);
}
