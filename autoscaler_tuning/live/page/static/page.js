"use strict";
// Draws the history of one Service and keeps it up to date with server-sent events. Times are Unix seconds.

const $ = (id) => document.getElementById(id);
const shade = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const clock = (s) => new Date(s * 1000).toLocaleTimeString("en-GB"); // 09:05:03; others leave the 0 away, or say 24 at midnight
const number = (v, digits = 0) => (v == null ? "–" : v.toLocaleString("en", { maximumFractionDigits: digits }));
const seconds = (v) => (v == null ? "–" : v < 1 ? `${Math.round(v * 1000)} ms` : `${number(v, 2)} s`);
const KEPT = 3600, DECISIONS_KEPT = 600, STALE_S = 5, RETRY_MS = 4000, TABLE_ROWS = 60, SHADES = ["--c0", "--c1", "--c2", "--c3", "--c4", "--c5"];

// A jump is more than three standard deviations of a Poisson count above the level, as the policy tests it.
const deviation = (level) => 3 * Math.sqrt(Math.max(1, level));
const column = (name) => (row) => row[doc.columns.indexOf(name)];
const level = (row) => column("level_rps")(row);

const PLOTS = [
  { title: "Arrivals", unit: "requests a second", series: [
    { label: "arrivals", of: column("arrivals"), shade: "--c0", digits: 1 },
    { label: "expected", of: level, shade: "--c1", digits: 1 },
    { label: "a jump from", of: (row) => (level(row) == null ? null : level(row) + deviation(level(row))), digits: 1, band: true },
    { label: "low", of: (row) => (level(row) == null ? null : Math.max(0, level(row) - deviation(level(row)))), hide: true },
  ], bands: [{ series: [3, 4] }] },
  { title: "Pods", unit: "pods", steps: true, marks: true, series: [
    { label: "wanted", of: column("wanted"), shade: "--c0" },
    { label: "ready", of: column("ready"), shade: "--c2" },
    { label: "starting", of: column("starting"), shade: "--c1" },
    { label: "ending", of: column("terminating"), shade: "--c4" },
    { label: "stock KPA would want", of: column("stock"), shade: "--c3", dash: [5, 4] },
  ] },
  { title: "Queue", unit: "requests, seconds on the right", right: true, series: [
    { label: "waiting, high", of: column("waiting_high"), shade: "--c3" },
    { label: "normal", of: column("waiting_normal"), shade: "--c0" },
    { label: "low", of: column("waiting_low"), shade: "--c4" },
    { label: "expired", of: column("expired"), shade: "--c5" },
    { label: "oldest", of: column("oldest_s"), shade: "--c1", dash: [5, 4], time: true },
    { label: "Retry-After now", of: column("retry_after_s"), shade: "--c2", dash: [2, 3], time: true },
  ] },
  { title: "Latency", unit: "seconds, of the last ten", series: [
    { label: "p50", of: column("p50_s"), shade: "--c2", time: true, left: true },
    { label: "p95", of: column("p95_s"), shade: "--c0", time: true, left: true },
    { label: "p99", of: column("p99_s"), shade: "--c3", time: true, left: true },
    { label: "SLO", of: () => doc.slo_s, shade: "--c5", dash: [6, 4], time: true, left: true },
  ] },
];

let doc = null, charts = [], newsAt = Date.now(), source = null, lost = false, loads = 0;
const saved = $("data");

function shown() {
  const rows = doc.rows, last = rows.length ? rows[rows.length - 1][0] : 0, span = Number($("span").value);
  let first = rows.length;
  while (first > 0 && rows[first - 1][0] > last - span) first--;
  return rows.slice(first);
}

