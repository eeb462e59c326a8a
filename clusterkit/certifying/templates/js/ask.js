// One image, large, and one answer: a key counts only for what has been seen.
const now = { mode: "intro", kind: "new", number: -1, loaded: false, since: 0, began: 0, naming: false, note: "", again: -1, undone: -1, settling: false };
const SOON = 250; // milliseconds that an image must have been there
const REPEAT_EVERY = 20, REPEAT_BACK = 10;
const inFocus = () => now.mode === "ask" || now.mode === "practice";
const current = () => (now.mode === "practice" ? data.practice[now.number] : data.images[now.number]);
const shownName = () => current()?.image || "";

function say(text, alarm = false) {
  for (const place of document.querySelectorAll(".said")) {
    place.textContent = text;
    place.classList.toggle("alarm", alarm);
  }
}

// After every 20 new answers, the image of about 10 answers before: how far a reader agrees with themselves.
function repeatDue() {
  if (now.again >= 0) return now.again;
  const order = ownOrder().filter((one) => !one.settled).map(({ id }) => imagesById.get(id));
  const done = (image) => said.again.has(`${me()} ${image.image_id}`);
  const most = Math.floor(order.length / REPEAT_EVERY);
  if (order.filter(done).length >= most) return -1;
  for (let round = 1; round <= most; round++) {
    const from = round * REPEAT_EVERY - REPEAT_BACK - 1;
    const found = order.slice(from, from + REPEAT_BACK).find((image) => image.picture && !image.lost && !isSettled(said.last.get(image.image_id).note));
    if (found && !done(found)) return found.number;
  }
  return -1;
}

// Which image comes, and why; null: none.
function nextUp() {
  if (now.settling) {
    const [number] = unsettled();
    return number === undefined ? null : { kind: "settle", number };
  }
  if (now.undone >= 0) return { kind: "new", number: now.undone };
  const repeat = repeatDue();
  if (repeat >= 0) return { kind: "repeat", number: repeat };
  const number = roleOf() === "second" ? nextToReread() : situation().next;
  return number < 0 ? null : { kind: "new", number };
}

// After an answer, and when answering begins.
function advance() {
  const state = situation();
  if (!state.certified) kept.past = false;
  const next = nextUp();
  const news = !now.settling && roleOf() === "first" && next?.kind === "new" && now.undone < 0
    && ((state.certified && !kept.past) || (!state.within && !kept.beyond));
  if (!next || news) return openEnd();
  Object.assign(now, next, { mode: "ask", note: "", naming: false });
  showImage();
  redraw();
}

function showImage() {
  const image = current();
  now.loaded = false;
  fit();
  const canvas = find("pane-own").querySelector(".canvas");
  find("stage").dataset.seen = "";
  if (!image.picture) return noPicture(canvas, "There is no picture of this image. It counts as “can't tell”.");
  const picture = make("img");
  picture.alt = "The image that is asked about";
  picture.draggable = false;
  picture.src = image.picture;
  canvas.wanted = picture;
  picture.decode().then(() => {
    if (canvas.wanted !== picture) return;
    canvas.replaceChildren(picture);
    viewSoon();
    // From the frame on in which it is seen.
    requestAnimationFrame(() => {
      if (canvas.wanted !== picture) return;
      Object.assign(now, { loaded: true, since: performance.now() });
      find("stage").dataset.seen = image.image_id || image.picture;
    });
  }, () => {
    if (canvas.wanted === picture) noPicture(canvas, "The picture was not found. Is the folder thumbs beside index.html? If it is lost for good, the image counts as “can't tell”.");
  });
  preload();
}

// Nothing can be said of what nobody sees.
function noPicture(canvas, text) {
  canvas.wanted = null;
  if (now.mode === "ask") imagesById.get(current().image_id).lost = true;
  canvas.replaceChildren(make("p", "none", text));
  Object.assign(now, { loaded: true, since: performance.now() });
  find("stage").dataset.seen = current().image_id || "none";
  say(text, true);
  redraw();
}

const isLost = () => now.mode === "ask" && now.number >= 0 && Boolean(imagesById.get(current().image_id).lost);

