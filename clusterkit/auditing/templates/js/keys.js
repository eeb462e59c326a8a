// The keyboard: letters act on the card or cluster that j and k have come to.
function here() {
  // A card that was reached with Tab or the mouse is the one that is meant.
  const box = document.activeElement?.closest("#cards > *");
  if (box) {
    const at = state.page * perPage() + [...find("cards").children].indexOf(box);
    if (at !== state.at) state.ended = false;
    state.at = at;
    mark();
  }
  return state.rows[state.at];
}

function chooseLabel(number) {
  const thing = here();
  if (searched) return saySearch();
  if (!thing || !known[number] || atEnd()) return;
  if (state.tab === "clusters") checkCluster(thing, known[number]);
  else if (reviewable(thing)) label(thing, known[number]);
}

// The row of tools lies over the upper end of the list.
const barHeight = () => document.querySelector(".tools").offsetHeight;

// What is not on the screen is not decided: the key brings it there first.
function hidden() {
  const box = current();
  if (!box) return true;
  const { top, bottom } = box.getBoundingClientRect();
  const seen = Math.min(bottom, innerHeight) - Math.max(top, barHeight());
  if (seen >= 0.4 * Math.min(bottom - top, innerHeight)) return false;
  go(state.at);
  say("This is the image or cluster that the key would be for: press it again to decide.");
  return true;
}

// After the last decision the place cannot move on: the next key is not meant for it again.
function atEnd() {
  if (hidden()) return true;
  if (state.ended) say("That was the last one here; k goes back.");
  return state.ended;
}

function onCard(work) {
  const thing = here();
  if (!thing || atEnd()) return;
  if (state.tab !== "clusters" && !reviewable(thing)) return say("An image that could not be read has no label.", true);
  work(thing);
}

function acceptCluster() {
  say("No guess is good enough for a whole cluster: look at its images, and write a name.", true);
}

const byCluster = () => state.tab === "clusters";
const keys = {
  j: () => { here(); go(state.started ? state.at + 1 : state.at); state.started = true; },
  k: () => { here(); go(state.ended ? state.at : state.at - 1); },
  a: () => onCard((thing) => (byCluster() ? acceptCluster(thing) : accept(thing))),
  x: () => onCard((thing) => (byCluster() ? setCluster(thing, "reject", "") : reject(thing))),
  s: () => onCard((thing) => (byCluster() ? setCluster(thing, "skip", "") : skip(thing))),
  l: () => onCard((thing) => (byCluster() ? current().querySelector(".naming input").focus() : openLabel(thing))),
  n: nextOpen,
  u: undo,
  Enter: openCurrent,
  "?": () => find("help").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (!event.target.closest("dialog") && document.querySelector("dialog:modal")) {
    // Whatever lost the focus, keys are for what lies on top.
    if (inFocus() && !document.querySelector("dialog:modal:not(#focus)")) keyInFocus(event);
    return;
  }
  if (!event.target.closest("dialog") && historyKey(event)) return;
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  const typing = event.target.closest("input:not([type=range]), select, textarea, dialog");
  if (event.key === "Escape" && typing && !event.target.closest("dialog")) {
    event.target.blur();
    go(state.at);
    return;
  }
  if (event.key === "Escape") return closeOpen();
  if (typing) return;
  // Enter presses what has the focus.
  if (event.key === "Enter" && event.target.closest("button, a, summary")) return;
  // A key that is held down must not decide what nobody has looked at.
  if (event.repeat && event.key !== "j" && event.key !== "k") return;
  const digit = /^[1-9]$/.test(event.key) ? Number(event.key) - 1 : -1;
  if (digit < 0 && !Object.hasOwn(keys, event.key)) return;
  event.preventDefault();
  state.started = state.started || event.key !== "j";
  if (digit >= 0) chooseLabel(digit);
  else keys[event.key]();
});

// What lies over the list goes away.
function closeOpen() {
  find("finish").hidden = true;
  if (find("filters").open) {
    find("filters").open = false;
    find("filters").querySelector("summary").focus();
  }
}