function element(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function value(series, row) {
  const found = row ? series.of(row) : null;
  return series.time ? seconds(found) : number(found, series.digits || 0);
}

function readout(chart, index) {
  const row = chart.rows[index], parts = row ? [element("span", clock(row[0]), { class: "key-time" })] : [];
  for (const series of chart.plot.series) {
    if (series.hide) continue;
    const key = element("span", `${series.label} ${value(series, row)}`, { class: "key" });
    key.style.setProperty("--shade", shade(series.shade || "--band"));
    parts.push(key);
  }
  const mark = chart.plot.marks && row && chart.fixed ? doc.decisions.filter((one) => Math.abs(one.t_s - row[0]) <= 2).pop() : null;
  if (mark) parts.push(element("span", mark.reason));
  chart.now.replaceChildren(...parts.flatMap((part) => [part, " "]));
}

function marks(u) {
  const top = u.bbox.top, size = 5 * devicePixelRatio;
  u.ctx.fillStyle = shade("--c0");
  for (const one of doc.decisions) {
    if (one.t_s < u.scales.x.min || one.t_s > u.scales.x.max) continue;
    const x = u.valToPos(one.t_s, "x", true);
    u.ctx.beginPath();
    u.ctx.moveTo(x - size, top);
    u.ctx.lineTo(x + size, top);
    u.ctx.lineTo(x, top + 1.6 * size);
    u.ctx.fill();
  }
}

function draw(chart) {
  const { plot } = chart, quiet = shade("--quiet"), grid = { stroke: shade("--line"), width: 1 };
  const paint = (series) => ({
    label: series.label, show: true, points: { show: false }, spanGaps: false,
    stroke: series.hide || series.band ? "transparent" : shade(series.shade), width: 1.5, dash: series.dash,
    scale: series.time && !series.left ? "s" : "y",
    paths: plot.steps ? uPlot.paths.stepped({ align: 1 }) : undefined,
  });
  const axis = (more) => ({ stroke: quiet, grid, ticks: grid, ...more });
  const times = (u, values) => values.map((v) => clock(v).slice(0, u.scales.x.max - u.scales.x.min < 300 ? 8 : 5));
  const numbers = (u, values) => values.map((v) => number(v, 3));
  const axes = [axis({ values: times, space: 70, size: 28 }), axis({ size: 44, values: numbers, space: 24 })];
  if (plot.right) axes.push(axis({ scale: "s", side: 1, size: 44, grid: { show: false }, values: numbers, space: 24 }));
  const from0 = { range: (u, low, high) => [0, Math.max(high || 0, 1) * 1.08] };
  const fine = { range: (u, low, high) => [0, Math.max(high || 0, doc.slo_s) * 1.15] };
  if (chart.u) chart.u.destroy();
  chart.u = new uPlot({
    width: chart.box.clientWidth, height: 160, legend: { show: false }, axes,
    cursor: { y: false, drag: { x: false } },
    scales: { x: { time: true }, y: plot.title === "Latency" ? fine : from0, s: from0 },
    series: [{}, ...plot.series.map(paint)],
    bands: (plot.bands || []).map((band) => ({ ...band, fill: shade("--band") })),
    hooks: {
      setCursor: [(u) => { chart.fixed = u.cursor.idx != null; readout(chart, chart.fixed ? u.cursor.idx : chart.rows.length - 1); }],
      draw: plot.marks ? [marks] : [],
    },
  }, columns(chart), chart.box);
}

function columns(chart) {
  return [chart.rows.map((row) => row[0]), ...chart.plot.series.map((series) => chart.rows.map(series.of))];
}

function table(chart) {
  const visible = chart.plot.series.filter((series) => !series.hide);
  const head = element("tr");
  head.append(element("th", "time", { scope: "col" }), ...visible.map((series) => element("th", series.label, { scope: "col" })));
  const body = chart.rows.slice(-TABLE_ROWS).reverse().map((row) => {
    const line = element("tr");
    line.append(element("td", clock(row[0])), ...visible.map((series) => element("td", value(series, row))));
    return line;
  });
  const made = element("table");
  made.append(head, ...body);
  chart.table.replaceChildren(made);
}

function move(chart, event) {
  const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -60, PageDown: 60 }[event.key];
  if (!step || !chart.rows.length) return;
  event.preventDefault();
  const from = chart.u.cursor.idx == null ? chart.rows.length - 1 : chart.u.cursor.idx;
  const to = Math.min(chart.rows.length - 1, Math.max(0, from + step));
  chart.u.setCursor({ left: chart.u.valToPos(chart.rows[to][0], "x"), top: 10 });
  $("say").textContent = chart.now.textContent;
}

