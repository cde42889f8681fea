"use strict";
// What the worker tells is text and numbers from elsewhere: it enters the page as textContent alone.

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const percent = (ratio) => `${tenth.format(100 * ratio)} %`;
const seconds = (value) => (value < 0.9995 ? `${Math.round(1000 * value)} ms` : `${tenth.format(value)} s`);
const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB");
const titleOf = (known, item) => (Object.hasOwn(known, item) ? known[item] : item); // an item may be called "constructor"
const MOST_POINTS = 600;
const CHIPS_MS = 5000;
const RETRY_MS = 5000;

let points = [];
let newest = null; // the newest snapshot
let titles = {};
let source = null;
let chipsAt = 0;

// Characters that do not show are written out: an id can neither turn round what stands next to it nor hide in it.
function printable(text) {
  return String(text).replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
}

function node(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = printable(text);
  return made;
}

function shape(tag, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = printable(text);
  return made;
}

function say(id, told) {
  const text = printable(told);
  if ($(id).textContent !== text) $(id).textContent = text; // what is unchanged is not read out again
}

function status(state, text) {
  $("status").dataset.state = state;
  say("status", text);
}

// ---------------------------------------------------------------------------------------------------- the live part

function connect() {
  source = new EventSource("/page/events");
  source.onopen = () => { points = []; };
  source.onmessage = (message) => take(JSON.parse(message.data));
  source.onerror = () => {
    const since = newest ? `, figures of ${clock(newest.at_ms)}` : "";
    status("lost", `Disconnected${since}`);
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, RETRY_MS); // refused: the browser gives up
  };
}

function take(tick) {
  $("users").hidden = !tick.has_users;
  if (!tick.is_ready) status("busy", `Not ready: ${tick.phase}`);
  else if (!tick.snapshot) status("busy", "The worker is busy");
  else status("live", "Live");
  if (!tick.snapshot) return;
  newest = tick.snapshot;
  titles = tick.titles;
  points = points.concat(newest.points).slice(-MOST_POINTS);
  showTiles(newest);
  showLegend(newest);
  showChart(newest);
  showRising(newest);
  showNewestUsers(newest);
  showEpochs(newest);
  showLetters(newest);
}

function showTiles(s) {
  say("about", `${s.model} model on ${s.device} · ${number.format(s.num_users)} users, ${number.format(s.num_items)} items`);
  say("rate", s.events_per_second < 10 ? tenth.format(s.events_per_second) : number.format(s.events_per_second));
  say("rate-note", `${number.format(s.num_events)} events, ${number.format(s.num_lists)} lists`);
  const fresh = s.freshness_p50_seconds;
  say("freshness", fresh === null ? "–" : seconds(fresh));
  say("freshness-note", fresh === null ? "no event in the newest 30 s"
    : `median from event to list; 99 % within ${seconds(s.freshness_p99_seconds)}`);
  say("lag", number.format(s.lag_records));
  say("lag-note", s.lag_records ? "events that wait to be read" : "everything is read");
  const hits = newestHits();
  say("hit-title", `Hit rate @${s.k}`);
  say("hit", hits ? percent(hits[0]) : "–");
  if (!hits) return;
  const best = hits[1] >= hits[2] ? 1 : 2;
  const gap = 100 * (hits[0] - hits[best]);
  say("hit-note", `${tenth.format(Math.abs(gap))} points ${gap < 0 ? "below" : "above"} ${s.models[best]}`);
  drawSpark();
}

function newestHits() {
  const last = points.at(-1);
  return last ? last[3] : null;
}

function drawSpark() {
  const svg = $("spark");
  const shown = points.slice(-90).map((point) => point[1]);
  if (shown.length < 2) return;
  const top = Math.max(...shown, 1);
  const line = shown.map((rate, at) => `${(100 * at) / (shown.length - 1)},${38 - (36 * rate) / top}`).join(" ");
  svg.setAttribute("viewBox", "0 0 100 40");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.replaceChildren(shape("polyline", { points: line, "vector-effect": "non-scaling-stroke" }));
}

function showLegend(s) {
  const hits = newestHits();
  const entries = s.models.map((model, at) => {
    const entry = node("li");
    const sample = shape("svg", { viewBox: "0 0 22 8", "aria-hidden": "true" });
    sample.append(shape("line", { x1: 1, y1: 4, x2: 21, y2: 4, class: `line ${model}` }));
    entry.append(sample, node("span", "", model), node("b", "", hits ? percent(hits[at]) : "–"));
    return entry;
  });
  $("legend").replaceChildren(...entries);
  say("chart-note", "Every event is ranked before it is learned. Sliding window of "
    + `${number.format(s.window_events)} events, the newest ten minutes.`);
}

