// With more classes than keys 1 to 9, a label is found by typing parts of it.
const searched = data.classes.length > 9;
const SHOWN_LABELS = 8;
const search = { options: [], at: 0 };

// Labels that hold every word that was typed; first those that the card asks about, then those with a part that begins so.
function labelsLike(text, card) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const asks = new Set([...card.words.candidates, ...card.matches.map((match) => match.label)]);
  const begins = (name) => words.every((word) => name.toLowerCase().split(/[^\p{L}\p{N}]+/u).some((part) => part.startsWith(word)));
  return known.filter((name) => name && words.every((word) => name.toLowerCase().includes(word)))
    .map((name) => ({ name, rank: name === text ? 3 : asks.has(name) ? 2 : begins(name) ? 1 : 0 }))
    .sort((a, b) => b.rank - a.rank).slice(0, SHOWN_LABELS).map(({ name }) => ({ name, words: name }));
}

function searchLabels() {
  if (!searched) return;
  const text = find("label-text").value.trim();
  search.options = labelsLike(text, labelling);
  if (text && !known.includes(text)) search.options.push({ name: text, words: `New label: ${text}` });
  // Nothing was typed: Enter alone must not give the image a label.
  search.at = text ? 0 : -1;
  drawFound();
}

function drawFound() {
  const field = find("label-text");
  find("label-found").replaceChildren(...search.options.map((option, number) => {
    const row = make("li", "", option.words);
    row.id = `label-found-${number}`;
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", String(number === search.at));
    row.addEventListener("click", () => {
      search.at = number;
      find("label-form").requestSubmit();
    });
    return row;
  }));
  field.setAttribute("aria-expanded", String(search.options.length > 0));
  if (search.options[search.at]) field.setAttribute("aria-activedescendant", `label-found-${search.at}`);
  else field.removeAttribute("aria-activedescendant");
  find(`label-found-${search.at}`)?.scrollIntoView({ block: "nearest" });
}

// What Enter sets: the label that is marked in the list, else what was typed.
const typedLabel = () => (searched && search.options[search.at]?.name) || find("label-text").value;

function saySearch() {
  say(`There are ${data.classes.length} labels: press l, and type a part of one.`);
}

function watchSearch() {
  if (!searched) return;
  const field = find("label-text");
  field.removeAttribute("list");
  field.setAttribute("role", "combobox");
  field.setAttribute("aria-autocomplete", "list");
  field.setAttribute("aria-controls", "label-found");
  find("label-found").hidden = false;
  find("digits-help").hidden = true;
  field.addEventListener("input", searchLabels);
  field.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !search.options.length) return;
    event.preventDefault();
    const count = search.options.length;
    search.at = search.at < 0 ? (step > 0 ? 0 : count - 1) : (search.at + step + count) % count;
    drawFound();
  });
}