function build() {
  charts = PLOTS.map((plot) => {
    const figure = element("figure"), caption = element("figcaption", `${plot.title} `);
    const now = element("span", "", { class: "now" });
    caption.append(element("small", plot.unit), now);
    const box = element("div", "", { class: "plot", tabindex: "0", role: "img", "aria-label": `${plot.title}, ${plot.unit}, over time; left and right arrows read a second` });
    const details = element("details"), holder = element("div", "", { class: "table", tabindex: "0", role: "region", "aria-label": `${plot.title} as a table` });
    details.append(element("summary", "as a table, the last minute"), holder);
    figure.append(caption, box, details);
    $("plots").append(figure);
    const chart = { plot, box, now, table: holder, details, rows: [], u: null, fixed: false };
    box.addEventListener("keydown", (event) => move(chart, event));
    details.addEventListener("toggle", () => details.open && table(chart));
    return chart;
  });
}

function sum(rows, name) {
  const of = column(name);
  return rows.reduce((total, row) => total + (of(row) || 0), 0);
}

function verdict(rows) {
  const answers = sum(rows, "answers"), good = sum(rows, "in_time"), bad = sum(rows, "lost"), spent = sum(rows, "pod_seconds");
  $("period").textContent = rows.length ? `${clock(rows[0][0])} to ${clock(rows[rows.length - 1][0])}` : "no data yet";
  $("in-time").textContent = answers ? `${number((100 * good) / answers, 2)} %` : "–";
  $("in-time").append(element("small", answers ? `${number(good)} of ${number(answers)} within ${seconds(doc.slo_s)}` : "no request was answered"));
  $("in-time").className = answers && good / answers < 0.99 ? "bad" : "";
  $("lost").textContent = number(bad);
  $("lost").className = bad ? "bad" : "";
  $("cost").textContent = good ? number((1000 * spent) / good) : "–";
  $("cost").append(element("small", `${number(spent)} pod-seconds in all`));
  $("ruler").textContent = doc.ruler.name;
  $("ruler").append(element("small", `${doc.ruler.why}${doc.ruler.since_s ? `; since ${clock(doc.ruler.since_s)}` : ""}`));
  $("ruler").className = doc.ruler.name === "lapsed" ? "bad" : "";
}

function list(id, items) {
  $(id).replaceChildren(...(items.length ? items : [element("li", "none so far", { class: "none" })]));
}

function starts() {
  const all = doc.starts.slice(-10).reverse(), names = [...new Set(all.flatMap((one) => Object.keys(one.phases)))];
  const longest = Math.max(0.001, ...all.map((one) => Object.values(one.phases).reduce((a, b) => a + b, 0)));
  const tint = (name) => shade(SHADES[names.indexOf(name) % SHADES.length]);
  $("legend").replaceChildren(...names.map((name) => { const key = element("li", name); key.style.setProperty("--shade", tint(name)); return key; }));
  list("starts", all.map((one) => {
    const took = Object.values(one.phases).reduce((a, b) => a + b, 0), item = element("li");
    const words = Object.entries(one.phases).map(([name, s]) => `${name} ${seconds(s)}`).join(", ");
    const bar = element("span", "", { class: "bar", role: "img", "aria-label": words, title: `${one.pod}: ${words}` });
    for (const [name, s] of Object.entries(one.phases)) {
      const part = element("span");
      part.style.setProperty("--shade", tint(name));
      part.style.width = `${(100 * s) / longest}%`;
      bar.append(part);
    }
    item.append(element("time", clock(one.t_s)), bar, element("span", seconds(took), { class: "took" }));
    return item;
  }));
}

function decisions() {
  list("decisions", doc.decisions.slice(-10).reverse().map((one) => {
    const item = element("li");
    item.append(element("time", clock(one.t_s)), ` ${one.reason}`);
    return item;
  }));
}

function render(whole) {
  const rows = shown();
  verdict(rows);
  for (const chart of charts) {
    chart.rows = rows;
    if (whole || !chart.u) draw(chart); else chart.u.setData(columns(chart));
    if (!chart.fixed) readout(chart, rows.length - 1);
    if (chart.details.open) table(chart);
  }
  starts();
  decisions();
  $("pause").textContent = doc.paused ? "Resume the tuner" : "Pause the tuner";
}

