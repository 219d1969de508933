"use strict";
// Asks for /stats.json and /segments.json once a second and draws what has changed since.

const kPeriodMs = 1000;
const kHistory = 121; // samples: two minutes of sparklines
const kLatencyWindow = 10; // samples
const kSparkFields = ["gets", "sets", "reads", "writes"];

const samples = [];
const $ = (id) => document.getElementById(id);
const show = (id, text) => { $(id).textContent = text; };

function count(n) {
  if (!(n >= 0)) return "–";
  if (n >= 1e9) return (n / 1e9).toFixed(2) + " G";
  if (n >= 1e6) return (n / 1e6).toFixed(2) + " M";
  if (n >= 1e4) return (n / 1e3).toFixed(1) + " k";
  return n >= 100 || Number.isInteger(n) ? Math.round(n).toLocaleString("en") : n.toFixed(1);
}
function bytes(n) {
  if (!(n >= 0)) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (n >= 1024 && unit + 1 < units.length) { n /= 1024; unit++; }
  return (unit === 0 || n >= 100 ? n.toFixed(0) : n.toFixed(1)) + " " + units[unit];
}
function time(ns) {
  if (!(ns >= 0)) return "–";
  if (ns < 1e6) return (ns / 1e3).toFixed(ns < 1e4 ? 1 : 0) + " µs";
  if (ns < 1e9) return (ns / 1e6).toFixed(ns < 1e7 ? 1 : 0) + " ms";
  return (ns / 1e9).toFixed(2) + " s";
}
function duration(s) {
  const d = Math.floor(s / 86400), h = Math.floor(s / 3600) % 24, m = Math.floor(s / 60) % 60;
  return d > 0 ? `${d} d ${h} h` : h > 0 ? `${h} h ${m} min` : m > 0 ? `${m} min` : `${s} s`;
}
const percent = (x) => (x === null ? "–" : (x * 100).toFixed(x < 0.9995 ? 1 : 0) + " %");
const ratio = (part, whole) => (whole > 0 ? (part / whole).toFixed(2) : "–");

// The bound of LatencyStats::below[i], ns.
const bound = (i) => (i % 2 === 0 ? 2 : 3) * 2 ** (9 + Math.floor(i / 2));

// The value under which `share` of the calls between two snapshots lie, ns.
function percentile(before, after, share) {
  const calls = after.count - before.count;
  if (calls <= 0) return NaN;
  const wanted = share * calls;
  let below = 0, lower = 0;
  for (let i = 0; i < after.below.length; i++) {
    const upTo = after.below[i] - before.below[i];
    if (upTo >= wanted) return lower + ((bound(i) - lower) * (wanted - below)) / (upTo - below);
    below = upTo;
    lower = bound(i);
  }
  return lower;
}

function heat(share) { // cold to hot
  const stops = [[64, 104, 160], [88, 160, 190], [236, 200, 96], [236, 130, 52], [214, 48, 49]];
  const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const low = Math.min(Math.floor(at), stops.length - 2);
  const mixed = stops[low].map((c, i) => Math.round(c + (stops[low + 1][i] - c) * (at - low)));
  return `rgb(${mixed.join(",")})`;
}
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function canvas(id) {
  const c = $(id), scale = window.devicePixelRatio || 1;
  const width = c.clientWidth, height = c.clientHeight;
  c.width = Math.max(1, Math.round(width * scale));
  c.height = Math.max(1, Math.round(height * scale));
  const draw = c.getContext("2d");
  draw.scale(scale, scale);
  return { draw, width, height };
}

function sparkline(id, values) {
  const { draw, width, height } = canvas(id);
  const top = Math.max(...values, 1e-9), step = width / (kHistory - 2);
  const x = (i) => width - (values.length - 1 - i) * step;
  const y = (v) => height - 1.5 - (height - 3) * (v / top);
  draw.beginPath();
  values.forEach((v, i) => (i === 0 ? draw.moveTo(x(i), y(v)) : draw.lineTo(x(i), y(v))));
  draw.strokeStyle = color("--accent");
  draw.lineWidth = 1.5;
  draw.lineJoin = "round";
  draw.stroke();
  draw.lineTo(x(values.length - 1), height);
  draw.lineTo(x(0), height);
  draw.globalAlpha = 0.14;
  draw.fillStyle = color("--accent");
  draw.fill();
}

function strip(id, cells, columns) {
  const { draw, width, height } = canvas(id);
  if (cells.length === 0) {
    draw.fillStyle = color("--soft");
    draw.font = "13px system-ui, sans-serif";
    draw.fillText("none yet", 12, height / 2 + 4);
    return;
  }
  const step = Math.min(width / columns, 24), gap = step > 5 ? 1 : 0;
  cells.forEach(([, open, live, hot], i) => {
    const tall = Math.max(live * (height - 6), 1.5);
    const x = width - (cells.length - i) * step;
    draw.fillStyle = heat(live > 0 ? hot / live : 0);
    draw.globalAlpha = 1;
    draw.fillRect(x, height - tall, step - gap, tall);
    if (open) {
      draw.fillStyle = color("--accent");
      draw.fillRect(x, 0, step - gap, 4);
    }
  });
}

