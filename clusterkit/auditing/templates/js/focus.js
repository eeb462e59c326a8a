// One image, large: looked at, compared and decided.
const large = { card: null, match: 0, flick: false, heat: false, ready: false, beside: innerWidth > 700, flicked: 0, pressed: 0 };
const inFocus = () => find("focus").open;
const shownName = () => large.card?.image || "";

function openFocus(card) {
  if (!card) return;
  if (!find("focus").open) find("focus").showModal();
  // Not the first button: a blank must not press it.
  find("focus").focus();
  fit();
  showFocus(card);
}

// From the list: the image that j and k have come to.
function openCurrent() {
  const thing = here();
  if (!thing) return;
  if (state.tab === "clusters") say("Press “Show its cards” to see a cluster's images large.");
  else openFocus(thing);
}

// Draws the image anew, with the matches from the first.
function showFocus(card) {
  if (large.card !== card) {
    Object.assign(large, { match: 0, flick: false });
    // All of it; the greys stay, as images of one batch are alike in them.
    Object.assign(view, { zoom: 1, x: 0, y: 0 });
  }
  large.card = card;
  find("focus-title").textContent = card.words.title;
  find("focus-tag").className = `tag ${card.status}`;
  find("focus-tag").textContent = statusWord(card.status);
  find("focus-file").textContent = find("focus-file").title = card.image;
  const row = state.rows.indexOf(card);
  find("focus-at").textContent = row < 0 ? "" : `${(row + 1).toLocaleString("en")} of ${state.rows.length.toLocaleString("en")}`;
  showPanes();
  drawDeciding();
  for (const next of state.rows.slice(row + 1, row + 3)) preload(next);
}

const warmed = new Map();

// The next ones are there before they are asked for.
function preload(card) {
  const source = card.full || card.thumb;
  if (!source || warmed.has(source)) return;
  const image = new Image();
  image.src = source;
  warmed.set(source, image);
  if (warmed.size > 6) warmed.delete(warmed.keys().next().value);
}

function showPanes() {
  const { card } = large;
  const match = card.matches[large.match];
  const swapped = large.flick && match;
  const beside = Boolean(match) && large.beside && !swapped;
  find("stage").classList.toggle("single", !beside);
  find("pane-match").hidden = !beside;
  large.ready = false;
  fill(find("pane-own"), swapped ? match : card, swapped ? heatOf(match, "cam") : heatOf(card),
    swapped ? matchText(match) : "this image", swapped ? `labelled ${match.label}` : "this image");
  if (beside) fill(find("pane-match"), match, heatOf(match, "cam"), matchText(match), `labelled ${match.label}`);
  drawTools();
}

const matchText = (match) => `${large.card.words.captions[large.match] || `labelled ${match.label}`} · ${match.image} · ${large.match + 1} of ${large.card.matches.length}`;

// The heat map that lies over a picture; of the card, the one that is chosen in the list.
function heatOf(thing, kind) {
  if (kind) return thing[kind];
  const own = thing.matches[large.match]?.own_cam;
  return state.layer === "classifier_cam" ? thing.classifier_cam || own : own || thing.classifier_cam;
}

function fill(pane, thing, heat, text, alt) {
  const canvas = pane.querySelector(".canvas");
  pane.querySelector(".what").textContent = text;
  const own = pane.id === "pane-own";
  const source = thing.full || thing.thumb;
  if (!source) return lost(canvas, own);
  const image = make("img");
  image.alt = alt;
  image.draggable = false;
  image.plain = !thing.full;
  image.src = source;
  image.decode().then(() => arrived(canvas, image, own, heat), () => {
    // A link to a file that is gone, or that this server does not show.
    if (image.plain || !thing.thumb) return lost(canvas, own, image);
    image.plain = image.gone = true;
    image.src = thing.thumb;
    image.decode().then(() => arrived(canvas, image, own, heat), () => lost(canvas, own, image));
  });
  canvas.wanted = image;
}

// Only what is wanted still is put there: pictures may come in another order.
function arrived(canvas, image, own, heat) {
  if (canvas.wanted !== image) return;
  canvas.replaceChildren(image);
  greyed(image);
  if (large.heat) layOver(canvas, image, heat);
  if (own) {
    large.ready = true;
    find("focus").dataset.seen = large.flick ? "" : large.card.image_id;
  }
  viewSoon();
}

function lost(canvas, own, image) {
  if (image && canvas.wanted !== image) return;
  if (image) tellLost();
  canvas.wanted = null;
  canvas.replaceChildren(make("span", "", image ? "picture not found: is the folder thumbs beside index.html?" : "no picture"));
  if (own) large.ready = true;
}

