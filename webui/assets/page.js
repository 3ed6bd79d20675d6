// Follows what is shown while it changes, and writes local times beside those in UTC.
// The pages can be read without it.
"use strict";

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const local = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "medium" });

function localTimes(root) {
  if (zone === "UTC") return;
  for (const note of document.querySelectorAll(".local-note")) note.hidden = false;
  for (const t of root.querySelectorAll("time:not([title])")) {
    const own = local.format(new Date(t.dateTime));
    t.title = own + " " + zone;
    const text = document.createElement("span");
    text.className = "local";
    text.textContent = " " + own;
    t.after(text);
  }
}

// follow asks for the page again and puts in what has changed, without touching what
// the reader has opened, or the place that is being read.
function follow() {
  let live = document.getElementById("live");
  if (!live || !("live" in live.dataset)) return;
  for (const note of document.querySelectorAll(".live-note")) note.hidden = false;
  let tag = "", wait = 2000;
  const ask = async () => {
    if (document.hidden) return later();
    try {
      const begun = performance.now();
      const answer = await fetch(location.href, { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" });
      if (answer.status === 200) {
        tag = answer.headers.get("ETag") || "";
        put(new DOMParser().parseFromString(await answer.text(), "text/html"));
        wait = Math.max(2000, 10 * (performance.now() - begun)); // a page that takes long is asked for seldom
      } else if (answer.status !== 304) {
        wait = Math.min(wait * 2, 60000);
      }
    } catch {
      wait = Math.min(wait * 2, 60000); // the server is away: it may come back
    }
    later();
  };
  const later = () => { if ("live" in live.dataset) setTimeout(ask, wait); };
  const put = (page) => {
    const next = page.getElementById("live");
    if (!next) return;
    const open = new Set([...live.querySelectorAll("li[id] > details[open]")].map((d) => d.parentElement.id));
    for (const id of open) {
      const item = next.querySelector("#" + CSS.escape(id) + " > details");
      if (item) item.open = true;
    }
    const focus = document.activeElement && live.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    for (const note of next.querySelectorAll(".live-note")) note.hidden = false;
    live.replaceWith(next);
    live = next;
    localTimes(live);
    if (focus) live.querySelector('a[href="' + CSS.escape(focus) + '"]')?.focus({ preventScroll: true });
  };
  later();
}

localTimes(document);
follow();
