// One image: what it is, what the models looked at, and what a person says of it.
function photo(source, className, alt) {
  const image = make("img", className);
  image.loading = "lazy";
  image.decoding = "async";
  image.alt = alt;
  image.src = source;
  return image;
}

// Said once, for as long as the page is open.
function tellLost() {
  find("lost").hidden = false;
}

document.addEventListener("error", ({ target }) => {
  if (target.tagName !== "IMG") return;
  target.hidden = true;
  tellLost();
}, true);

// A picture with the heat maps that can be laid over it.
function picture(plain, overlays, alt) {
  const box = make("div", "picture");
  if (!plain) {
    box.append(make("span", "", "no picture"));
    return box;
  }
  const image = photo(plain, "", alt);
  image.addEventListener("error", () => box.replaceChildren(make("span", "", "picture not found")));
  box.append(image);
  box.overlays = overlays;
  lay(box);
  return box;
}

function lay(box) {
  if (!box.overlays) return;
  for (const old of box.querySelectorAll(".over, .note")) old.remove();
  if (state.layer === "none") return;
  const source = box.overlays[state.layer];
  box.append(source ? photo(source, "over", "") : make("div", "note", "no overlay"));
}

function captioned(box, ...lines) {
  const figure = make("figure");
  const caption = make("figcaption");
  for (const line of lines) caption.append(make("div", "", line));
  figure.append(box, caption);
  return figure;
}

function pair(card) {
  const box = make("div", "pair");
  const shown = card.matches[0];
  const own = picture(card.thumb, { cam: shown ? shown.own_cam : null, classifier_cam: card.classifier_cam },
    "this image");
  box.append(captioned(own, "this image"));
  if (!shown) return box;
  const side = make("div");
  const choose = (match) => {
    side.replaceChildren(captioned(picture(match.thumb, { cam: match.cam }, `labelled ${match.label}`),
      card.words.captions[card.matches.indexOf(match)]));
    if (own.overlays) own.overlays.cam = match.own_cam;
    lay(own);
    for (const other of box.querySelectorAll(".others button"))
      other.setAttribute("aria-pressed", String(other.match === match));
  };
  box.append(side);
  if (card.matches.length > 1) box.append(strip(card, choose));
  choose(shown);
  return box;
}

// The labelled images that the card was compared with, to choose from.
function strip(card, choose) {
  const box = make("div", "others");
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", "Labelled images to compare with");
  card.matches.forEach((match, number) => {
    const one = button("", () => choose(match));
    one.match = match;
    one.title = `${match.label}: ${match.image}`;
    if (match.thumb) one.append(photo(match.thumb, "", ""));
    one.append(make("span", "", match.label));
    one.setAttribute("aria-label", `match ${number + 1}: ${card.words.captions[number]}`);
    box.append(one);
  });
  return box;
}

// How sure the label is: a bar for eyes, and the words of the run. No number is made here.
function meter(card) {
  const box = make("div", "confidence");
  if (!["duplicate", "reviewed"].includes(card.status) && card.confidence !== null) {
    const bar = make("div", "meter");
    bar.setAttribute("aria-hidden", "true");
    const fill = make("b");
    fill.style.width = percent(card.confidence, 0);
    bar.append(fill);
    box.append(bar);
  }
  box.append(make("p", "sure", card.words.sure));
  return box;
}

const statusWord = (status) => data.status_words[status] || status[0].toUpperCase() + status.slice(1);

function filterButton(text, id, value) {
  const one = button(text, () => {
    find(id).value = find(id).value === String(value) ? "" : String(value);
    if (state.tab === "clusters") state.tab = "all";
    show();
  });
  one.setAttribute("aria-pressed", String(find(id).value === String(value)));
  return one;
}

function chips(card) {
  const box = make("div", "chips");
  if (card.cluster !== null) box.append(filterButton(`cluster ${card.cluster}`, "cluster", card.cluster));
  if (card.group) box.append(filterButton(card.group, "group", card.group));
  return box;
}

function more(card) {
  const box = make("details");
  box.append(make("summary", "", "All evidence"));
  const list = make("dl");
  for (const [name, value] of card.words.evidence) list.append(make("dt", "", name), make("dd", "", value));
  box.append(list);
  return box;
}

function draw(card) {
  const box = make("article", "card");
  box.tabIndex = -1;
  box.card = card;
  const title = make("h3");
  title.append(make("span", "", card.words.title), make("span", "tag " + card.status, card.words.status));
  box.append(title, make("p", "file", card.image));
  if (card.status !== "failed") box.append(pair(card));
  // For an image of no known class, confidence among the known ones means nothing.
  if (card.words.sure) box.append(meter(card));
  if (card.words.why) box.append(make("p", "reason", card.words.why));
  if (card.status !== "failed") box.append(chips(card));
  if (reviewable(card)) box.append(make("div", "verdict"));
  if (card.status !== "failed") box.append(more(card));
  showVerdict(box);
  return box;
}
