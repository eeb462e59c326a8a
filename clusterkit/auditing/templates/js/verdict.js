// What stands under a card or a cluster: the decision so far, and the ways to decide.
function verdictText(verdict, own) {
  if (!verdict) return own.status === "reviewed" ? "answered in the check" : "not decided";
  const label = ["accept", "relabel"].includes(verdict.decision) ? `: ${verdict.label}` : "";
  return decisionWords[verdict.decision] + label + (verdict.from === "cluster" ? ` (as cluster ${own.cluster})` : "");
}

function showVerdict(box) {
  const card = box.card;
  const place = box.querySelector(".verdict");
  if (!place) return;
  const verdict = verdictOf(card);
  box.dataset.decision = verdict ? verdict.decision : "";
  const status = make("p", "decided", verdictText(verdict, card));
  const row = make("div", "actions");
  if (card.predicted_label && !novel(card)) {
    // Where the card asks which of several it is, the button says which one it takes.
    row.append(action(card.words.candidates.length > 1 ? `accept ${card.predicted_label}` : "accept", "a", () => accept(card)));
  }
  row.append(action("reject", "x", () => reject(card)), action("skip", "s", () => skip(card)),
    action("label…", "l", () => openLabel(card)));
  const noted = verdicts.get(card.image_id);
  if (disagreeing.has(card.image_id)) status.append(make("span", "noted", `; ${disagreeing.get(card.image_id)}`));
  const readers = readersText(card);
  if (readers) status.append(make("span", "noted", `; ${readers}`));
  if (noted?.note) status.append(make("span", "noted", ` “${noted.note}”`));
  place.replaceChildren(status, row);
}

function setImage(card, decision, label, note) {
  const before = verdicts.get(card.image_id);
  const noted = settledNote(card, note ?? (before ? before.note : ""));
  disagreeing.delete(card.image_id);
  decide(card.image_id, verdictFor(card.image, decision, label, noted));
  redraw();
  say([`${card.image}: ${verdictText(verdictOf(card), card)}`, readersText(card)].filter(Boolean).join("; "));
  advance(card);
}

function accept(card) {
  if (novel(card)) say("This image is like nothing labelled: choose or write a label, or reject.", true);
  else if (card.predicted_label) setImage(card, "accept", card.predicted_label);
  else say("There is no label to accept: choose one, or reject.", true);
}

const reject = (card) => setImage(card, "reject", "");
const skip = (card) => setImage(card, "skip", "");

function label(card, text, note) {
  setImage(card, text === card.predicted_label ? "accept" : "relabel", text, note);
}

// The dialog for any label: known names are offered, new ones may be written.
let labelling = null;

function openLabel(card) {
  labelling = card;
  find("label-of").textContent = card.image;
  const own = verdicts.get(card.image_id);
  find("label-text").value = own?.label ? own.label : "";
  find("label-note").value = own ? own.note : "";
  find("label-error").textContent = "";
  find("label-dialog").showModal();
  find("label-text").select();
  search?.refresh();
}

function closeLabel(event) {
  event.preventDefault();
  const found = checkLabel(typedLabel());
  if (found.error) {
    find("label-error").textContent = found.error;
    find("label-text").focus();
    return;
  }
  settleName(found.label, (name) => {
    find("label-dialog").close();
    addName(name);
    label(labelling, name, find("label-note").value.trim().slice(0, 2000));
  });
}

// Labels 1 to 9: the classes, then names given here. A number never changes its name.
const known = [...data.classes];

function addName(name) {
  if (known.includes(name)) return;
  known.push(name);
  showNames();
}

function showNames() {
  find("names").replaceChildren(...known.filter(Boolean).map((name) => {
    const option = make("option");
    option.value = name;
    return option;
  }));
  find("digits").replaceChildren(...(searched ? [action(`one of ${data.classes.length}…`, "l", () => keys.l())] : digitButtons(chooseLabel)));
  find("own").hidden = ownNames().length === 0;
}

// A merged name has left its number empty.
function digitButtons(work) {
  return known.slice(0, 9).map((name, number) => {
    const one = button("", () => work(number));
    one.append(keyCap(String(number + 1)), make("span", "", name));
    one.title = name;
    one.setAttribute("aria-keyshortcuts", String(number + 1));
    return name && one;
  }).filter(Boolean);
}
