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

// Tables: a click on a header sorts by it, a second click turns the order round; cells without a value stay last.
for (const table of document.querySelectorAll("table.sortable")) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => header.addEventListener("click", () => {
    const descending = header.getAttribute("aria-sort") === "ascending";
    headers.forEach((other) => other.setAttribute("aria-sort", "none"));
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const value = (row) => row.cells[column].dataset.sort;
    const compare = (a, b) => (Number.isNaN(Number(a)) || Number.isNaN(Number(b)) ? a.localeCompare(b) : a - b);
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      if (value(a) === "" || value(b) === "") return (value(a) === "") - (value(b) === "");
      return compare(value(a), value(b)) * (descending ? -1 : 1);
    });
    table.tBodies[0].append(...rows);
  }));
}

// Curves: the pointer's step and the nearest value of every line.
const tip = byId("tip");
for (const chart of document.querySelectorAll("svg.hover")) {
  const lines = [...chart.querySelectorAll("path[data-points]")].map((path) => ({
    name: path.dataset.name,
    points: path.dataset.points.split(";").map((point) => point.split(",").map(Number)),
  }));
  const cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
  cursor.setAttribute("class", "cursor");
  cursor.setAttribute("y1", "12");
  cursor.setAttribute("y2", "212");
  chart.addEventListener("pointermove", (event) => {
    const x = new DOMPoint(event.clientX, event.clientY).matrixTransform(chart.getScreenCTM().inverse()).x;
    const nearest = lines.map(({ name, points }) => {
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

// Samples: by task, and only those on which the models differ.
const questions = [...document.querySelectorAll(".question")];
function filterQuestions() {
  const task = byId("task").value;
  const disagree = byId("disagree").checked;
  for (const question of questions) {
    question.hidden = (task && question.dataset.task !== task) || (disagree && question.dataset.agreed === "yes");
  }
  byId("shown").textContent = `${questions.filter((question) => !question.hidden).length} of ${questions.length} shown`;
}
if (questions.length) {
  byId("task").addEventListener("change", filterQuestions);
  byId("disagree").addEventListener("change", filterQuestions);
  filterQuestions();
}

// Lineage: a click on a stage lights up everything before and after it, and shows what dvc.lock knows about it.
const stages = JSON.parse(byId("stages").textContent);
const edges = [...document.querySelectorAll(".edge")];
function reach(start, from, to) {
  const found = new Set([start]);
  for (const name of found) edges.filter((edge) => edge.dataset[from] === name).forEach((edge) => found.add(edge.dataset[to]));
  return found;
}
function element(tag, text, ...children) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}
function artefacts(title, entries) {
  const items = entries.map(([path, md5]) => element("li", `${path} `, element("code", md5.slice(0, 12))));
  return entries.length ? [element("h4", title), element("ul", "", ...items)] : [];
}
function settings(title, values) {
  const empty = Object.keys(values).length === 0;
  const text = Object.entries(values).map(([name, value]) => `${name}: ${typeof value === "object" ? JSON.stringify(value, null, 1) : value}`);
  return empty ? [] : [element("h4", title), element("pre", text.join("\n"))];
}
function show(name) {
  const stage = stages[name];
  const before = reach(name, "to", "from");
  const after = reach(name, "from", "to");
  for (const node of document.querySelectorAll(".node")) {
    const related = before.has(node.dataset.stage) || after.has(node.dataset.stage);
    node.classList.toggle("related", related);
    node.classList.toggle("chosen", node.dataset.stage === name);
  }
  for (const edge of edges) {
    const { from, to } = edge.dataset;
    edge.classList.toggle("related", (before.has(from) && before.has(to)) || (after.has(from) && after.has(to)));
  }
  byId("stage").replaceChildren(
    element("h3", name),
    ...(stage.locked ? [] : [element("p", "Not in dvc.lock yet.")]),
    element("pre", stage.command),
    ...settings("parameters", stage.params),
    ...settings("figures", stage.figures),
    ...artefacts("inputs", stage.deps),
    ...artefacts("outputs", stage.outs),
  );
}
for (const node of document.querySelectorAll(".node")) {
  node.addEventListener("click", () => show(node.dataset.stage));
  node.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); show(node.dataset.stage); } });
}
if (location.hash.startsWith("#stage=")) show(decodeURIComponent(location.hash.slice(7)));
