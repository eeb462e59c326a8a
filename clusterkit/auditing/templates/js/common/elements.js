// What every page of this kind uses: its data, and elements whose text is text.
const data = JSON.parse(document.getElementById("data").textContent);
const find = (id) => document.getElementById(id);
const served = location.protocol !== "file:";

// Everything from the data goes in as text: a label may look like markup.
function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function button(text, action, className) {
  const element = make("button", className, text);
  element.type = "button";
  element.addEventListener("click", action);
  return element;
}

function plural(count, word) {
  return `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
}

// The key of a button, for eyes only: its name is what it does.
function keyCap(key) {
  const cap = make("kbd", "", key);
  cap.setAttribute("aria-hidden", "true");
  return cap;
}

function action(text, key, work) {
  const one = button(text, work);
  one.append(keyCap(key));
  one.setAttribute("aria-keyshortcuts", key);
  return one;
}
