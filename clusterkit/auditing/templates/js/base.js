// What all parts of the audit page use.
const statuses = ["all", "assigned", "reviewed", "review", "novel", "duplicate", "failed"].filter((one) => one !== "reviewed" || data.counts.reviewed);
const names = new Intl.Collator("en", { numeric: true });
const decisionWords = { accept: "accepted", relabel: "labelled", reject: "rejected", skip: "skipped" };

// What is looked at: the tab, the overlay, the filtered rows, and the place among them.
const state = { tab: "refused", layer: "none", rows: [], at: 0 };
const cardsById = new Map(data.cards.map((card) => [card.image_id, card]));
// Members of clusters that have no card.
const tiles = data.clusters.flatMap((cluster) => cluster.tiles.map((one) => ({ ...one, cluster: cluster.cluster })));
const clusters = new Map(data.clusters.map((cluster) => [cluster.cluster, cluster]));

function percent(value, digits = 1) {
  if (value === null) return "–";
  const scale = 10 ** digits;
  // What is not certain must not be rounded to 100%.
  const shown = value < 1 ? Math.min(100 - 1 / scale, 100 * value) : 100;
  return shown.toFixed(digits) + "%";
}

// Short messages for eyes and screen readers alike.
function say(text, alarm = false) {
  // In the focus view the rest of the page is out of reach.
  for (const place of [find("said"), find("focus-said")]) {
    place.textContent = text;
    place.classList.toggle("alarm", alarm);
  }
}