function stale() {
  if (saved) return;
  const silent = (Date.now() - newsAt) / 1000, last = doc && doc.rows[doc.rows.length - 1];
  let text = "";
  if (silent > STALE_S) text = `Stale: no news for ${Math.round(silent)} s. The controller does not answer, or the connection is lost.`;
  else if (last && column("age_s")(last) > STALE_S) text = `Stale: the controller has had no fresh signals for ${number(column("age_s")(last))} s.`;
  if ($("stale").textContent !== text) $("stale").textContent = text;
  $("stale").hidden = !text;
  document.title = `${text ? "STALE · " : ""}${doc ? doc.service : "Elastic ML inference"}`;
}

function take(news) {
  newsAt = Date.now();
  doc.rows.push(news.row);
  if (doc.rows.length > KEPT) doc.rows.shift();
  doc.decisions = [...doc.decisions, ...news.decisions].slice(-DECISIONS_KEPT);
  doc.starts = [...doc.starts, ...news.starts].slice(-10);
  doc.ruler = news.ruler;
  doc.paused = news.paused;
  if (!document.hidden) render(false);
  stale();
}

async function read(path) {
  const answer = await fetch(path).catch(() => null);
  return answer && answer.ok ? answer.json().catch(() => null) : null;
}

function again(service, ours = loads) {
  setTimeout(() => ours === loads && load(service), RETRY_MS);
}

async function load(service) {
  const query = service ? `?service=${encodeURIComponent(service)}` : "", ours = ++loads;
  if (source) source.close(); // it would begin again where the last history ended
  const found = saved ? JSON.parse(saved.textContent) : await read(`/page/history${query}`);
  if (ours !== loads) return; // something else was asked for meanwhile
  if (!found) return again(service);
  const other = !doc || doc.service !== found.service;
  [doc, lost, newsAt] = [found, false, Date.now()];
  $("buttons").hidden = !doc.buttons;
  if (other) [$("min").value, $("max").value] = doc.bounds;
  render(other);
  if (saved) {
    $("stale").hidden = true;
    document.title = `${doc.service}, saved ${new Date(doc.made_s * 1000).toLocaleString()}`;
    $("export").replaceWith(element("span", `saved ${new Date(doc.made_s * 1000).toLocaleString()}`));
    return;
  }
  $("export").href = `/page/export${query}`;
  if (!$("service").options.length) {
    $("service").append(...doc.services.map((name) => element("option", name)));
    $("service-label").hidden = doc.services.length < 2;
  }
  source = new EventSource(`/page/events?${new URLSearchParams({ service: doc.service, after: doc.count })}`);
  source.onmessage = (event) => take(JSON.parse(event.data));
  source.onopen = () => lost && load(service); // what happened meanwhile is in the history
  source.onerror = () => {
    lost = true;
    if (source.readyState === EventSource.CLOSED) again(service); // refused, which a browser takes as final
  };
  stale();
}

async function act(body) {
  const answer = await fetch(`/page/action?service=${encodeURIComponent(doc.service)}`, {
    method: "POST", headers: { Authorization: `Bearer ${$("key").value}` }, body: JSON.stringify(body),
  }).catch(() => null);
  const said = (answer && await answer.json().catch(() => null)) || { error: "The controller does not answer." };
  $("done").textContent = said.done || said.error;
  if (said.done && body.do !== "bounds") doc.paused = body.do === "pause";
  render(false);
}

build();
$("span").addEventListener("change", () => doc && render(true));
$("service").addEventListener("change", () => load($("service").value));
$("buttons").addEventListener("submit", (event) => event.preventDefault());
$("pause").addEventListener("click", () => act({ do: doc.paused ? "resume" : "pause" }));
$("bounds").addEventListener("click", () => act({ do: "bounds", min: Number($("min").value), max: Number($("max").value) }));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => doc && render(true));
addEventListener("resize", () => doc && charts.forEach((chart) => chart.u.setSize({ width: chart.box.clientWidth, height: 160 })));
document.addEventListener("visibilitychange", () => !document.hidden && doc && render(false));
if (!saved) setInterval(stale, 1000);
load("");
