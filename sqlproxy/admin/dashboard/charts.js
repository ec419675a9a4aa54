// Plots of the last minutes, one line per server, drawn by uPlot; dashed uprights are changes of the primary.

import {byId, count, element, write} from "./page.js";

const HEIGHT = 150, KEPT = 300, DASHES = [[], [6, 3], [2, 3], [10, 3, 2, 3]];
let names = [], fields = [], samples = [], marks = [], charts = [];

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const place = (field) => fields.indexOf(field);
const at = (sample, name, field) => { const row = sample.servers[name]; return row ? row[place(field)] : null; };

// A gauge as sampled; a counter as its increase per second (null over a restart or a gap).
const gauge = (field) => (name, now) => at(now, name, field);
const perSecond = (list, scale = 1) => (name, now, last) => {
  if (!last) return null;
  let sum = 0;
  for (const field of list) {
    const to = at(now, name, field), from = at(last, name, field);
    if (to === null || from === null || to < from) return null;
    sum += to - from;
  }
  return sum * scale / (now.time - last.time);
};

const KINDS = [
  ["Statements per second", perSecond(["reads", "writes"]), count],
  ["Statements at work", gauge("operations"), count],
  ["Connections", gauge("connections"), count],
  ["Answer to a probe, ms", gauge("latency_ms"), count],
  ["Receive queue, write sets", gauge("receive_queue"), count],
  ["Replication lag, s", gauge("lag"), count],
  ["Paused by flow control, %", perSecond(["paused_ns"], 1e-7), count],
  ["Errors per second", perSecond(["errors"]), count],
];

function columns(value) {
  const times = samples.map((sample) => sample.time);
  return [times, ...names.map((name) => samples.map((now, i) => value(name, now, samples[i - 1])))];
}

function markChanges(plot) {
  const {ctx, bbox} = plot;
  ctx.save();
  ctx.strokeStyle = css("--busy");
  ctx.setLineDash([4, 4]);
  for (const time of marks) {
    const x = Math.round(plot.valToPos(time, "x", true));
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}

const clock = (time) => new Date(time * 1000).toLocaleTimeString([], {hourCycle: "h23"});

function options(width, shown) {
  const axis = {stroke: () => css("--soft"), grid: {stroke: () => css("--line"), width: 1}, ticks: {show: false}, size: 42};
  const series = names.map((name, i) => ({label: name, stroke: () => css("--s" + i % 8), width: 1.5,
    dash: DASHES[Math.floor(i / 8) % 4], points: {show: false}}));
  return {width, height: HEIGHT, legend: {show: false}, cursor: {y: false}, series: [{}, ...series],
    scales: {y: {range: (plot, low, high) => [0, Math.max(1, high || 0) * 1.1]}},
    axes: [{...axis, size: 28, space: 70, values: (plot, ticks) => ticks.map(clock)}, {...axis, values: (plot, ticks) => ticks.map(shown)}], hooks: {draw: [markChanges]}};
}

function build() {
  for (const chart of charts) chart.plot.destroy();
  charts = KINDS.map(([title, value, shown]) => {
    const figure = element("figure", null, "chart"), caption = element("figcaption"), now = element("span", "", "now");
    caption.append(element("span", title), now);
    const canvas = element("div");
    figure.append(caption, canvas);
    return {figure, canvas, now, value, shown};
  });
  byId("charts").replaceChildren(...charts.map((chart) => chart.figure));
  for (const chart of charts) {
    chart.plot = new uPlot(options(chart.canvas.clientWidth || 340, chart.shown), columns(chart.value), chart.canvas);
  }
  const legend = names.map((name, i) => {
    const item = element("span"), swatch = element("span", null, "swatch");
    swatch.style.background = `var(--s${i % 8})`;
    item.append(swatch, name);
    return item;
  });
  byId("legend").replaceChildren(...legend, element("span", "dashed uprights: the primary changed"));
}

// A chart without a single value (lag on Galera, receive queue elsewhere) is not shown.
function refresh() {
  for (const {plot, figure, value, shown, now} of charts) {
    const data = columns(value), last = samples.length - 1;
    figure.hidden = !data.slice(1).some((line) => line.some((v) => v !== null));
    plot.setData(data);
    const words = data.slice(1).map((line, i) => line[last] === null || line[last] === undefined ? null
      : names[i] + " " + shown(line[last])).filter(Boolean);
    write(now, words.length > 4 ? "" : words.join(" · "));
  }
}

function resize() {
  for (const {plot, canvas} of charts) if (canvas.clientWidth) plot.setSize({width: canvas.clientWidth, height: HEIGHT});
}

export function begin(hello) {
  fields = hello.fields;
  samples = hello.samples;
  names = [];
}

export function add(sample, servers) {
  const last = samples[samples.length - 1];
  if (!last || sample.time > last.time) samples = samples.concat([sample]).slice(-KEPT);
  const now = servers.map((server) => server.name);
  if (now.join() !== names.join() || !charts.length) { names = now; build(); }
  if (!document.hidden) refresh();
}

export function mark(events) {
  marks = marks.concat(events.filter((event) => event.kind === "primary").map((event) => event.time));
}

new ResizeObserver(resize).observe(byId("charts"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach(({plot}) => plot.redraw()));
