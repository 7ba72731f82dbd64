// What a person draws or shows becomes an image, and each network reads it, after each movement of the pen.

const element = (id) => document.getElementById(id);
const parsed = (id) => JSON.parse(element(id).textContent);
const { networks, names, unsure, fit, examples } = parsed("data");
unpack(networks, element("weights").textContent);

const PEN = 0.075; // the width of a stroke; all lengths are fractions of the paper's side
const STEP = 1 / 28; // of an arrow key
const RESOLUTION = 224; // pixels of the paper that is prepared, whatever the screen has; preparing takes most of the time
const MOST_SIDE = 1024; // pixels of an image that is shown; a larger one is reduced first
const MOST_ROWS = 12; // of a card; of more classes, the likeliest are shown

// What was done, for undoing: { points } is a stroke, { clear }, { example }, { picture }. All but strokes begin a new sheet.
const done = [];
const shapes = [...new Map(networks.map(({ shape }) => [String(shape), shape])).values()];
const paper = element("paper"), prepared = contextOf(RESOLUTION, RESOLUTION);
const pen = { x: 0.5, y: 0.5, isDown: false, isShown: false };

function contextOf(width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  return canvas.getContext("2d", { willReadFrequently: true });
}

// What is on the paper: the strokes since it was last empty, or an example or a picture if nothing was drawn since.
function sheet() {
  const last = done.findLastIndex((each) => !each.points);
  const strokes = done.slice(last + 1).map((each) => each.points);
  return strokes.length ? { strokes } : { strokes, ...done[last] };
}

function isEmpty({ strokes, example, picture }) {
  return !strokes.length && example === undefined && !picture;
}

// What the networks get, by the shape of their images; null if there is nothing.
function imagesOf(current) {
  if (isEmpty(current)) return null;
  const found = {};
  for (const shape of shapes) {
    if (current.example !== undefined) {
      const { pixels, shape: own } = examples[current.example];
      if (String(own) === String(shape)) found[shape] = { image: pixels, note: "" };
    } else if (current.picture) {
      found[shape] = { image: fitted(current.picture, shape, fit), note: "" };
    } else {
      found[shape] = prepare(greyOf(current.strokes), shape[0]);
    }
  }
  return found;
}

function greyOf(strokes) {
  prepared.fillStyle = "white";
  prepared.fillRect(0, 0, RESOLUTION, RESOLUTION);
  ink(prepared, RESOLUTION, strokes, "black");
  const { data } = prepared.getImageData(0, 0, RESOLUTION, RESOLUTION), grey = grid(RESOLUTION, RESOLUTION);
  for (let pixel = 0; pixel < grey.values.length; pixel++) grey.values[pixel] = data[4 * pixel];
  return grey;
}

function ink(context, side, strokes, color) {
  Object.assign(context, { strokeStyle: color, lineWidth: PEN * side, lineCap: "round", lineJoin: "round" });
  for (const points of strokes) {
    context.beginPath();
    context.moveTo(points[0][0] * side, points[0][1] * side);
    // Through the middle of each two points, so that a fast stroke is round.
    points.slice(1).forEach(([x, y], before) => {
      const [fromX, fromY] = points[before];
      context.quadraticCurveTo(fromX * side, fromY * side, ((fromX + x) / 2) * side, ((fromY + y) / 2) * side);
    });
    const [x, y] = points.at(-1);
    context.lineTo(x * side, y * side);
    context.stroke();
  }
}

// What each network makes of the images: probabilities, the labels in their order, the label that it reads (null if this is not
// one digit), and whether it is sure.
function read(images) {
  return networks.map((network) => {
    const { image, note } = images[network.shape] ?? {};
    if (!image) return null;
    const probabilities = Array.from(classify(network, image));
    const order = probabilities.map((_, label) => label).sort((one, two) => probabilities[two] - probabilities[one]);
    const label = note ? null : order[0];
    return { name: network.name, probabilities, order, label, note, isSure: !note && probabilities[label] >= unsure };
  });
}

const percent = (share) => (share >= 0.995 && share < 0.9995 ? ">99" : Math.round(100 * share)) + " %";
const listed = (words) => words.slice(0, -1).join(", ") + (words.length > 1 ? " and " : "") + words.at(-1);
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

// What is seen at a glance: whether they agree, and who is unsure.
function verdictOf(readings, { example }) {
  const known = readings.filter(Boolean), isAlone = known.length === 1;
  const note = known.find((each) => each.note)?.note;
  if (note) return `${capital(note)}.`;
  const all = isAlone ? known[0].name : known.length === 2 ? "Both" : "All";
  const choices = known.map(({ label }) => names[label]);
  const doubtful = known.filter((each) => !each.isSure).map(({ name }) => name);
  const told = [];
  if (example !== undefined) told.push(`Test image ${examples[example].index}, labelled ${names[examples[example].label]}.`);
  if (new Set(choices).size > 1) {
    told.push(`They disagree: ${listed(known.map(({ name }, place) => `${name} reads ${choices[place]}`))}.`);
  } else {
    told.push(`${all} ${isAlone ? "reads" : "read"} ${choices[0]}.`);
  }
  if (doubtful.length) {
    const who = doubtful.length === known.length ? all : listed(doubtful);
    told.push(`${who} ${doubtful.length > 1 ? "are" : "is"} unsure.`);
  }
  return told.join(" ");
}

