// Before and after: what will be asked, practice, a pause, and what came of it.
function drawIntro() {
  const seat = seatOf(find("reader").value);
  const own = (said.order.get(seat) || []).length;
  const others = answered().filter((image) => [...said.standing.get(image.image_id).keys()].some((one) => one !== seat));
  find("welcome").hidden = !own;
  find("welcome").textContent = `Welcome back: ${count(own)} answered.`;
  find("start").textContent = own ? "Go on" : "Start";
  const choose = seat && !own && others.length > 0;
  find("second").hidden = !choose;
  find("second").textContent = `Read the same ${plural(others.length, "image")} as a second reader`;
  if (choose) find("start").textContent = "Go on with the next images";
  const { more, within } = situation();
  find("takes").textContent = answered().length || !within ? "" : `If all answers agree with the labels, it takes ${plural(more, "answer")}; each that differs adds some. At most ${plural(Math.min(data.budget, data.images.length), "image")} are asked.`;
}

function start(role) {
  const name = find("reader").value.trim();
  if (!name) {
    find("name-error").textContent = "Write your name first: the certificate names who has answered.";
    return find("reader").focus();
  }
  find("name-error").textContent = "";
  kept.reader = name;
  if (role) kept.roles[me()] = role;
  Object.assign(now, { settling: false, undone: -1, again: -1, last: null, began: 0 });
  keep();
  find("work").focus();
  if (data.practice.length && !kept.practised && !ownOrder().length) return practise(0);
  if (kept.finished) return openEnd();
  advance();
}

// Labelled images, to try the keys: answers are not kept, and what is right is said.
function practise(number) {
  if (number >= data.practice.length) {
    kept.practised = true;
    keep();
    say("Practice is over: from here on it counts.");
    return advance();
  }
  Object.assign(now, { mode: "practice", kind: "new", number, feedback: "", naming: false });
  showImage();
  redraw();
}

function practised(word) {
  if (now.feedback) return;
  const { label } = current();
  now.naming = false;
  now.feedback = word === label ? `${word}: so it is labelled.` : `You said ${word}. It is labelled ${label}.`;
  redraw();
  find("next-practice").focus();
}

function pause() {
  if (!inFocus()) return;
  now.resumes = now.mode;
  now.mode = "paused";
  // Blind while nobody is asked.
  find("pane-own").querySelector(".canvas").replaceChildren();
  find("pane-own").querySelector(".canvas").wanted = null;
  redraw();
  find("go-on").focus();
}

function goOn() {
  now.mode = now.resumes;
  now.began = 0;
  showImage();
  redraw();
  find("work").focus();
}

function openEnd() {
  say("");
  Object.assign(now, { mode: "end", number: -1, undone: -1 });
  redraw();
  find("end-title").focus();
}

function endTitle(state) {
  if (now.settling) return "All disagreements are settled";
  if (roleOf() === "second") return "The second reading is done";
  if (state.certified) return state.all ? "Certified: all that was asked" : "Certified";
  return state.within ? "Not certified yet" : "Not certified within the budget";
}

function drawEnd(state) {
  find("end-title").textContent = endTitle(state);
  find("end-line").textContent = state.certified ? `${certifiedText(state.certified - 1)}.` : lineText(state);
  const shown = [...said.last.values()].filter((row) => /(^|; )label shown/.test(row.note)).length;
  const facts = readers().map(({ seat, name, answers }) => [name, [plural(answers, "image") + " answered", consistencyText(seat),
    said.undone.get(seat) ? `${count(said.undone.get(seat))} undone` : ""].filter(Boolean).join(" · ")]);
  facts.push(["Labels shown before the answer", count(shown)]);
  find("end-facts").replaceChildren(...facts.map(([name, text]) => {
    const row = make("div");
    row.append(make("dt", "", name), make("dd", "", text));
    return row;
  }));
  const second = roleOf() === "second";
  const open = !second && state.next >= 0;
  find("end-on").hidden = !open;
  find("end-on").textContent = open && state.certified && state.within ? `Go on: ${plural(state.more, "more agreeing answer")} for ${count(data.sets[state.certified].labels)} labels`
    : state.within ? "Go on" : "Go on: each further answer narrows what is supported";
  find("end-finish").hidden = kept.finished || second;
  find("end-more").hidden = !kept.finished && !second && open;
  find("end-save").hidden = served;
  find("end-saved").hidden = !served;
  drawAgreement();
  drawDifferences();
}

function drawAgreement() {
  const pairs = readerPairs();
  find("agreement").replaceChildren(...pairs.map(agreementTable));
  const open = unsettled().length;
  find("settle").hidden = !open;
  find("settle").textContent = `Settle ${plural(open, "disagreement")}`;
}

// What the model said, beside what the reader said: only now.
function drawDifferences() {
  const open = unsettled().length;
  const numbers = open ? [] : differing();
  find("differences").hidden = open > 0;
  if (open) find("differences-title").textContent = "Settle what two readers say differently: then the labels that were set are shown";
  else find("differences-title").textContent = numbers.length ? `${plural(numbers.length, "answer")} that ${numbers.length === 1 ? "is" : "are"} not the label` : "Every answer is the label that was set";
  find("differences").replaceChildren(...numbers.map((number) => {
    const image = data.images[number];
    const box = make("figure");
    if (image.picture) {
      const picture = make("img");
      picture.loading = "lazy";
      picture.alt = "";
      picture.src = image.picture;
      box.append(picture);
    }
    const word = wordOf(said.last.get(image.image_id));
    box.append(make("figcaption", "", `answer ${word}, label ${image.predicted_label || "none"}`), make("figcaption", "soft", image.image));
    return box;
  }));
}

function finish() {
  Object.assign(kept, { finished: true, past: true });
  keep();
  redraw();
}

function endGoOn() {
  Object.assign(kept, { finished: false, past: true, beyond: kept.beyond || !situation().within });
  now.settling = false;
  keep();
  advance();
  find("work").focus();
}

// Another person sits down: nothing of the first reading is in sight.
function changeReader() {
  Object.assign(now, { mode: "intro", settling: false });
  find("reader").value = "";
  redraw();
  find("reader").focus();
}

function settle() {
  now.settling = true;
  advance();
}

function openTypical() {
  const box = find("typical-list");
  if (!box.children.length) {
    box.append(...data.typical.flatMap(([label, pictures]) => {
      const row = make("div", "typical");
      row.append(...pictures.map((source) => {
        const picture = make("img");
        picture.alt = `labelled ${label}`;
        picture.src = source;
        return picture;
      }));
      return [make("h3", "", label), row];
    }));
  }
  find("typical").showModal();
}

function openNote() {
  if (now.mode !== "ask") return;
  find("note-text").value = now.note;
  find("note-dialog").showModal();
}

function takeNote(event) {
  event.preventDefault();
  now.note = find("note-text").value.trim().replace(/\s+/g, " ").slice(0, 2000);
  find("note-dialog").close();
  redraw();
}
