// Puts the parts together.
const tabNames = { refused: "To decide", clusters: "Clusters" };
for (const tab of ["refused", "all", "clusters", ...statuses.slice(1)]) {
  const one = button((tabNames[tab] || statusWord(tab)) + " ", () => {
    state.tab = tab;
    show();
  });
  one.append(make("b"));
  one.dataset.tab = tab;
  find(statuses.indexOf(tab) > 0 ? "statuses" : "tabs").append(one);
}
options("class", names.compare);
options("cluster", (a, b) => a - b);
options("group", names.compare);
for (const id of [...filters, "sort"]) find(id).addEventListener("change", show);

let typed = 0;
find("search").addEventListener("input", () => {
  clearTimeout(typed);
  typed = setTimeout(show, 150);
});
find("clear").addEventListener("click", () => {
  clearFilters();
  find("search").focus({ preventScroll: true });
});
find("size").addEventListener("change", (event) => {
  document.documentElement.style.setProperty("--width", event.target.value);
});
find("opacity").addEventListener("input", (event) => {
  document.documentElement.style.setProperty("--overlay", event.target.value / 100);
  find("strength").textContent = event.target.value + "%";
});
for (const one of document.querySelectorAll("[data-layer]"))
  one.addEventListener("click", () => { state.layer = one.dataset.layer; showLayer(); });
for (const bar of document.querySelectorAll(".pager")) {
  bar.querySelector(".before").addEventListener("click", () => turn(-1));
  bar.querySelector(".after").addEventListener("click", () => turn(1));
}
find("cards").addEventListener("focusin", () => here());
find("label-form").addEventListener("submit", closeLabel);
find("check-name").addEventListener("click", nameChecked);
find("check-cancel").addEventListener("click", () => find("check").close());
find("check-tiles").addEventListener("click", () => {
  find("check-name").textContent = `Name ${plural(namedCount(naming.cluster), "image")} “${naming.name}”`;
});
find("label-cancel").addEventListener("click", () => find("label-dialog").close());
find("resend").addEventListener("click", resend);
find("undo").addEventListener("click", undo);
find("redo").addEventListener("click", redo);
find("start").addEventListener("click", start);
document.addEventListener("click", (event) => {
  if (!event.target.closest("#filters")) find("filters").open = false;
});
for (const id of ["export", "unkept-export"]) find(id).addEventListener("click", exportReviews);
find("import").addEventListener("click", () => find("file").click());
find("file").addEventListener("change", async (event) => {
  const [file] = event.target.files;
  if (file) await importReviews(file);
  // The same file may be chosen again.
  event.target.value = "";
});
for (const one of document.querySelectorAll("[data-help]")) one.addEventListener("click", () => find("help").showModal());
for (const one of document.querySelectorAll("dialog [data-close]"))
  one.addEventListener("click", () => one.closest("dialog").close());

state.layer = data.overlays === "on" && data.cards.some((card) => card.matches.length) ? "cam" : "none";
if (!refusedCards.length) state.tab = "all";
watchFocus();
watchNames();
watchSearch();
watchCompare();
watchSeats();
watchFinish();
load();
showNames();
showLayer();
show();
resume();
state.settled = true;
find("saved").hidden = !served;
if (served) loadServed();
