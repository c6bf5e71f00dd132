// The console works without this file. It adds three comforts: signing in from an address' fragment (which never
// reaches a server or a log), the reader's own time beside UTC, and an order page that follows what happens.
"use strict";

const SOON = 2000;
const LATER = 15000;
const QUIET_AFTER = 60000;

// An address such as /sign-in#token=...&next=/orders/E1001, as the demo prints it.
function signInFromFragment() {
  const form = document.getElementById("sign-in");
  const given = new URLSearchParams(location.hash.slice(1));
  if (!form || !given.get("token")) return;
  form.elements.token.value = given.get("token");
  if (given.get("next")) form.elements.next.value = given.get("next");
  history.replaceState(null, "", location.pathname + location.search);
  form.requestSubmit();
}

function tellLocalTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    time.title = new Date(time.dateTime).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });
  }
}

function clock() {
  return new Date().toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

// Where the keyboard is, as a selector that finds the same place after the page was replaced.
function placeOf(element) {
  const key = element?.tagName === "SUMMARY" && element.parentElement.dataset.key;
  if (key) return `details[data-key="${CSS.escape(key)}"] > summary`;
  const address = element?.tagName === "A" && element.getAttribute("href");
  return address ? `a[href="${CSS.escape(address)}"]` : "";
}

class Follower {
  constructor(live) {
    this.live = live;
    this.html = "";
    this.changedAt = performance.now();
    this.say(`Follows by itself. Shown as of ${clock()}.`, false);
    document.addEventListener("visibilitychange", () => document.hidden || this.look());
    this.wait();
  }

  say(words, stale) {
    const line = document.getElementById("freshness");
    line.textContent = words;
    if (stale) line.setAttribute("role", "alert");
    else line.removeAttribute("role");
    this.live.classList.toggle("stale", stale);
  }

  wait() {
    clearTimeout(this.timer);
    if (!this.live.dataset.refresh) return;
    const quiet = performance.now() - this.changedAt > QUIET_AFTER;
    this.timer = setTimeout(() => this.look(), quiet ? LATER : SOON);
  }

  async look() {
    clearTimeout(this.timer);
    const address = this.live.dataset.refresh;
    if (!address) return;
    if (document.hidden) return this.wait();
    try {
      const answer = await fetch(address, { redirect: "error", cache: "no-store" });
      if (!answer.ok) throw new Error(answer.status === 401 ? "you are signed out" : `the engine answered ${answer.status}`);
      this.show(await answer.text());
    } catch (error) {
      const why = error instanceof TypeError ? "the engine does not answer" : error.message;
      this.say(`Not up to date: ${why}. Reload the page to try again.`, true);
    }
    this.wait();
  }

  show(html) {
    if (html === this.html) return this.shown();
    if (!getSelection().isCollapsed) return this.later();
    this.changedAt = this.html ? performance.now() : this.changedAt;
    this.html = html;
    const open = new Set([...this.live.querySelectorAll("details[open]")].map((item) => item.dataset.key));
    const focused = placeOf(document.activeElement);
    const fresh = new DOMParser().parseFromString(html, "text/html").getElementById("live");
    for (const item of fresh.querySelectorAll("details")) item.open = open.has(item.dataset.key);
    this.live.replaceWith(fresh);
    this.live = fresh;
    if (focused) fresh.querySelector(focused)?.focus({ preventScroll: true });
    tellLocalTimes(fresh);
    this.shown();
  }

  shown() {
    if (this.live.dataset.refresh) this.say(`Follows by itself. Shown as of ${clock()}.`, false);
  }

  // Someone is copying: what they hold is not taken from under them.
  later() {
    this.say("Something changed; it is shown as soon as nothing is selected any more.", true);
  }
}

signInFromFragment();
addEventListener("hashchange", signInFromFragment);
tellLocalTimes(document);
const live = document.getElementById("live");
if (live && live.dataset.refresh) new Follower(live);