// A heat map covers what the model saw: all of a squished image, the middle square of a cropped one, more than all of
// a padded one. A thumbnail shows just that.
function layOver(canvas, image, heat) {
  if (!heat) {
    canvas.append(make("div", "note", "no heat map"));
    return;
  }
  const over = photo(heat, "over", "");
  over.loading = "eager";
  const { clientWidth, clientHeight } = canvas;
  const scale = Math.min(clientWidth / image.naturalWidth, clientHeight / image.naturalHeight);
  let width = image.naturalWidth * scale, height = image.naturalHeight * scale;
  if (!image.plain && data.resize !== "squish") width = height = (data.resize === "crop" ? Math.min : Math.max)(width, height);
  Object.assign(over.style, { width: `${width}px`, height: `${height}px`,
    left: `${(clientWidth - width) / 2}px`, top: `${(clientHeight - height) / 2}px` });
  canvas.append(over);
}

// What is done with the picture, as buttons that say their key.
function drawTools() {
  const { card } = large;
  const drawn = [large.heat, large.flick, large.beside, Math.min(2, card.matches.length)].join();
  if (large.drawn === drawn) return;
  large.drawn = drawn;
  const tool = (text, key, work, pressed) => {
    const one = action(text, key, work);
    if (pressed !== undefined) one.setAttribute("aria-pressed", String(pressed));
    return one;
  };
  const found = [tool("Smaller", "-", lookKeys["-"]), tool("All", "0", fit), tool("1:1", "z", onePixel), tool("Larger", "+", lookKeys["+"]),
    tool("Darker", "[", lookKeys["["]), tool("Brighter", "]", lookKeys["]"]), tool("Reset", "r", plainGreys),
    tool("Heat map", "h", toggleHeat, large.heat)];
  if (card.matches.length) found.push(tool("Flicker", "f", flicker, large.flick));
  if (card.matches.length > 1) found.push(tool("Next match", "m", nextMatch));
  if (card.matches.length) found.push(tool("Beside", "b", toggleBeside, large.beside));
  const at = [...find("view-tools").children].indexOf(document.activeElement);
  find("view-tools").replaceChildren(...found);
  if (at >= 0) find("view-tools").children[Math.min(at, found.length - 1)].focus();
}

// Once a key, however much it has changed.
function drawSoon() {
  large.stale = true;
  queueMicrotask(() => { if (large.stale && inFocus()) drawDeciding(); });
}

function drawDeciding() {
  large.stale = false;
  const { card } = large;
  const verdict = verdictOf(card);
  find("focus").dataset.decision = verdict ? verdict.decision : "";
  find("focus-decided").textContent = reviewable(card) ? [verdictText(verdict, card), readersText(card)].filter(Boolean).join("; ") : "could not be read: it has no label";
  drawActions(card);
  find("focus-digits").hidden = searched || !reviewable(card);
  if (large.names !== known.join("|")) {
    large.names = known.join("|");
    find("focus-digits").replaceChildren(...digitButtons((number) => focusDecide((own) => label(own, known[number]))));
  }
  drawRecent();
  // The button that was pressed is another one now.
  if (document.activeElement === document.body) find("focus").focus();
}

// Anew only where they differ from those of the image before: most keys change none.
function drawActions(card) {
  const drawn = [reviewable(card), novel(card), card.predicted_label, steps.length === 0].join();
  if (large.actions === drawn) return;
  large.actions = drawn;
  const found = [action("Back", "k", focusKeys.k), action("Next", "j", focusKeys.j), action("Next open", "n", nextOpen)];
  if (reviewable(card)) {
    const reject = action("Reject", "x", focusKeys.x);
    reject.classList.add("thumb");
    found.unshift(reject, action("Skip", "s", focusKeys.s), action("Label…", "l", focusKeys.l));
    const guessed = card.predicted_label && !novel(card);
    if (guessed) found.unshift(action(`Accept ${card.predicted_label}`, "a", focusKeys.a));
    // On a phone two of them are large, below the thumbs.
    (guessed ? found[0] : found[2]).classList.add("thumb");
  }
  const back = action("Undo", "u", undo);
  back.disabled = steps.length === 0;
  found.push(back);
  find("focus-actions").replaceChildren(...found);
}

// Buttons that are there stay, with their pictures.
function drawRecent() {
  const before = [...find("recent").children];
  const found = recentCards().map((card) => before.find((one) => one.card === card) || recentButton(card));
  const at = found.indexOf(document.activeElement);
  if (found.length !== before.length || found.some((one, place) => one !== before[place])) find("recent").replaceChildren(...found);
  if (at >= 0) found[at].focus();
  for (const one of found) tellRecent(one);
}

function recentButton(card) {
  const one = button("", () => reopen(card));
  one.card = card;
  one.append(card.thumb ? photo(card.thumb, "", "") : make("span", "", "no picture"));
  return one;
}

function tellRecent(one) {
  const verdict = verdictOf(one.card);
  one.dataset.decision = verdict ? verdict.decision : "";
  one.title = `${one.card.image}: ${verdictText(verdict, one.card)}`;
  one.setAttribute("aria-label", one.title);
  if (one.card === large.card) one.setAttribute("aria-current", "true");
  else one.removeAttribute("aria-current");
}

