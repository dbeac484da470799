"use strict";
const byId = (id) => document.getElementById(id);

// Theme: the reader's system decides until the button is used; the choice is kept where the browser allows it.
const root = document.documentElement;
const remember = (theme) => { try { localStorage.setItem("forgeline-theme", theme); } catch { /* a file: page may not */ } };
const remembered = () => { try { return localStorage.getItem("forgeline-theme"); } catch { return null; } };
const wanted = new URLSearchParams(location.search).get("theme") || remembered();
if (wanted) root.dataset.theme = wanted;
byId("theme").addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  remember(root.dataset.theme);
});

function element(tag, text, ...children) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

// Tables: a click on a header sorts by it, a second click turns the order round; cells without a value stay last. The
// headers hold buttons, so the keyboard does the same.
for (const table of document.querySelectorAll("table.sortable")) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => header.addEventListener("click", () => {
    const descending = header.getAttribute("aria-sort") === "ascending";
    headers.forEach((other) => other.setAttribute("aria-sort", "none"));
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const value = (row) => row.cells[column]?.dataset.sort ?? "";
    const compare = (a, b) => (Number.isNaN(Number(a)) || Number.isNaN(Number(b)) ? a.localeCompare(b) : a - b);
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      if (value(a) === "" || value(b) === "") return (value(a) === "") - (value(b) === "");
      return compare(value(a), value(b)) * (descending ? -1 : 1);
    });
    table.tBodies[0].append(...rows);
  }));
}

// Models: rows of the tables by a part of the name.
const wantedModels = byId("models");
wantedModels?.addEventListener("input", () => {
  const part = wantedModels.value.trim().toLowerCase();
  for (const row of document.querySelectorAll("tr[data-model]")) row.hidden = !row.dataset.model.toLowerCase().includes(part);
  const rows = [...document.querySelectorAll("#board tr[data-model]")];
  byId("models-shown").textContent = part ? `${rows.filter((row) => !row.hidden).length} of ${rows.length} shown` : "";
});

// Cost: the drawings of one score at a time.
byId("cost-score")?.addEventListener("change", (event) => {
  for (const charts of document.querySelectorAll(".cost-charts")) charts.hidden = charts.dataset.score !== event.target.value;
});

// Experiments: each box shows or hides the curves of one revision.
for (const box of document.querySelectorAll("#experiments input[data-line]")) {
  box.addEventListener("change", () => {
    for (const line of document.querySelectorAll("#experiments .line")) {
      if (line.dataset.name === box.dataset.line) line.classList.toggle("off", !box.checked);
    }
  });
}

// Curves: the pointer's step and the nearest value of every line.
const tip = byId("tip");
for (const chart of document.querySelectorAll("svg.hover")) {
  const lines = [...chart.querySelectorAll("path[data-points]")].map((path) => ({
    path,
    name: path.dataset.name,
    points: path.dataset.points.split(";").map((point) => point.split(",").map(Number)),
  }));
  const cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
  cursor.setAttribute("class", "cursor");
  cursor.setAttribute("y1", "12");
  cursor.setAttribute("y2", "212");
  chart.addEventListener("pointermove", (event) => {
    const x = new DOMPoint(event.clientX, event.clientY).matrixTransform(chart.getScreenCTM().inverse()).x;
    const seen = lines.filter(({ path }) => !path.classList.contains("off"));
    if (!seen.length) return;
    const nearest = seen.map(({ name, points }) => {
      const point = points.reduce((best, next) => (Math.abs(next[2] - x) < Math.abs(best[2] - x) ? next : best));
      return { name, point };
    });
    const at = nearest[0].point;
    cursor.setAttribute("x1", at[2]);
    cursor.setAttribute("x2", at[2]);
    chart.append(cursor);
    const text = nearest.map(({ name, point }) => `${name} ${point[1]}${point[0] === at[0] ? "" : ` (step ${point[0]})`}`);
    tip.textContent = [`step ${at[0]}`, ...text].join("\n");
    tip.hidden = false;
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${event.clientY + 14}px`;
  });
  chart.addEventListener("pointerleave", () => { tip.hidden = true; cursor.remove(); });
}
