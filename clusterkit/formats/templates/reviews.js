// reviews.csv as clusterkit reads it: what the pages that ask people write.
const columns = ["image_id", "image", "label", "decision", "reviewer", "time", "note"];
const further = ["assignments", "ground_truth"]; // written where a row has them

// No spreadsheet must run a cell as a formula; reading takes the apostrophe away again.
// A plain number, or a set of them, is no formula.
const formula = /^[=+\-@\t\r']/;
const numbers = /^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?(\|[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?)*$/;
const guard = (text) => (formula.test(text) && !numbers.test(text) ? "'" + text : text);

function quote(text) {
  return /[",\r\n]/.test(text) || text !== text.trim() ? '"' + text.replaceAll('"', '""') + '"' : text;
}

function toCsv(rows) {
  const named = [...columns, ...further.filter((name) => rows.some((row) => row[name]))];
  const lines = rows.map((row) => named.map((name) => quote(guard(String(row[name] ?? "")))).join(","));
  // The mark tells spreadsheets that it is UTF-8.
  return "\ufeff" + [named.join(","), ...lines].join("\n") + "\n";
}

function downloadReviews(rows) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([toCsv(rows)], { type: "text/csv;charset=utf-8" }));
  link.download = "reviews.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
