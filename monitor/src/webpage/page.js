// Keeps the page current: fetches it again and takes over the sections that changed. Text stays text: what is fetched is
// this agent's own page, in which everything is escaped already, and scripts in a parsed document never run.
"use strict";
const EVERY = 5000;
const button = document.getElementById("pause");
const age = document.getElementById("age");
let paused = false;
let last = Date.now();

function keep(old, fresh) {
  // What is open stays open.
  for (const details of old.querySelectorAll("details[open]")) {
    const same = [...fresh.querySelectorAll("details")].find((other) => other.dataset.key === details.dataset.key);
    if (same) same.open = true;
  }
}

function take(page) {
  for (const section of document.querySelectorAll("main > section")) {
    const fresh = page.getElementById(section.id);
    if (!fresh || section.contains(document.activeElement)) continue;
    keep(section, fresh);
    if (!section.isEqualNode(fresh)) section.replaceWith(document.importNode(fresh, true));
  }
  document.title = page.title;
}

async function refresh() {
  if (!paused && !document.hidden) {
    try {
      const answer = await fetch("/", { cache: "no-store" });
      if (answer.ok) {
        take(new DOMParser().parseFromString(await answer.text(), "text/html"));
        last = Date.now();
      }
    } catch { /* The age says that nothing came. */ }
  }
  tell();
  setTimeout(refresh, EVERY);
}

function tell() {
  const seconds = Math.round((Date.now() - last) / 1000);
  const text = paused ? "paused" : seconds > 3 * EVERY / 1000 ? `no answer for ${seconds} s` : "live";
  // A reader of the screen hears of changes, not of each time.
  if (age.textContent !== text) age.textContent = text;
}

button.hidden = false;
button.addEventListener("click", () => {
  paused = !paused;
  button.textContent = paused ? "Go on with updates" : "Pause updates";
  tell();
});
tell();
setTimeout(refresh, EVERY);