function showChart(s) {
  const svg = $("chart");
  const known = points.filter((point) => point[3]);
  if (known.length < 2) return;
  const width = svg.clientWidth, height = svg.clientHeight, left = 46, right = 12, bottom = 24, top = 8;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const end = known.at(-1)[0], begin = Math.min(known[0][0], end - 30000);
  const step = niceStep(Math.max(...known.flatMap((point) => point[3]), 0.01));
  const most = step * Math.max(1, Math.ceil(Math.max(...known.flatMap((point) => point[3])) * 1.05 / step));
  const x = (ms) => left + ((ms - begin) / (end - begin)) * (width - left - right);
  const y = (ratio) => top + (1 - ratio / most) * (height - top - bottom);
  const parts = [];
  for (let ratio = 0; ratio <= most + step / 2; ratio += step) {
    parts.push(shape("line", { class: "grid", x1: left, x2: width - right, y1: y(ratio), y2: y(ratio) }));
    const label = `${(100 * ratio).toFixed(step < 0.01 ? 1 : 0)} %`;
    parts.push(shape("text", { x: left - 8, y: y(ratio) + 4, "text-anchor": "end" }, label));
  }
  const marks = width < 500 ? 2 : 4;
  for (let mark = 0; mark <= marks; mark += 1) {
    const ms = begin + (mark / marks) * (end - begin);
    const anchor = mark === 0 ? "start" : mark === marks ? "end" : "middle";
    parts.push(shape("text", { x: x(ms), y: height - 5, "text-anchor": anchor }, clock(ms)));
  }
  const lines = s.models.map((_, at) => known.map((point) => `${x(point[0]).toFixed(1)},${y(point[3][at]).toFixed(1)}`));
  parts.push(shape("polygon", { class: "area", points: [`${x(known[0][0])},${y(0)}`, ...lines[0], `${x(end)},${y(0)}`].join(" ") }));
  s.models.toReversed().forEach((model) => {
    const at = s.models.indexOf(model);
    parts.push(shape("polyline", { class: `line ${model}`, points: lines[at].join(" ") }));
    parts.push(shape("circle", { class: `dot ${model}`, cx: x(end), cy: y(known.at(-1)[3][at]), r: 4 }));
  });
  svg.replaceChildren(...parts);
  svg.setAttribute("aria-label", `Hit rates now: ${s.models.map((m, at) => `${m} ${percent(known.at(-1)[3][at])}`).join(", ")}`);
}

function niceStep(most) {
  const rough = most / 4, power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
}

function showRising(s) {
  const most = Math.max(...s.rising.map((rise) => rise.lift), 1);
  $("rising").replaceChildren(...s.rising.map((rise) => {
    const line = node("li");
    const name = node("span", "name", titleOf(titles, rise.item));
    name.title = printable(rise.item);
    const meter = node("span", "meter"), fill = node("span");
    fill.style.width = `${(100 * rise.lift) / most}%`;
    meter.append(fill);
    line.append(name, node("b", "", `${tenth.format(rise.lift)}×`), meter);
    return line;
  }));
  say("rising-note", s.rising.length ? "Share of the newest events, against the usual share."
    : "Nothing is taken more often than usual yet.");
}

function showNewestUsers(s) {
  const place = $("newest");
  const inUse = place.contains(document.activeElement) || place.matches(":hover");
  if (inUse || Date.now() - chipsAt < CHIPS_MS) return; // buttons that move away cannot be pressed
  chipsAt = Date.now();
  place.hidden = !s.newest_users.length;
  place.replaceChildren(place.firstElementChild, ...s.newest_users.map((user) => {
    const chip = node("button", "", user);
    chip.type = "button";
    chip.onclick = () => { $("user").value = user; lookUp(user); };
    return chip;
  }));
}

function showEpochs(s) {
  if (!s.epochs.length) return;
  $("epochs").replaceChildren(...s.epochs.map((epoch) => {
    const row = node("tr");
    const cells = [number.format(epoch.epoch), clock(epoch.committed_at_ms), number.format(epoch.records),
      number.format(epoch.lists), epoch.seconds.toFixed(3)];
    row.append(...cells.map((cell) => node("td", "", cell)));
    return row;
  }));
}

