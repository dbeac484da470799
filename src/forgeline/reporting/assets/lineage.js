// Lineage: a click on a stage lights up everything before and after it, and shows what dvc.lock knows about it.
const stages = JSON.parse(byId("stages").textContent);
const edges = [...document.querySelectorAll(".edge")];
function reach(start, from, to) {
  const found = new Set([start]);
  for (const name of found) edges.filter((edge) => edge.dataset[from] === name).forEach((edge) => found.add(edge.dataset[to]));
  return found;
}
function artefacts(title, entries) {
  const items = entries.map(([path, md5]) => element("li", `${path} `, element("code", md5.slice(0, 12))));
  return entries.length ? [...(title ? [element("h4", title)] : []), element("ul", "", ...items)] : [];
}
function folded(title, content) {
  return content.length ? [element("details", "", element("summary", title), ...content)] : [];
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
  byId("stage-choice").value = name;
  byId("stage").replaceChildren(
    element("h3", name),
    ...(stage.locked ? [] : [element("p", "Not in dvc.lock yet.")]),
    element("pre", stage.command),
    ...folded("data card", stage.card ? [element("div", "", byId("card").content.cloneNode(true))] : []),
    ...settings("parameters", stage.params),
    ...settings("figures", stage.figures),
    ...artefacts("inputs", stage.deps),
    ...artefacts("outputs", stage.outs),
    ...folded(`code (${stage.code.length})`, artefacts("", stage.code)),
  );
}
for (const node of document.querySelectorAll(".node")) {
  node.addEventListener("click", () => show(node.dataset.stage));
  node.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); show(node.dataset.stage); } });
}
// A graph wider than its box begins in view where the data comes in.
const box = document.querySelector(".lineage .scroll");
const firstNode = document.querySelector(".node");
if (firstNode) box.scrollLeft = firstNode.getBoundingClientRect().left - box.getBoundingClientRect().left - box.clientWidth / 2;
byId("stage-choice").addEventListener("change", (event) => {
  if (!event.target.value) return;
  show(event.target.value);
  const node = document.querySelector(`.node[data-stage="${CSS.escape(event.target.value)}"]`);
  node.scrollIntoView({ block: "nearest", inline: "center" });
});
if (location.hash.startsWith("#stage=")) show(decodeURIComponent(location.hash.slice(7)));
