// reviews.csv: read here as clusterkit does.
const decisions = ["accept", "relabel", "reject", "skip"];
const unguard = (text) => (text.startsWith("'") && formula.test(text.slice(1)) ? text.slice(1) : text);

const forbidden = /[|\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;

// Files of before ids that no program reads as a number hold bare digits.
const textId = (id) => (/^(?=[0-9a-f]{16}(#|$))[0-9]+([de][0-9]+)?[df]?(#|$)/.test(id) ? "x" + id : id);

// Spreadsheets write tables in the separator of their country, and "Unicode text" in UTF-16.
function textOf(bytes) {
  const [first, second] = new Uint8Array(bytes);
  const letters = first === 0xff && second === 0xfe ? "utf-16le" : first === 0xfe && second === 0xff ? "utf-16be" : "utf-8";
  try {
    return new TextDecoder(letters, { fatal: true }).decode(bytes);
  } catch {
    throw new Error("it is not UTF-8 text; save it as CSV in UTF-8");
  }
}

// The rows of a table, by the separator that a line sep=; states, or that finds the most columns.
function tableOf(text) {
  const stated = /^"?sep=([,;\t|])"?\r?\n/i.exec(text);
  if (stated) return parseCsv(text.slice(stated[0].length).replace(/^\uFEFF/, ""), stated[1]);
  const head = text.slice(0, 2000).split(/\r?\n/, 1)[0];
  const named = (separator) => columns.filter((name) => head.split(separator).some((cell) => cell.trim().replaceAll('"', "") === name)).length;
  const [best] = [",", ";", "\t", "|"].sort((a, b) => named(b) - named(a));
  return parseCsv(text, best);
}

// RFC 4180: quoted cells may hold separators, quotes and line breaks.
function parseCsv(text, separator) {
  const rows = [];
  let row = [], cell = "", quoted = false, started = false;
  const endCell = () => { row.push(cell); cell = ""; started = false; };
  const endRow = () => { endCell(); if (row.length > 1 || row[0] !== "") rows.push(row); row = []; };
  for (let i = 0; i < text.length; i++) {
    const letter = text[i];
    if (quoted) {
      if (letter !== '"') cell += letter;
      else if (text[i + 1] === '"') { cell += '"'; i++; }
      else quoted = false;
    } else if (letter === '"' && !started) { quoted = started = true; }
    else if (letter === separator) endCell();
    else if (letter === "\n") endRow();
    else if (letter === "\r" && text[i + 1] === "\n") { endRow(); i++; }
    else { cell += letter; started = true; }
  }
  if (quoted) throw new Error("a quotation mark is not closed");
  if (cell || row.length) endRow();
  return rows;
}

function fromCsv(text) {
  const [head, ...lines] = tableOf(text.replace(/^\uFEFF/, ""));
  const every = [...columns, ...further];
  const where = Object.fromEntries(every.map((name) => [name, (head || []).indexOf(name)]));
  for (const name of ["image_id", "label", "decision"])
    if (where[name] < 0) throw new Error(`there is no column ${name}`);
  return lines.map((line, number) => {
    const row = Object.fromEntries(every.map((name) => [name, unguard((line[where[name]] ?? "").trimStart()).trim()]));
    row.image_id = textId(row.image_id);
    row.decision = row.decision.toLowerCase();
    if (!row.image_id) throw new Error(`row ${number + 1} has no image_id`);
    if (!decisions.includes(row.decision))
      throw new Error(`row ${number + 1}: decision “${row.decision.slice(0, 40)}” is none of ${decisions.join(", ")}`);
    checkCells(row, number + 1);
    checkRow(row, number + 1);
    return row;
  });
}

// What clusterkit would refuse is refused here, before anything is shown as decided. A page adds its `checkRow`.
function checkCells(row, number) {
  if (/^[+-]?\d+([.,]\d+)?(e[+-]?\d+)?$/i.test(row.image_id))
    throw new Error(`row ${number}: image_id ${row.image_id.slice(0, 40)} is a number, and no id of an image is one: a spreadsheet has changed it. Copy it anew from the column image_id`);
  const { error } = lettersOf(row.label);
  if (error) throw new Error(`row ${number}: ${error}`);
  if (row.decision === "relabel" && !row.label) throw new Error(`row ${number}: relabel without a label`);
  if (row.note.length > 10000) throw new Error(`row ${number}: the note is longer than 10,000 characters`);
}

function lettersOf(label) {
  return forbidden.test(label) ? { error: "A label must not hold | or invisible characters." } : { label };
}
