// Makes pages live: asks for a page's parts again when something happened, and shows log lines as they come.
// Without it every page works, and is as old as its last load.
"use strict";

const PACE_MS = 250;
const IDLE_MS = 20000;
const CROWD_MS = 20;
const CROWD_MOST_MS = 1200;
const MOST_LINES = 2000;

/** Show UTC moments in local time. */
function localise(within) {
  for (const time of within.querySelectorAll("time")) {
    const moment = new Date(time.getAttribute("datetime"));
    if (Number.isNaN(moment.getTime())) continue;
    const today = moment.toDateString() === new Date().toDateString();
    time.textContent = today ? moment.toLocaleTimeString() : moment.toLocaleString();
    time.title = moment.toISOString();
  }
}

function say(word, away) {
  const live = document.getElementById("live");
  if (!live) return;
  live.hidden = false;
  live.textContent = word;
  live.classList.toggle("away", away);
}

/** Put a fresh part in place of an old one, and leave the keyboard where it was. */
function swap(part, fresh) {
  const active = part.contains(document.activeElement) ? document.activeElement : null;
  const address = active && active.getAttribute("href");
  const next = document.importNode(fresh, true);
  part.replaceWith(next);
  if (address) {
    for (const link of next.querySelectorAll("a")) {
      if (link.getAttribute("href") === address) { link.focus({ preventScroll: true }); break; }
    }
  }
}

async function load() {
  const address = new URL(location.href);
  address.hash = "";
  address.searchParams.set("live", "1");
  const answer = await fetch(address, { cache: "no-store" });
  if (answer.status === 401) { location.reload(); return; }
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  localise(page);
  for (const part of document.querySelectorAll("[data-live]")) {
    const fresh = page.getElementById(part.id);
    if (fresh && !part.isEqualNode(fresh)) swap(part, fresh);
  }
}

let due = null;
let busy = false;
let loadedAt = 0;
let listeners = 1;

/** A moment of this browser's own: none for the only one, so that a crowd does not ask all at once. */
function turn() {
  return Math.random() * Math.min(CROWD_MS * (listeners - 1), CROWD_MOST_MS);
}

/** Load soon: at once after a quiet time, else once the pace allows, so that a burst of events costs little. */
function refresh() {
  if (due !== null) return;
  due = setTimeout(async () => {
    due = null;
    if (busy) { refresh(); return; }
    busy = true;
    try { await load(); } catch { /* the stream says when the control plane is away */ }
    busy = false;
    loadedAt = performance.now();
  }, Math.max(0, PACE_MS - (performance.now() - loadedAt)) + turn());
}

function follow(address) {
  const news = new EventSource(address);
  news.addEventListener("open", () => { say("live", false); refresh(); });
  news.addEventListener("happened", (event) => { listeners = JSON.parse(event.data).listeners; refresh(); });
  news.addEventListener("missed", refresh);
  news.addEventListener("error", () => {
    say("connection lost", true);
    if (news.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 3000);
  });
  setInterval(() => { if (!document.hidden) refresh(); }, IDLE_MS);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
}

function followLog(log) {
  let begun = false;
  const news = new EventSource(log.dataset.log);
  news.addEventListener("open", () => { begun = false; });
  news.addEventListener("line", (event) => {
    const body = JSON.parse(event.data);
    const low = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    if (!begun) { log.replaceChildren(); begun = true; }
    const node = document.createElement("span");
    node.textContent = body.node;
    const line = document.createElement("p");
    line.append(node, body.line);
    log.append(line);
    while (log.childElementCount > MOST_LINES) log.firstElementChild.remove();
    if (low) log.scrollTop = log.scrollHeight;
  });
  news.addEventListener("over", () => news.close());
}

localise(document);
const main = document.querySelector("main[data-news]");
if (main) follow(main.dataset.news);
const log = document.querySelector("[data-log]");
if (log) { log.scrollTop = log.scrollHeight; followLog(log); }
