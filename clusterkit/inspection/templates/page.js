// Which label is right? One key an answer; answers are rows of a reviews.csv.
const find = (id) => document.getElementById(id);
const data = find("data").dataset;
const questions = JSON.parse(data.questions);
const place = "clusterkit inspect " + data.key;
const answers = new Map(); // number of the finding → {choice, time, reviewer}
const steps = []; // for undo: {finding, before}
const boxes = new Map();
let at = 0;

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function say(text) { find("said").textContent = text; }

const now = () => new Date().toISOString().replace(/\.\d+Z$/, "Z");

// What may be answered: 1 to 9 a label, both (each stays as it is), or can't tell.
function choices(question) {
  const found = question.labels.map((label, number) => ({ key: String(number + 1), choice: "label", label, text: label }));
  if (question.both) found.push({ key: "b", choice: "both", label: "", text: question.labels.length > 2 ? "all are right" : "both are right" });
  found.push({ key: "n", choice: "unknown", label: "", text: "can't tell" });
  return found;
}

function ask(question) {
  const box = find("finding-" + question.finding);
  const row = make("div", "ask");
  row.setAttribute("role", "group");
  row.setAttribute("aria-label", `Finding ${question.finding}: which label is right?`);
  row.append(make("span", "", "Which label is right?"));
  for (const one of choices(question)) {
    const button = make("button", "", one.text + " ");
    button.type = "button";
    button.append(make("kbd", "", one.key));
    button.addEventListener("click", () => { go(questions.indexOf(question), false); answer(question, one); });
    button.choice = one;
    row.append(button);
  }
  box.append(row);
  box.tabIndex = -1;
  boxes.set(question.finding, box);
}

function show() {
  for (const question of questions) {
    const own = answers.get(question.finding);
    for (const button of boxes.get(question.finding).querySelectorAll(".ask button"))
      button.setAttribute("aria-pressed", String(Boolean(own) && own.choice === button.choice.choice && own.label === button.choice.label));
  }
  find("progress").textContent = `${answers.size} of ${questions.length} answered`;
  find("export").disabled = answers.size === 0;
  find("undo").disabled = steps.length === 0;
  for (const [number, question] of questions.entries())
    boxes.get(question.finding).classList.toggle("current", number === at);
}

function answer(question, one) {
  steps.push({ finding: question.finding, before: answers.get(question.finding) || null });
  answers.set(question.finding, { choice: one.choice, label: one.label, time: now(), reviewer: find("reviewer").value.trim() });
  keep();
  const last = at === questions.length - 1;
  say(`Finding ${question.finding}: ${one.text}.` + (last ? " This was the last question: export reviews.csv." : ""));
  if (!last) go(at + 1);
  else show();
}

function undo() {
  const step = steps.pop();
  if (!step) return say("There is nothing to undo.");
  if (step.before) answers.set(step.finding, step.before);
  else answers.delete(step.finding);
  keep();
  go(questions.findIndex((question) => question.finding === step.finding));
  say(`Undone: finding ${step.finding}`);
}

function go(number, scroll = true) {
  if (number < 0 || number >= questions.length) return;
  at = number;
  show();
  const box = boxes.get(questions[at].finding);
  if (!scroll) return;
  box.focus({ preventScroll: true });
  box.scrollIntoView({ block: "center" });
}

// A key must not decide on what nobody sees.
function seen(box) {
  const edge = box.getBoundingClientRect();
  const bottom = window.innerHeight - find("answers").offsetHeight;
  const visible = Math.min(edge.bottom, bottom) - Math.max(edge.top, 0);
  return visible >= Math.min(edge.height, bottom) * 0.6;
}

document.addEventListener("keydown", (event) => {
  if (!questions.length || event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.target.closest("input, textarea, select")) return;
  if (event.key === "u") return undo();
  if (event.key === "j" || event.key === "k") return go(at + (event.key === "j" ? 1 : -1));
  const question = questions[at];
  const one = choices(question).find((choice) => choice.key === event.key);
  if (!one) return;
  if (!seen(boxes.get(question.finding))) {
    go(at);
    return say("This is the question: press the key again.");
  }
  answer(question, one);
});

// Rows of a reviews file: one for each image that a finding is about; can't tell is a skip.
function rows() {
  const found = [];
  for (const question of questions) {
    const own = answers.get(question.finding);
    if (!own) continue;
    for (const image of question.images) {
      const label = own.choice === "label" ? own.label : own.choice === "both" ? image.label : "";
      found.push({ ...image, label, decision: label ? "relabel" : "skip", reviewer: own.reviewer, time: own.time,
        note: own.choice === "unknown" ? "can't tell" : "" });
    }
  }
  return found;
}

function exportReviews() {
  const answered = rows();
  downloadReviews(answered);
  say(`${answered.length} rows exported: clusterkit fit … --reviews reviews.csv`);
}

function keep() {
  try {
    localStorage.setItem(place, JSON.stringify({ answers: [...answers], reviewer: find("reviewer").value }));
  } catch {
    say("This browser does not store answers: export reviews.csv before you leave.");
  }
}

function load() {
  try {
    const saved = JSON.parse(localStorage.getItem(place) || "null");
    if (!saved) return;
    for (const [finding, own] of saved.answers) if (boxes.has(finding)) answers.set(finding, own);
    find("reviewer").value = saved.reviewer;
  } catch {
    answers.clear();
  }
}

if (questions.length) {
  find("answers").hidden = false;
  for (const question of questions) ask(question);
  load();
  const open = questions.findIndex((question) => !answers.has(question.finding));
  at = Math.max(0, open);
  find("undo").addEventListener("click", undo);
  find("export").addEventListener("click", exportReviews);
  find("reviewer").addEventListener("change", keep);
  show();
}