// A decision of before: in its place of the list, or beside the list where a filter hides it.
function reopen(card) {
  const row = state.rows.indexOf(card);
  if (row >= 0) go(row);
  else showFocus(card);
}

// A decision is about what is seen: the picture is there, and it is this image and not its match.
function focusDecide(work) {
  const { card } = large;
  if (!reviewable(card)) return say("An image that could not be read has no label.", true);
  if (large.flick) {
    flicker();
    return say("This is the image that the key would be for: press it again to decide.");
  }
  if (!large.ready) return say("The image is not there yet: press it again.");
  if (state.rows[state.at] === card && state.ended) return say("That was the last one here; k goes back, n finds an open one.");
  work(card);
}

function flicker() {
  if (!large.card.matches.length) return say("There is no labelled image to compare with.");
  large.flick = !large.flick;
  showPanes();
}

function nextMatch() {
  const count = large.card.matches.length;
  if (!count) return say("There is no labelled image to compare with.");
  // On a phone none lies beside it yet: the first press shows the one that is next.
  if (large.beside || large.flick) large.match = (large.match + 1) % count;
  else large.beside = true;
  showPanes();
}

function toggleBeside() {
  large.beside = !large.beside;
  showPanes();
}

function toggleHeat() {
  large.heat = !large.heat;
  showPanes();
}

const focusKeys = {
  j: () => goFocus(state.at + 1), k: () => goFocus(state.ended ? state.at : state.at - 1),
  n: nextOpen, a: () => focusDecide(accept), x: () => focusDecide(reject), s: () => focusDecide(skip),
  l: () => focusDecide(openLabel), u: undo, m: nextMatch, b: toggleBeside, "?": () => find("help").showModal(),
};
focusKeys.ArrowRight = focusKeys.ArrowDown = focusKeys.j;
focusKeys.ArrowLeft = focusKeys.ArrowUp = focusKeys.k;
const walking = ["j", "k", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"];

function goFocus(row) {
  // Back from an old decision that the list does not show.
  if (state.rows[state.at] !== large.card && state.rows[state.at]) return showFocus(state.rows[state.at]);
  if (row >= state.rows.length) return say("That was the last one here.");
  if (row < 0) return say("This is the first one.");
  go(row);
}

function keyInFocus(event) {
  // Where brackets are typed with AltGr, that is no shortcut.
  const shortcut = (event.ctrlKey || event.altKey || event.metaKey) && !event.getModifierState("AltGraph");
  if (historyKey(event) || shortcut || event.isComposing) return;
  const { key } = event;
  if (key === "h" || key === "f") return holdKey(event);
  const digit = /^[1-9]$/.test(key) ? Number(key) - 1 : -1;
  const look = Object.hasOwn(lookKeys, key);
  if (digit < 0 && !look && !Object.hasOwn(focusKeys, key)) return;
  event.preventDefault();
  if (look) return lookKeys[key]();
  if (event.repeat && !walking.includes(key)) return;
  if (digit < 0) focusKeys[key]();
  else if (searched) saySearch();
  else if (known[digit]) focusDecide((card) => label(card, known[digit]));
}

// h and f: tapped they stay, held they last as long as the key is down; f held goes to and fro.
function holdKey(event) {
  event.preventDefault();
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (event.repeat) {
    if (event.key === "f" && !still && event.timeStamp - large.flicked > 400) {
      large.flicked = event.timeStamp;
      flicker();
    }
    return;
  }
  large.pressed = large.flicked = event.timeStamp;
  if (event.key === "h") toggleHeat();
  else flicker();
}

function letGo(event) {
  if (event.timeStamp - large.pressed < 400) return;
  if (event.key === "h") toggleHeat();
  if (event.key === "f" && large.flick) flicker();
}

// The next image, from here on and then from the start, of which nothing is said yet.
function nextOpen() {
  if (state.tab === "clusters") return say("Clusters have no next open image.");
  const order = [...state.rows.keys()].map((row) => (state.at + 1 + row) % state.rows.length);
  const row = order.find((at) => isOpen(state.rows[at]));
  if (row !== undefined) return go(row);
  say("Nothing is open here.");
  if (inFocus()) find("focus").close();
  openFinish();
}

function watchFocus() {
  const box = find("focus");
  box.addEventListener("keydown", keyInFocus);
  document.addEventListener("keyup", (event) => { if (inFocus()) letGo(event); });
  box.addEventListener("close", () => {
    warmed.clear();
    for (const pane of box.querySelectorAll(".canvas")) pane.replaceChildren();
    drawVerdicts();
    go(state.at);
  });
  find("focus-close").addEventListener("click", () => box.close());
  find("cards").addEventListener("click", (event) => {
    const shown = event.target.closest(".pair .picture");
    const card = shown?.closest(".card")?.card;
    if (!card) return;
    go(state.rows.indexOf(card), false);
    openFocus(card);
  });
  addEventListener("resize", () => { if (inFocus()) pan(0, 0); });
  watchStage();
}
