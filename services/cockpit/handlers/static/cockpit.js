// Keeps the page live: the server sends fragments of it, this puts them in place.
"use strict";

(() => {
  const words = { wait: "Connecting", up: "Live", down: "Reconnecting" };
  const connection = document.getElementById("connection");
  const latest = new Map(); // fragment id → the HTML last received
  const waiting = new Set(); // fragments held back while the reader selects text in them

  function show(state) {
    connection.dataset.state = state;
    connection.querySelector(".words").textContent = words[state];
  }

  function isBeingSelected(element) {
    const selection = document.getSelection();
    return selection !== null && !selection.isCollapsed && selection.containsNode(element, true);
  }

  // What the reader has done to a fragment: opened details, scrolled tables sideways.
  function remember(element) {
    const open = [...element.querySelectorAll("details[open]")].map((details) => details.id);
    const left = [...element.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
    const focused = element.contains(document.activeElement)
      ? document.activeElement.getAttribute("href") || document.activeElement.getAttribute("aria-label")
      : null;
    return () => {
      for (const id of open) document.getElementById(id)?.setAttribute("open", "");
      element.querySelectorAll(".scroll").forEach((box, index) => {
        box.scrollLeft = left[index] || 0;
      });
      if (focused === null) return;
      [...element.querySelectorAll("a, [tabindex]")]
        .find((node) => (node.getAttribute("href") || node.getAttribute("aria-label")) === focused)
        ?.focus({ preventScroll: true });
    };
  }

  function values(element) {
    const found = new Map();
    for (const node of element.querySelectorAll("[data-tile], [data-action]")) {
      const key = node.dataset.tile || node.dataset.action;
      found.set(key, [node, node.querySelector("[data-value]").textContent]);
    }
    return found;
  }

  function replace(id) {
    const element = document.getElementById(id);
    if (element === null) return;
    if (isBeingSelected(element)) {
      waiting.add(id);
      return;
    }
    waiting.delete(id);
    const before = values(element);
    const restore = remember(element);
    element.innerHTML = latest.get(id);
    restore();
    for (const [key, [node, text]] of values(element)) {
      if (before.has(key) && before.get(key)[1] !== text) node.classList.add("changed");
    }
  }

  document.addEventListener("selectionchange", () => {
    for (const id of [...waiting]) replace(id);
  });

  const day = document.getElementById("day");
  day.addEventListener("change", () => day.form.requestSubmit());

  // The page asks for the day it was drawn for; without one it follows the latest.
  const query = new URLSearchParams(window.location.search);
  const source = new EventSource(`/live?day=${encodeURIComponent(query.get("day") || "")}`);
  source.addEventListener("open", () => show("up"));
  source.addEventListener("error", () => show("down"));
  source.addEventListener("fragment", (event) => {
    const { id, html } = JSON.parse(event.data);
    if (latest.get(id) === html) return;
    latest.set(id, html);
    replace(id);
  });
})();