// The cards, built once and filled after each reading.

element("cards").style.setProperty("--label", `${Math.min(Math.max(...names.map((each) => each.length)), 9) * 0.62 + 1.15}em`);

const cards = networks.map(({ name }, number) => {
  const tones = parsed("tones"), card = document.createElement("article");
  card.className = `card ${tones[number % tones.length]}`;
  const title = document.createElement("h3");
  title.textContent = name;
  const reading = document.createElement("p");
  reading.className = "read";
  reading.append(document.createElement("b"), document.createElement("span"));
  const table = document.createElement("table");
  table.setAttribute("aria-label", `Probabilities of ${name}`);
  for (let row = 0; row < Math.min(names.length, MOST_ROWS); row++) {
    const line = table.insertRow(), label = document.createElement("th"), bar = document.createElement("div");
    label.scope = "row";
    bar.className = "bar";
    bar.append(document.createElement("i"));
    line.append(label);
    line.insertCell().append(bar);
    line.insertCell();
  }
  card.append(title, reading, table);
  element("cards").append(card);
  return { card, choice: reading.firstChild, confidence: reading.lastChild, rows: [...table.rows] };
});

function fill({ card, choice, confidence, rows }, reading) {
  const shares = reading?.probabilities ?? names.map(() => 0), label = reading?.label ?? null;
  card.classList.toggle("doubtful", Boolean(reading && !reading.isSure));
  choice.textContent = label === null ? "–" : names[label];
  choice.classList.toggle("word", names.some((name) => name.length > 2));
  confidence.textContent = label === null ? "" : percent(shares[label]) + (reading.isSure ? "" : ", unsure");
  const shown = names.length > MOST_ROWS && reading ? reading.order : names.map((_, each) => each);
  rows.forEach((row, place) => {
    const each = shown[place], [name, bar, share] = row.cells;
    name.textContent = name.title = names[each];
    bar.firstChild.firstChild.style.width = `${100 * shares[each]}%`;
    share.textContent = reading && shares[each] >= 0.005 ? percent(shares[each]) : "";
    row.classList.toggle("first-choice", each === label);
  });
}

// The image that a network gets, on a small canvas.
function show(canvas, image, [height, width, channels]) {
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d"), all = context.createImageData(width, height);
  for (let pixel = 0; pixel < width * height; pixel++) {
    for (let i = 0; i < 3; i++) all.data[4 * pixel + i] = image[pixel * channels + (channels === 3 ? i : 0)];
    all.data[4 * pixel + 3] = 255;
  }
  context.putImageData(all, 0, 0);
}

