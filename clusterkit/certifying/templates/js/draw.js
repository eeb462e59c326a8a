// What is on the screen now: one of five screens, and beside the image what can be answered.
const SCREENS = ["intro", "paused", "end", "work"];

function showScreen(name) {
  for (const screen of SCREENS) find(screen).hidden = screen !== name;
  find("pause").hidden = name !== "work";
  find("undo").hidden = now.mode !== "ask";
}

function redraw() {
  const state = situation();
  showScreen(inFocus() ? "work" : now.mode);
  document.body.dataset.mode = now.mode;
  drawLine(state);
  drawCounts(state);
  find("who").textContent = kept.reader && now.mode !== "intro" ? kept.reader : "";
  find("export").hidden = served || !local.size;
  if (inFocus()) drawAsking();
  if (now.mode === "intro") drawIntro();
  if (now.mode === "end") drawEnd(state);
  if (now.mode === "paused") find("paused-text").textContent = `${plural(ownOrder().length, "image")} answered. Nothing is lost: close the page, and come back whenever you like.`;
}

// Keys of the classes: digits, a letter of the name that does nothing else, and arrows where there are two.
const TAKEN = new Set(["u", "c", "m", "p", "z", "s", "x", "l", "y", "r"]);
const ARROWS = ["ArrowLeft", "ArrowRight"];
const ARROW_WORDS = { ArrowLeft: "←", ArrowRight: "→" };
const searched = data.classes.length > 9;
const choices = searched ? [] : data.classes.map((label, number) => {
  const letter = [...label.toLowerCase()].find((one) => /^[a-z]$/.test(one) && !TAKEN.has(one)) || "";
  TAKEN.add(letter);
  const arrow = data.classes.length === 2 ? ARROWS[number] : "";
  return { label, keys: [String(number + 1), letter, arrow].filter(Boolean) };
});

function choiceButton(text, keys, work) {
  const one = button("", work, "choice");
  one.append(make("span", "", text));
  const caps = make("span", "caps");
  caps.append(...keys.map((key) => keyCap(ARROW_WORDS[key] || key)));
  one.append(caps);
  one.setAttribute("aria-keyshortcuts", keys.map((key) => (key === " " ? "Space" : key)).join(" "));
  return one;
}

function drawAsking() {
  const practice = now.mode === "practice";
  const image = current();
  find("banner").hidden = !(practice || now.kind === "settle" || isLost());
  if (practice) find("banner").textContent = `Practice ${now.number + 1} of ${data.practice.length}: it does not count.`;
  else if (now.kind === "settle") find("banner").textContent = `To settle: ${saidText(now.number)}. The next answer is the one that holds.`;
  else if (isLost()) find("banner").textContent = "No picture: this image counts as “can't tell”.";
  find("feedback").hidden = !(practice && now.feedback);
  find("feedback-text").textContent = now.feedback || "";
  drawChoices(practice && Boolean(now.feedback));
  find("skip-practice").hidden = !practice;
  const shown = !practice && isShown(image);
  find("shown").hidden = !shown && !data.show_label;
  find("shown").textContent = `Label: ${image.predicted_label || image.label}`;
  find("show-label").hidden = practice || shown || data.show_label || now.kind === "settle";
  find("note").hidden = practice;
  find("noted").textContent = now.note ? `Note: ${now.note}` : "";
  drawRecent();
}

function drawChoices(off) {
  const drawn = JSON.stringify([data.show_label, now.naming, now.naming && current().predicted_label]);
  if (find("choices").dataset.drawn !== drawn) {
    find("choices").dataset.drawn = drawn;
    find("choices").replaceChildren(...currentChoices());
  }
  find("search").hidden = !searched || (data.show_label && !now.naming);
  for (const one of document.querySelectorAll("#choices button, #none, #cannot-tell, #label-text")) one.disabled = off || (isLost() && one.id !== "cannot-tell");
  find("none").hidden = data.show_label && !now.naming;
}

function currentChoices() {
  if (data.show_label && !now.naming)
    return [choiceButton("No, another", ["n", ARROWS[0]], answerNo), choiceButton("Yes, right", ["y", ARROWS[1]], answerYes)];
  return choices.filter(({ label }) => !now.naming || label !== current().predicted_label)
    .map(({ label, keys }) => choiceButton(label, keys, () => answerLabel(label)));
}

// The last three answers, for a reader who wonders what was pressed.
function drawRecent() {
  const last = now.mode === "practice" ? [] : ownOrder().slice(-3).reverse();
  find("recent").replaceChildren(...last.map(({ id }) => {
    const image = imagesById.get(id);
    const word = wordOf(said.standing.get(id).get(me()));
    const box = make("figure");
    if (image.picture) {
      const picture = make("img");
      picture.alt = "";
      picture.src = image.picture;
      box.append(picture);
    }
    box.append(make("figcaption", "", word));
    return box;
  }));
  find("recent-title").hidden = !last.length;
}