function showLetters(s) {
  const codes = Object.entries(s.dead_letters).sort((a, b) => b[1] - a[1]);
  $("letters").replaceChildren(...codes.flatMap(([code, count]) => [node("dt", "", code), node("dd", "", number.format(count))]));
  say("letters-note", codes.length ? "Since this worker started, by code; they are in the dead-letter topic."
    : "None since this worker started.");
}

// ------------------------------------------------------------------------------------------------------- one user

const CHANNELS = {
  sequence: "sequence model", transitions: "what follows what", successors: "right after the newest",
  cooccurrence: "taken near it", baskets: "taken together", neighbours: "similar users", recency: "had lately",
  frequency: "has often", popularity: "popular", reranker: "second look", mf: "taste",
};
const family = (channel) => (channel.startsWith("popularity") ? "popularity" : channel);
const spoken = (channel) => CHANNELS[channel] ?? channel;
const colour = (channel) => {
  const at = Object.keys(CHANNELS).indexOf(channel);
  return `c${at < 0 ? 7 : at % 10}`;
};
let question = 0;

async function lookUp(user) {
  const own = (question += 1);
  say("answer", "Asking the worker…");
  let text;
  try {
    const response = await fetch(`/page/user?id=${encodeURIComponent(user)}`, { headers: { accept: "application/json" } });
    const answer = await response.json();
    if (own !== question) return; // another one was asked for meanwhile
    $("found").hidden = !answer.is_known;
    text = response.ok ? showUser(answer) : answer.error;
  } catch {
    text = "The worker does not answer. Try again when the page is live.";
  }
  if (own === question) say("answer", text);
}

function showUser(answer) {
  if (!answer.is_known) return `Nothing is known of user ${answer.user}: no event of his was learned, or it was long ago.`;
  const title = (item) => titleOf(answer.titles, item);
  $("history").replaceChildren(...answer.history.map((event) => {
    const line = node("li");
    const day = new Date(event.time_ms).toISOString();
    line.append(node("span", "", title(event.item)), node("span", "when", event.type), node("span", "id", event.item),
      node("time", "when", `${day.slice(0, 10)} ${day.slice(11, 16)}`));
    return line;
  }));
  const families = [...new Set(answer.places.flatMap((place) => place.channels.map((part) => family(part.channel))))];
  $("channels").replaceChildren(...families.map((channel) => {
    const entry = node("li");
    entry.append(node("span", `swatch ${colour(channel)}`), node("span", "", spoken(channel)));
    return entry;
  }));
  $("places").replaceChildren(...answer.places.map((place) => showPlace(place, title)));
  const events = answer.history.length === 1 ? "1 event" : `${answer.history.length} events`;
  return `User ${answer.user}: ${events} remembered, list of epoch ${number.format(answer.epoch)}.`;
}

function showPlace(place, title) {
  const line = node("li");
  const name = node("span", "title", title(place.item));
  const sums = new Map();
  for (const part of place.channels) sums.set(family(part.channel), (sums.get(family(part.channel)) ?? 0) + part.nats);
  const parts = [...sums].sort((a, b) => b[1] - a[1]);
  const total = parts.reduce((sum, [, nats]) => sum + Math.max(nats, 0), 0) || 1;
  const bar = node("div", "bar");
  bar.setAttribute("aria-hidden", "true"); // the words below say the same
  for (const [channel, nats] of parts.filter((part) => part[1] > 0)) {
    const piece = node("span", colour(channel));
    piece.style.width = `${(100 * nats) / total}%`;
    bar.append(piece);
  }
  const because = node("span", "because", place.reason === null ? place.item : `${place.item} · after `);
  if (place.reason !== null) because.append(node("b", "", title(place.reason)));
  line.append(name, node("span", "score", percent(place.score)), because, bar, showShares(parts, total));
  return line;
}

function showShares(parts, total) {
  const share = (nats) => `${Math.round((100 * Math.max(nats, 0)) / total)} %`;
  const all = node("details", "shares");
  const most = parts.slice(0, 3).filter((part) => part[1] > 0).map(([channel, nats]) => `${spoken(channel)} ${share(nats)}`);
  const table = node("dl");
  table.append(...parts.flatMap(([channel, nats]) => [node("dt", "", spoken(channel)),
    node("dd", "", nats > 0 ? share(nats) : "against it"), node("dd", "", `${nats < 0 ? "−" : "+"}${Math.abs(nats).toFixed(2)} nats`)]));
  all.append(node("summary", "", most.join(", ")), table);
  return all;
}

$("lookup").addEventListener("submit", (event) => {
  event.preventDefault();
  lookUp($("user").value);
});
new ResizeObserver(() => newest && showChart(newest)).observe($("chart"));
connect();