const seen = shapes.map((shape) => {
  const canvas = document.createElement("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${shape[0]}x${shape[1]} pixels, after preparation`);
  element("seen").append(canvas);
  return canvas;
});

let scheduled = 0, spoken = 0;

// Movements come faster than the screen shows them: one reading for each frame is enough.
function changed() {
  scheduled ||= requestAnimationFrame(() => {
    scheduled = 0;
    update();
  });
}

function update() {
  const current = sheet(), images = imagesOf(current), readings = images ? read(images) : networks.map(() => null);
  shapes.forEach((shape, place) => show(seen[place], images?.[shape]?.image ?? new Uint8Array(shape[0] * shape[1] * shape[2]), shape));
  cards.forEach((card, place) => fill(card, readings[place]));
  const verdict = images ? verdictOf(readings, current) : "";
  element("verdict").textContent = verdict;
  element("invitation").hidden = !isEmpty(current);
  element("undo").disabled = !done.length;
  element("clear").disabled = isEmpty(current);
  for (const [place, button] of [...document.querySelectorAll("#examples button")].entries()) {
    button.setAttribute("aria-pressed", String(place === current.example));
  }
  paint(current);
  const shares = readings.filter((each) => each && each.label !== null)
    .map(({ name, probabilities, label }) => `${name}: ${names[label]}, ${percent(probabilities[label])}.`);
  speak(images ? [verdict, ...shares].join(" ") : fit ? "There is no image." : "The paper is empty.");
}

// A screen reader hears the result when the pen rests, not on each movement.
function speak(text) {
  clearTimeout(spoken);
  spoken = setTimeout(() => (element("spoken").textContent = text), 700);
}

function paint(current) {
  const side = Math.round(paper.clientWidth * devicePixelRatio) || RESOLUTION;
  const context = paper.getContext("2d"), color = getComputedStyle(paper).color;
  Object.assign(paper, { width: side, height: side });
  if (current.example !== undefined || current.picture) {
    const { shape, pixels } = current.picture
      ? { shape: [current.picture.height, current.picture.width, 3], pixels: current.picture.pixels }
      : examples[current.example];
    const small = contextOf(shape[1], shape[0]).canvas, scale = side / Math.max(shape[0], shape[1]);
    show(small, pixels, shape);
    context.imageSmoothingEnabled = Boolean(current.picture);
    const [width, height] = [shape[1] * scale, shape[0] * scale];
    context.drawImage(small, (side - width) / 2, (side - height) / 2, width, height);
  } else {
    ink(context, side, current.strokes, color);
  }
  if (pen.isShown) {
    context.beginPath();
    context.arc(pen.x * side, pen.y * side, (PEN * side) / 2, 0, 2 * Math.PI);
    context.globalAlpha = 0.6;
    Object.assign(context, { strokeStyle: color, fillStyle: color, lineWidth: side / 150 });
    if (pen.isDown) context.fill();
    else context.stroke();
    context.globalAlpha = 1;
  }
}

// Undo, clear, examples

function undo() {
  pen.isDown = false;
  done.pop();
  changed();
}

function clear() {
  pen.isDown = false;
  if (!isEmpty(sheet())) done.push({ clear: true });
  changed();
}

element("undo").addEventListener("click", undo);
element("clear").addEventListener("click", clear);
examples.forEach((each, place) => {
  each.pixels = bytesOf(each.pixels);
  const button = Object.assign(document.createElement("button"), { type: "button" });
  const canvas = document.createElement("canvas"), label = document.createElement("span");
  show(canvas, each.pixels, each.shape);
  label.textContent = names[each.label];
  button.setAttribute("aria-label", `Test image ${each.index}, labelled ${names[each.label]}`);
  button.append(canvas, label);
  button.addEventListener("click", () => {
    pen.isDown = false;
    done.push({ example: place });
    paper.scrollIntoView({ block: "nearest" }); // on a phone it is far above
    changed();
  });
  const item = document.createElement("li");
  item.append(button);
  element("examples").append(item);
});

// Drawing by mouse, pen and finger

function pointOf(event) {
  const { left, top, width, height } = paper.getBoundingClientRect();
  return [(event.clientX - left) / width, (event.clientY - top) / height];
}

const drawing = new Map(); // strokes under way, by pointer

function startStroke(event) {
  if (event.button !== 0) return;
  event.preventDefault();
  paper.focus({ preventScroll: true });
  paper.setPointerCapture(event.pointerId);
  pen.isDown = pen.isShown = false;
  const points = [pointOf(event)];
  drawing.set(event.pointerId, points);
  done.push({ points });
  changed();
}

function continueStroke(event) {
  const points = drawing.get(event.pointerId);
  if (!points) return;
  const all = event.getCoalescedEvents?.() ?? [];
  points.push(...(all.length ? all : [event]).map(pointOf));
  changed();
}

// Drawing by keys

const MOVES = { ArrowUp: [0, -STEP], ArrowDown: [0, STEP], ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0] };

function pressKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key in MOVES) {
    [pen.x, pen.y] = [pen.x + MOVES[event.key][0], pen.y + MOVES[event.key][1]].map((each) => within(each, 0, 1));
    if (pen.isDown) done.at(-1).points.push([pen.x, pen.y]);
  } else if (event.key === " ") {
    pen.isDown = !pen.isDown;
    if (pen.isDown) done.push({ points: [[pen.x, pen.y]] });
  } else if (event.key === "Delete" || event.key === "Backspace") clear();
  else if (event.key === "u" || event.key === "U") undo();
  else return;
  pen.isShown = true;
  event.preventDefault();
  changed();
}

if (!fit) {
  paper.addEventListener("pointerdown", startStroke);
  paper.addEventListener("pointermove", continueStroke);
  for (const end of ["pointerup", "pointercancel"]) paper.addEventListener(end, (event) => drawing.delete(event.pointerId));
  paper.addEventListener("keydown", pressKey);
  paper.addEventListener("focus", () => {
    pen.isShown = paper.matches(":focus-visible");
    changed();
  });
  paper.addEventListener("blur", () => {
    pen.isShown = pen.isDown = false;
    changed();
  });
}
document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "z") {
    event.preventDefault();
    undo();
  }
});

// Images that a person chooses, drops or pastes

async function take(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    const complaint = `${file.name || "This"} is not an image that this browser can read.`;
    element("verdict").textContent = complaint;
    speak(complaint);
    return;
  }
  const scale = Math.min(1, MOST_SIDE / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((each) => Math.max(1, Math.round(each * scale)));
  const context = contextOf(width, height);
  context.fillStyle = "white"; // below what is transparent
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  done.push({ picture: { width, height, pixels: data.filter((_, index) => index % 4 < 3) } });
  changed();
}

if (fit) {
  element("file").addEventListener("change", ({ target }) => {
    if (target.files[0]) take(target.files[0]);
    target.value = "";
  });
  document.addEventListener("paste", ({ clipboardData }) => clipboardData.files[0] && take(clipboardData.files[0]));
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      paper.parentElement.classList.toggle("dropping", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
    });
  }
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
addEventListener("resize", changed);
update();
