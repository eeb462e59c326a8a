// Puts the parts together.
const labelSearch = searched ? combobox(find("label-text"), find("label-found"), (text) => namesLike(text, data.classes, () => false), () => find("search").requestSubmit()) : null;

const pressed = {
  start: () => start(roleOf()), second: () => start("second"), pause, undo, "go-on": goOn, export: exportReviews, "end-export": exportReviews,
  "unkept-export": exportReviews, "show-label": showLabel, note: openNote, examples: openTypical, none: noneOfThese, "cannot-tell": cannotTell,
  "end-on": endGoOn, "end-finish": finish, "end-undo": undo, settle, stop: openEnd, "change-reader": changeReader, "next-practice": () => practise(now.number + 1),
  "skip-practice": () => practise(data.practice.length),
};
for (const [id, work] of Object.entries(pressed)) find(id).addEventListener("click", work);
const tools = [["Smaller", "-"], ["All", "0"], ["1:1", "z"], ["Larger", "+"], ["Darker", "["], ["Brighter", "]"], ["Reset", "r"]];
find("view-tools").replaceChildren(...tools.map(([text, key]) => action(text, key, lookKeys[key])));
find("start-form").addEventListener("submit", (event) => {
  event.preventDefault();
  find("start").click();
});
find("reader").addEventListener("input", drawIntro);
find("note-form").addEventListener("submit", takeNote);
find("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const label = labelSearch.marked();
  if (!label) return say("Type a part of the label, and choose it in the list.");
  if (!ready()) return;
  answerLabel(label);
  find("label-text").value = "";
  labelSearch.refresh();
});
for (const one of document.querySelectorAll("[data-import]")) one.addEventListener("click", () => find("file").click());
find("file").addEventListener("change", async (event) => {
  const [file] = event.target.files;
  if (file) await importReviews(file);
  // The same file may be chosen again.
  event.target.value = "";
});
for (const one of document.querySelectorAll("[data-help]")) one.addEventListener("click", () => find("help").showModal());
for (const one of document.querySelectorAll("dialog [data-close]")) one.addEventListener("click", () => one.closest("dialog").close());
addEventListener("resize", () => { if (inFocus()) pan(0, 0); });

find("examples").hidden = !data.typical.length;
watchStage();
load();
find("reader").value = kept.reader;
watchSaving();
redraw();
