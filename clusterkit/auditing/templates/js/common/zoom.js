// How large pictures are seen: zoom, place, brightness and contrast, the same for all in `stage`. A page says
// `inFocus()`, whether they are there, and `shownName()`, the file that the one in `pane-own` is of.
const view = { zoom: 1, x: 0, y: 0, window: 255, level: 127.5 };
const zoomStep = 1.25;

function showView() {
  const { zoom, x, y } = view;
  for (const canvas of find("stage").querySelectorAll(".canvas")) {
    canvas.style.transform = zoom === 1 && !x && !y ? "" : `translate(${x}px, ${y}px) scale(${zoom})`;
    const image = canvas.querySelector("img:not(.over)");
    if (image) greyed(image);
  }
  find("view-said").textContent = viewText();
}

// By CSS: v × brightness, then (v − ½) × contrast + ½; together a window around a level.
function greyed(image) {
  const { window: width, level } = view;
  const plain = width === 255 && level === 127.5;
  image.style.filter = plain ? "" : `brightness(${127.5 / level}) contrast(${(2 * level) / width})`;
}

// With the next frame, whose layout its sizes need anyway: once for both pictures.
function viewSoon() {
  if (view.soon) return;
  view.soon = true;
  requestAnimationFrame(() => {
    view.soon = false;
    if (inFocus()) showView();
  });
}

// A pixel of the picture in pixels of the screen, where all of it is seen.
function fitted() {
  const image = find("pane-own").querySelector("img:not(.over)");
  if (!image?.naturalWidth) return 0;
  const { clientWidth, clientHeight } = find("pane-own");
  return Math.min(clientWidth / image.naturalWidth, clientHeight / image.naturalHeight) * devicePixelRatio;
}

function viewText() {
  const image = find("pane-own").querySelector("img:not(.over)");
  const texts = [];
  if (image?.naturalWidth) {
    texts.push(`${image.naturalWidth} x ${image.naturalHeight} px${image.plain ? " (thumbnail)" : ""}${image.gone ? ": the large picture is not there any more" : ""}`);
    texts.push(`${Math.round(100 * fitted() * view.zoom)}%`);
  }
  if (view.window !== 255 || view.level !== 127.5) {
    const { window: width, level } = view;
    const dicom = /\.(dcm|dicom|ima)\b|^[\d.]{16,}$/i.test(shownName());
    texts.push(dicom ? `window ${Math.round(width)}, level ${Math.round(level)} of the 0 to 255 shown`
      : `brightness ${Math.round(12750 / level)}%, contrast ${Math.round(25500 / width)}%`);
  }
  return texts.join(" · ");
}

// Around a point, in pixels from the middle of the pane.
function zoomTo(zoom, x = 0, y = 0) {
  const smallest = Math.min(1, 1 / (fitted() || 1));
  const next = Math.max(smallest, Math.min(60, zoom));
  const scale = next / view.zoom;
  view.x = x - (x - view.x) * scale;
  view.y = y - (y - view.y) * scale;
  view.zoom = next;
  pan(0, 0);
}

// Never so far that the picture is lost.
function pan(x, y) {
  const { clientWidth, clientHeight } = find("pane-own");
  const most = (side) => (side * view.zoom) / 2;
  view.x = Math.max(-most(clientWidth), Math.min(most(clientWidth), view.x + x));
  view.y = Math.max(-most(clientHeight), Math.min(most(clientHeight), view.y + y));
  showView();
}

function grey(brighter, contrast) {
  view.level = Math.max(8, Math.min(1000, view.level / brighter));
  view.window = Math.max(8, Math.min(2000, view.window / contrast));
  showView();
}

function fit() {
  Object.assign(view, { zoom: 1, x: 0, y: 0 });
  showView();
}

function onePixel() {
  const one = 1 / (fitted() || 1);
  if (Math.abs(view.zoom - one) < 0.001) fit();
  else zoomTo(one);
}

function plainGreys() {
  Object.assign(view, { window: 255, level: 127.5 });
  showView();
}

// Dragging: the left button and a finger move, the right button changes the greys; two fingers zoom.
const fingers = new Map();

function startDrag(event) {
  if (event.target.closest("button")) return;
  fingers.set(event.pointerId, { x: event.clientX, y: event.clientY, greys: event.button === 2 });
  find("stage").setPointerCapture(event.pointerId);
}

function drag(event) {
  const last = fingers.get(event.pointerId);
  if (!last) return;
  const x = event.clientX - last.x, y = event.clientY - last.y;
  if (fingers.size === 2) {
    const [other] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
    const before = Math.hypot(last.x - other.x, last.y - other.y);
    const after = Math.hypot(event.clientX - other.x, event.clientY - other.y);
    if (before > 0) zoomTo(view.zoom * (after / before));
  } else if (last.greys) grey(1.005 ** -y, 1.005 ** x);
  else pan(x, y);
  Object.assign(last, { x: event.clientX, y: event.clientY });
}

function turnWheel(event) {
  event.preventDefault();
  const pane = event.target.closest(".pane") || find("pane-own");
  const { left, top, width, height } = pane.getBoundingClientRect();
  zoomTo(view.zoom * zoomStep ** (-Math.sign(event.deltaY)),
    event.clientX - left - width / 2, event.clientY - top - height / 2);
}

function watchStage() {
  const stage = find("stage");
  stage.addEventListener("pointerdown", startDrag);
  stage.addEventListener("pointermove", drag);
  for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, (event) => fingers.delete(event.pointerId));
  stage.addEventListener("wheel", turnWheel, { passive: false });
  stage.addEventListener("contextmenu", (event) => event.preventDefault());
  stage.addEventListener("dblclick", onePixel);
}

const lookKeys = {
  "+": () => zoomTo(view.zoom * zoomStep), "=": () => zoomTo(view.zoom * zoomStep), "-": () => zoomTo(view.zoom / zoomStep),
  "0": fit, z: onePixel, r: plainGreys,
  "[": () => grey(1 / 1.1, 1), "]": () => grey(1.1, 1), "{": () => grey(1, 1 / 1.1), "}": () => grey(1, 1.1),
};