// The one that comes if this one is answered as labelled is there before it is asked for.
function preload() {
  if (now.mode !== "ask" || now.settling) return;
  const seen = (number) => (number === now.number ? 0 : lossOf(number));
  const number = roleOf() === "second" ? -1 : nextImage(plan, seen);
  const source = data.images[number]?.picture;
  if (!source) return;
  now.warm = new Image();
  now.warm.src = source;
}

function ready() {
  if (!inFocus() || document.querySelector("dialog:modal")) return false;
  if (!now.loaded) say("The image is not there yet: press it again.");
  else if (performance.now() - now.since < SOON) say("That was too soon for this image: look, and press it again.");
  else return true;
  return false;
}

const lookOf = (image) => `${me()} ${image.image_id}`;
const isShown = (image) => data.show_label || kept.shown.includes(lookOf(image));

// `decision` and `label` as in reviews.csv; `words` begin the note.
function answer(decision, label, words = "") {
  if (!ready()) return;
  if (now.mode === "practice") return practised(words || label);
  if (isLost() && words !== CANNOT_TELL) return say("There is no picture of this image: it can only count as “can't tell”.", true);
  const image = current();
  const shown = isShown(image) ? "label shown" : "";
  const parts = isLost() ? [words, "no picture"] : [words, shown];
  if (now.began) kept.seconds.push(Math.min(120, (performance.now() - now.began) / 1000));
  now.began = performance.now();
  kept.seconds.splice(0, kept.seconds.length - 20);
  if (now.kind === "repeat") {
    const first = said.standing.get(image.image_id).get(me());
    add(rowFor(image, first.decision, first.label, [`asked again: ${words || label}`, now.note].filter(Boolean).join("; ")));
    now.again = -1;
  } else {
    add(rowFor(image, decision, label, [...parts, now.note, now.kind === "settle" ? "settled" : ""].filter(Boolean).join("; ")));
    now.undone = -1;
  }
  now.last = { kind: now.kind, number: now.number };
  say(`Answered: ${words || label}. Undo takes it back.`);
  advance();
}

const isPredicted = (label) => label === current().predicted_label;
const answerLabel = (label) => answer(isPredicted(label) ? "accept" : "relabel", label);
const cannotTell = () => answer("reject", "", CANNOT_TELL);
const noneOfThese = () => answer("reject", "", NONE_OF_THESE);

// With the label in sight: y and n.
function answerYes() {
  if (!now.naming) answerLabel(current().predicted_label || current().label);
}

function answerNo() {
  if (!ready() || now.naming) return;
  const other = data.classes.filter((name) => name !== (current().predicted_label || current().label));
  if (data.classes.length === 2 && other.length === 1) return answerLabel(other[0]);
  now.naming = true;
  say("Which one is it?");
  redraw();
}

// The last answer of this reader is asked once more; what was written stays, and a row says that it was taken back.
function undo() {
  if (now.mode === "practice") return say("Practice does not count: there is nothing to take back.");
  if (now.naming) {
    now.naming = false;
    return redraw();
  }
  if (now.last?.kind === "repeat" && now.kind !== "repeat") {
    Object.assign(now, { again: now.last.number, last: null });
    return advance();
  }
  const order = ownOrder();
  const last = order.at(-1);
  if (!last) return say("There is nothing to undo.");
  const image = imagesById.get(last.id);
  const before = said.blind.get(last.id)?.get(me());
  // A skip would take back this reader's own first answer as well.
  if (last.settled && before) add(rowFor(image, before.decision, before.label, [before.note, "undone"].filter(Boolean).join("; ")));
  else add(rowFor(image, "skip", "", "undone"));
  Object.assign(now, { undone: last.settled ? -1 : image.number, again: -1, last: null });
  kept.finished = false;
  keep();
  advance();
  say("Undone: this image is asked again. The undo is counted.");
}

function showLabel() {
  if (now.mode !== "ask" || data.show_label) return;
  const look = lookOf(current());
  if (!kept.shown.includes(look)) kept.shown.push(look);
  keep();
  say("The label is shown. This is counted.");
  redraw();
}
