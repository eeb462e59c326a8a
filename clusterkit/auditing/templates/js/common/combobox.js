// A field with a list below it, from which arrows and Enter take one.
const SHOWN_LABELS = 8;

// Names that hold every word that was typed, the best first: `first` ranks, then those with a part that begins so.
function namesLike(text, among, first) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const begins = (name) => words.every((word) => name.toLowerCase().split(/[^\p{L}\p{N}]+/u).some((part) => part.startsWith(word)));
  return among.filter((name) => name && words.every((word) => name.toLowerCase().includes(word)))
    .map((name) => ({ name, rank: name === text ? 3 : first(name) ? 2 : begins(name) ? 1 : 0 }))
    .sort((a, b) => b.rank - a.rank).slice(0, SHOWN_LABELS).map(({ name }) => ({ name, words: name }));
}

// `optionsFor(text)` says what is offered, each with `name` and `words`; `choose()` takes the one that is marked.
function combobox(field, list, optionsFor, choose) {
  const box = { options: [], at: 0 };
  box.marked = () => box.options[box.at]?.name;
  box.refresh = () => {
    const text = field.value.trim();
    box.options = optionsFor(text);
    // Nothing was typed: Enter alone must not give the image a label.
    box.at = text ? 0 : -1;
    draw();
  };
  function draw() {
    list.replaceChildren(...box.options.map((option, number) => {
      const row = make("li", "", option.words);
      row.id = `${list.id}-${number}`;
      row.setAttribute("role", "option");
      row.setAttribute("aria-selected", String(number === box.at));
      row.addEventListener("click", () => {
        box.at = number;
        choose();
      });
      return row;
    }));
    field.setAttribute("aria-expanded", String(box.options.length > 0));
    if (box.options[box.at]) field.setAttribute("aria-activedescendant", `${list.id}-${box.at}`);
    else field.removeAttribute("aria-activedescendant");
    find(`${list.id}-${box.at}`)?.scrollIntoView({ block: "nearest" });
  }
  field.setAttribute("role", "combobox");
  field.setAttribute("aria-autocomplete", "list");
  field.setAttribute("aria-controls", list.id);
  list.hidden = false;
  field.addEventListener("input", box.refresh);
  field.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !box.options.length) return;
    event.preventDefault();
    const count = box.options.length;
    box.at = box.at < 0 ? (step > 0 ? 0 : count - 1) : (box.at + step + count) % count;
    draw();
  });
  return box;
}