function drawScale() {
  const { draw, width, height } = canvas("scale");
  for (let x = 0; x < width; x++) {
    draw.fillStyle = heat(x / width);
    draw.fillRect(x, 0, 1, height);
  }
}

function rates(now, before) {
  const s = (now.at - before.at) / 1000;
  const per = (part, name) => (now.stats[part][name] - before.stats[part][name]) / s;
  return {
    gets: per("server", "cmd_get"), sets: per("server", "cmd_set"),
    reads: per("cache", "device_read_bytes"), writes: per("cache", "device_written_bytes"),
    readCalls: per("cache", "device_reads"), writeCalls: per("cache", "device_writes"),
  };
}

function drawLatencies(now, before) {
  const rows = [["get", "server", "get_latency"], ["write", "server", "write_latency"],
    ["flush", "cache", "flush_latency"], ["one lookup", "cache", "lookup_latency"],
    ["batch lookup", "cache", "lookup_batch_latency"]];
  $("latency").replaceChildren(...rows.map(([label, part, name]) => {
    const a = before.stats[part][name], b = now.stats[part][name];
    const row = document.createElement("tr");
    const cells = [label, ...[0.5, 0.99, 0.999].map((p) => time(percentile(a, b, p))),
      count((b.count - a.count) / ((now.at - before.at) / 1000))];
    row.replaceChildren(...cells.map((text) => {
      const cell = document.createElement("td");
      cell.textContent = text;
      return cell;
    }));
    return row;
  }));
}

function drawNumbers(stats) {
  const { cache, server } = stats;
  const engine = cache.engine + (cache.direct ? ", O_DIRECT" : ", through the page cache");
  const why = cache.fallback_reason ? ` (${cache.fallback_reason})` : "";
  show("about", `${stats.version} · ${engine}${why} · up ${duration(stats.uptime_s)}`);
  for (const seconds of [10, 100, 1000]) {
    show(`hit${seconds}`, percent(stats.hit_ratio[seconds]));
    $(`bar${seconds}`).value = stats.hit_ratio[seconds] || 0;
  }
  show("wa", ratio(cache.device_written_bytes, cache.user_bytes_stored));
  show("lwa", cache.logical_write_amplification.toFixed(2));
  show("batch", count(cache.average_batch_operations));
  show("pending", `${count(cache.pending_writes + cache.in_flight_writes)} (${bytes(cache.buffered_bytes)})`);
  show("failures", count(cache.flush_failures));
  show("entries", `${count(cache.entries)} of ${count(cache.entries_max)}`);
  show("used", `${count(cache.segments - cache.segments_free)} of ${count(cache.segments)}`);
  show("evicted", count(cache.evicted + cache.evicted_index_full));
  show("index", bytes(cache.index_bytes));
  show("connections", `${count(server.connections)} of ${count(server.connections_max)}`);
}

function drawPicture(picture) {
  const cells = [...picture.main, ...picture.fresh];
  const perCell = Math.max(1, ...cells.map((cell) => cell[0]));
  const columns = Math.max(picture.main.length, picture.fresh.length, 32);
  show("per-column", (perCell === 1 ? "a segment" : `up to ${perCell} segments`) + ` of ${bytes(picture.segment_bytes)}`);
  strip("log-main", picture.main, columns);
  strip("log-fresh", picture.fresh, columns);
  show("free", `${count(picture.free)} of ${count(picture.segments)} segments free`);
  drawScale();
}

async function fetchJson(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

async function update() {
  const [stats, segments] = await Promise.all([fetchJson("stats.json"), fetchJson("segments.json")]);
  if (samples.length > 0 && stats.uptime_s < samples.at(-1).stats.uptime_s) samples.length = 0; // a restart
  samples.push({ at: performance.now(), stats });
  if (samples.length > kHistory) samples.shift();
  drawNumbers(stats);
  drawPicture(segments.picture);
  if (samples.length < 2) return;
  const steps = samples.slice(1).map((sample, i) => rates(sample, samples[i]));
  const last = steps.at(-1);
  show("gets", count(last.gets));
  show("sets", count(last.sets));
  show("reads", bytes(last.reads));
  show("writes", bytes(last.writes));
  show("reads-note", `per second in ${count(last.readCalls)}`);
  show("writes-note", `per second in ${count(last.writeCalls)}`);
  for (const field of kSparkFields) sparkline(`line-${field}`, steps.map((step) => step[field]));
  drawLatencies(samples.at(-1), samples.at(-Math.min(samples.length, kLatencyWindow + 1)));
}

async function loop() {
  try {
    await update();
    $("dot").className = "dot good";
    document.documentElement.dataset.updates = samples.length;
  } catch (error) {
    $("dot").className = "dot bad";
    show("about", `no answer: ${error.message}`);
  }
  setTimeout(loop, kPeriodMs);
}
loop();
