// Samples: unpacked by the browser, then searched and shown a few at a time.
const PAGE = 20;
const packed = byId("samples-data")?.textContent ?? "";
const head = JSON.parse(byId("samples-head")?.textContent ?? "null");
const parents = JSON.parse(byId("parents").textContent);
let questions = [];
let matching = [];
let numShown = 0;

async function unpack(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const text = await new Response(stream).text();
  return text.trimEnd().split("\n").map((line) => {
    const [task, id, prompt, reference, answers, given] = JSON.parse(line);
    return { task, id, prompt, reference, answers, given };
  });
}
const words = (name) => name.replaceAll("_", " ");
const verdictOf = (question, model) => question.answers[question.given[model]]?.[0];
function matches(question, model, verdict) {
  const asked = question.given.map((_, index) => index).filter((index) => question.given[index] >= 0);
  const among = model === null ? asked : asked.filter((index) => index === model);
  if (!among.length) return false;
  if (verdict === "") return true;
  if (verdict === "differ") return new Set(asked.map((index) => verdictOf(question, index) === "right")).size > 1;
  if (verdict === "gained" || verdict === "lost") {
    return among.some((index) => {
      const parent = head.models.indexOf(parents[head.models[index]]);
      const [ours, theirs] = [verdictOf(question, index), verdictOf(question, parent)];
      if (typeof ours !== "string" || theirs === undefined) return false;
      return verdict === "gained" ? ours === "right" && theirs !== "right" : ours !== "right" && theirs === "right";
    });
  }
  return among.some((index) => verdictOf(question, index) === verdict);
}
function searchable(question) {
  question.text ??= [question.id, question.prompt, question.reference, ...question.answers.map((answer) => answer.slice(1).join("\n"))].join("\n").toLowerCase();
  return question.text;
}
function marked(tag, text, className) {
  const made = element(tag);
  made.className = className;
  for (const part of text.split(/(<\|[^|]{1,40}\|>)/)) {
    const special = /^<\|.*\|>$/.test(part);
    made.append(special ? Object.assign(element("span", part), { className: "special" }) : part);
  }
  return made;
}
function answerOf(names, [verdict, output, parsed]) {
  const made = element("div");
  const isDocument = typeof verdict === "number";
  made.className = `answer ${isDocument ? "" : verdict === "right" ? "right" : "wrong"}`;
  const sign = isDocument ? "" : verdict === "right" ? "✓" : "✗";
  const who = element("p", "", Object.assign(element("span", sign), { className: "verdict" }), ` ${names.join(", ")}`);
  who.className = "who";
  who.append(Object.assign(element("span", isDocument ? ` ${verdict.toFixed(3)} bits per byte` : ` ${verdict}`), { className: "said-verdict" }));
  made.append(who);
  if (!isDocument) made.append(Object.assign(element("p", output.trim() || "(nothing)"), { className: "said" }));
  if (parsed !== undefined) made.append(Object.assign(element("p", `parsed: ${parsed}`), { className: "parsed" }));
  return made;
}
function card(question, model) {
  const article = element("article");
  article.className = "question";
  article.dataset.task = question.task;
  article.append(Object.assign(element("p", `${words(question.task)} `, element("code", question.id)), { className: "task" }));
  article.append(marked("pre", question.prompt, "prompt"));
  if (question.reference) article.append(Object.assign(element("p", "", element("b", "right answer"), ` ${question.reference}`), { className: "reference" }));
  const parent = model === null ? -1 : head.models.indexOf(parents[head.models[model]]);
  const chosen = model === null ? head.models.map((_, index) => index) : parent < 0 ? [model] : [parent, model];
  const answers = Object.assign(element("div"), { className: "answers" });
  for (const number of new Set(chosen.map((index) => question.given[index]).filter((it) => it >= 0))) {
    const names = chosen.filter((index) => question.given[index] === number).map((index) => head.models[index]);
    answers.append(answerOf(names, question.answers[number]));
  }
  article.append(answers);
  return article;
}
function showMore() {
  const model = byId("model").value === "" ? null : Number(byId("model").value);
  byId("questions").append(...matching.slice(numShown, numShown + PAGE).map((question) => card(question, model)));
  numShown = Math.min(numShown + PAGE, matching.length);
  byId("more").hidden = numShown >= matching.length;
  byId("shown").textContent = `${matching.length.toLocaleString("en")} of ${questions.length.toLocaleString("en")} match`;
}
function filterSamples() {
  const task = byId("task").value;
  const model = byId("model").value === "" ? null : Number(byId("model").value);
  const verdict = byId("verdict").value;
  const part = byId("find").value.trim().toLowerCase();
  matching = questions.filter((question) => (!task || question.task === task) && matches(question, model, verdict) && (!part || searchable(question).includes(part)));
  byId("questions").replaceChildren();
  numShown = 0;
  showMore();
}
function option(value, text) {
  return Object.assign(element("option", text), { value });
}
function describeSamples() {
  const cut = Object.entries(head.tasks).filter(([, { shown, total }]) => shown < total);
  const said = cut.map(([task, { shown, total }]) => `${words(task)} ${shown.toLocaleString("en")} of ${total.toLocaleString("en")}`);
  const left = said.length ? `To keep the page small it holds a part of the questions: ${said.join(", ")}. ` : "Every question is here. ";
  const middle = head.num_cut ? `The middle of ${head.num_cut.toLocaleString("en")} long texts is left out. ` : "";
  const where = said.length || head.num_cut ? "All of it is in data/evaluate/<model>/samples.jsonl." : "";
  byId("samples-note").append(element("span", ` ${left}${middle}${where}`));
}
async function startSamples() {
  byId("task").append(option("", "all"), ...Object.keys(head.tasks).map((task) => option(task, words(task))));
  byId("model").append(...head.models.map((model, index) => option(index, model)));
  for (const id of ["task", "model", "verdict"]) byId(id).addEventListener("change", filterSamples);
  byId("find").addEventListener("input", filterSamples);
  byId("more").addEventListener("click", showMore);
  document.querySelectorAll("a.drill").forEach((link) => link.addEventListener("click", () => {
    byId("task").value = link.dataset.task;
    byId("model").value = head.models.indexOf(link.dataset.model);
    byId("verdict").value = "";
    byId("find").value = "";
    filterSamples();
  }));
  describeSamples();
  if (typeof DecompressionStream === "undefined") {
    byId("shown").textContent = "this browser cannot unpack the samples: it is older than 2023";
    return;
  }
  questions = packed ? await unpack(packed) : [];
  filterSamples();
}
if (head && byId("questions")) startSamples();
