// Prepares what was drawn, as `digitsweep predict` does: prediction/ink.py and prediction/preparing.py explain each step and each
// number. The paper of a canvas is known and even, so what looks for paper, noise and polarity is not needed here.

const PAPER = 255, LEAST_CONTRAST = 12, STRONG = 0.5, WEAK = 0.3, LEAST_EXTENT = 1 / 40, SPECK = 0.04, GAP = 2.5;
const BESIDE = 0.6, ABOVE = 0.4, FIELD = 28, BOX = 20, FULL_SIDE = 8, THINNEST = 1.5, TINY = 1e-6, REDUCING_GAP = 3;
const NOTHING = "not a digit: no clear ink";

// A grid is { height, width, values }, row by row.
const grid = (height, width, values = new Float32Array(height * width)) => ({ height, width, values });
const within = (value, low, high) => Math.min(Math.max(value, low), high);
const sum = (values) => values.reduce((a, b) => a + b, 0);
const most = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);

// As Python and NumPy round: halves to the even number.
function roundEven(value) {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 ? low + 1 : low;
}

// The image (side x side bytes, white ink on black) of grey levels from 0, ink, to 255, paper; and a note if this is not one
// digit.
function prepare(grey, side) {
  const { ink, note } = findInk(grey);
  if (!ink) return { image: new Uint8Array(side * side), note };
  const box = side <= FULL_SIDE ? side : Math.max(1, roundEven((side * BOX) / FIELD));
  return { image: centred(scaled(thickened(ink, box), box), side), note };
}

function findInk(grey) {
  const strength = strengths(grey);
  const parts = strength && partsOf(strength);
  if (!parts?.length) return { note: NOTHING };
  const { kept, note } = belonging(parts, strength);
  const inside = { top: Infinity, left: Infinity, bottom: 0, right: 0 };
  const mask = grid(grey.height, grey.width, new Uint8Array(grey.values.length));
  for (const part of kept) {
    for (const pixel of part.pixels) {
      mask.values[pixel] = 1;
      if (strength.values[pixel] >= STRONG) extend(inside, Math.floor(pixel / grey.width), pixel % grey.width);
    }
  }
  if (inside.top === Infinity) return { note: NOTHING };
  const near = dilated(cropped(mask, inside));
  const ink = cropped(strength, inside);
  ink.values = ink.values.map((each, pixel) => (near.values[pixel] ? within(each, 0, 1) : 0));
  return { ink, note: note || shapeNote(ink) };
}

// About 1 for full ink.
function strengths(grey) {
  const difference = grey.values.map((level) => PAPER - level);
  const inked = difference.filter((each) => each >= LEAST_CONTRAST).sort();
  if (inked.length < 2) return null;
  const place = 0.8 * (inked.length - 1), before = Math.floor(place);
  const level = inked[before] + (place - before) * (inked[Math.min(before + 1, inked.length - 1)] - inked[before]);
  return grid(grey.height, grey.width, difference.map((each) => (each - 0.1 * level) / (0.8 * level)));
}

// The connected parts of all pixels that `belongs` accepts: their pixels and their boxes.
function connected({ height, width }, belongs) {
  const seen = new Uint8Array(height * width), parts = [];
  for (let start = 0; start < seen.length; start++) {
    if (seen[start] || !belongs(start)) continue;
    const part = { pixels: [start], top: Infinity, left: Infinity, bottom: 0, right: 0 };
    seen[start] = 1;
    for (let index = 0; index < part.pixels.length; index++) {
      const row = Math.floor(part.pixels[index] / width), column = part.pixels[index] % width;
      extend(part, row, column);
      for (let y = Math.max(row - 1, 0); y <= Math.min(row + 1, height - 1); y++) {
        for (let x = Math.max(column - 1, 0); x <= Math.min(column + 1, width - 1); x++) {
          const next = y * width + x;
          if (!seen[next] && belongs(next)) {
            seen[next] = 1;
            part.pixels.push(next);
          }
        }
      }
    }
    parts.push(part);
  }
  return parts;
}

function extend(box, row, column) {
  if (row < box.top) box.top = row;
  if (column < box.left) box.left = column;
  if (row >= box.bottom) box.bottom = row + 1;
  if (column >= box.right) box.right = column + 1;
}

const joint = (boxes) => ({
  top: Math.min(...boxes.map((each) => each.top)),
  left: Math.min(...boxes.map((each) => each.left)),
  bottom: Math.max(...boxes.map((each) => each.bottom)),
  right: Math.max(...boxes.map((each) => each.right)),
});

function partsOf(strength) {
  const parts = connected(strength, (pixel) => strength.values[pixel] >= WEAK);
  return parts.filter((part) => part.pixels.some((pixel) => strength.values[pixel] >= STRONG));
}

// The parts that are ink, without frames and specks, and a note if they are more than one digit.
function belonging(parts, { height, width }) {
  const areas = parts.map((part) => part.pixels.length);
  const framing = parts.map((part) => isFrame(part, height, width));
  const plain = most(areas.filter((_, index) => !framing[index]));
  if (framing.includes(true) && plain >= (SPECK * most(areas)) / 2) {
    framing.forEach((framed, index) => (areas[index] *= framed ? 0 : 1));
  }
  parts.forEach((part, index) => {
    const longest = Math.max(part.bottom - part.top, part.right - part.left);
    if (longest < LEAST_EXTENT * Math.max(height, width)) areas[index] = 0;
  });
  const speck = SPECK * most(areas);
  const chosen = parts.filter((_, index) => areas[index] >= Math.max(1, speck));
  if (!chosen.length) return { kept: [], note: "" };
  const whole = joint(chosen);
  const isInside = (part) =>
    part.top >= whole.top && part.left >= whole.left && part.bottom <= whole.bottom && part.right <= whole.right;
  const between = parts.filter((part, index) => areas[index] > 0.2 * speck && areas[index] < speck && isInside(part));
  const separate = countDigits(withoutGaps(chosen, whole, width));
  return { kept: [...chosen, ...between], note: separate > 1 ? `not a digit: ${separate} separate parts` : "" };
}

function isFrame(part, height, width) {
  const edges = { top: 0, bottom: 0, left: 0, right: 0 };
  for (const pixel of part.pixels) {
    const row = Math.floor(pixel / width), column = pixel % width;
    edges.top += row === 0;
    edges.bottom += row === height - 1;
    edges.left += column === 0;
    edges.right += column === width - 1;
  }
  return Math.max(edges.top, edges.bottom) > 0.5 * width || Math.max(edges.left, edges.right) > 0.5 * height;
}

// The boxes of the parts; dashes of one stroke have one box together.
function withoutGaps(parts, whole, width) {
  if (parts.length === 1) return parts;
  const ink = grid(whole.bottom - whole.top, whole.right - whole.left);
  const place = (pixel) => (Math.floor(pixel / width) - whole.top) * ink.width + (pixel % width) - whole.left;
  for (const part of parts) for (const pixel of part.pixels) ink.values[place(pixel)] = 1;
  const reach = Math.max(1, (GAP * strokeWidth(ink)) / 2), away = distances(ink, (value) => value === 1);
  const found = [];
  for (const { pixels } of connected(ink, (pixel) => away.values[pixel] <= reach)) {
    const covered = new Uint8Array(ink.values.length);
    for (const pixel of pixels) covered[pixel] = 1;
    const together = parts.filter((part) => covered[place(part.pixels[0])]);
    const separate = together.some((one, index) => together.slice(index + 1).some((two) => areTall(one, two, ink.height)));
    found.push(...(separate ? together : [joint(together)]));
  }
  return found;
}

const gapDown = (one, two) => Math.max(one.top, two.top) - Math.min(one.bottom, two.bottom);
const gapAcross = (one, two) => Math.max(one.left, two.left) - Math.min(one.right, two.right);
const heights = (...boxes) => boxes.map((each) => each.bottom - each.top);

// Whether two parts are too tall to be dashes of one digit.
function areTall(one, two, height) {
  return Math.min(...heights(one, two)) >= (gapDown(one, two) < 0 ? BESIDE : ABOVE) * height;
}

// How many groups of parts lie apart as digits do.
function countDigits(boxes) {
  const groups = [];
  for (const box of [...boxes].sort((one, two) => one.left - two.left)) {
    const together = groups.findIndex((group) => !areApart(group, box));
    if (together < 0) groups.push(box);
    else groups[together] = joint([groups[together], box]);
  }
  return groups.length;
}

function areApart(one, two) {
  const tall = heights(one, two), gap = Math.max(gapDown(one, two), gapAcross(one, two));
  const longest = Math.max(...tall, one.right - one.left, two.right - two.left);
  return gap > 0.6 * longest || (Math.min(...tall) >= 0.5 * Math.max(...tall) && gap > 0.1 * Math.max(...tall));
}

function shapeNote(ink) {
  if (ink.width > 2.5 * ink.height) return "not a digit: horizontal line";
  if (sum(ink.values) / ink.values.length > 0.9 && ink.width > 0.6 * ink.height) return "not a digit: filled shape";
  return "";
}

// A grid with a margin of zeros on each side.
function padded(from, room) {
  const into = grid(from.height + 2 * room, from.width + 2 * room);
  for (let row = 0; row < from.height; row++) {
    into.values.set(from.values.subarray(row * from.width, (row + 1) * from.width), (row + room) * into.width + room);
  }
  return into;
}

function cropped(from, { top, left, bottom, right }) {
  const into = grid(bottom - top, right - left);
  for (let row = top; row < bottom; row++) {
    into.values.set(from.values.subarray(row * from.width + left, row * from.width + right), (row - top) * into.width);
  }
  return into;
}

function dilated(mask) {
  const near = grid(mask.height, mask.width);
  mask.values.forEach((set, pixel) => {
    if (!set) return;
    const row = Math.floor(pixel / mask.width), column = pixel % mask.width;
    for (let y = Math.max(row - 1, 0); y <= Math.min(row + 1, mask.height - 1); y++) {
      for (let x = Math.max(column - 1, 0); x <= Math.min(column + 1, mask.width - 1); x++) {
        near.values[y * mask.width + x] = 1;
      }
    }
  });
  return near;
}

// The distance of each pixel to the nearest one that is a target, exact: Felzenszwalb and Huttenlocher (2012), Distance
// transforms of sampled functions. There must be a target.
function distances({ height, width, values }, isTarget) {
  const far = (height + width) ** 2, squares = new Float64Array(values).map((value) => (isTarget(value) ? 0 : far));
  const longest = Math.max(height, width);
  const scratch = [new Float64Array(longest), new Int32Array(longest), new Float64Array(longest)];
  for (let column = 0; column < width; column++) lowerEnvelope(squares, column, width, height, scratch);
  for (let row = 0; row < height; row++) lowerEnvelope(squares, row * width, 1, width, scratch);
  return grid(height, width, new Float32Array(squares.map(Math.sqrt)));
}

function lowerEnvelope(squares, start, step, count, [line, lowest, from]) {
  for (let index = 0; index < count; index++) line[index] = squares[start + index * step];
  const meeting = (a, b) => (line[a] + a * a - line[b] - b * b) / (2 * (a - b));
  let last = 0;
  from[0] = -Infinity;
  for (let index = 1; index < count; index++) {
    while (meeting(index, lowest[last]) <= from[last]) last--;
    from[last + 1] = meeting(index, lowest[last]);
    lowest[++last] = index;
  }
  for (let index = 0, part = 0; index < count; index++) {
    while (part < last && from[part + 1] < index) part++;
    squares[start + index * step] = (index - lowest[part]) ** 2 + line[lowest[part]];
  }
}

function strokeWidth(ink) {
  const apart = distances(padded(ink, 1), (value) => value < 0.5).values.filter((each) => each > 0);
  return (4 * sum(apart)) / apart.length - 2;
}

function thickened(ink, box) {
  if (!ink.values.some((each) => each >= 0.5)) return ink;
  const radius = ((THINNEST * Math.max(ink.height, ink.width)) / box - strokeWidth(ink)) / 2;
  if (radius <= 0) return ink;
  const thick = padded(ink, Math.ceil(radius)), away = distances(thick, (value) => value >= 0.5);
  thick.values = thick.values.map((each, pixel) => Math.max(each, within(radius + 1 - away.values[pixel], 0, 1)));
  return thick;
}

function scaled(ink, box) {
  const factor = box / Math.max(ink.height, ink.width);
  const size = (length) => Math.max(1, roundEven(length * factor));
  const small = resized(ink, size(ink.height), size(ink.width)), white = Math.max(most(small.values), 1e-6);
  small.values = small.values.map((each) => within(each / white, 0, 1));
  return small;
}

// The part of a grid inside a box, as Pillow's BILINEAR resizes it: with a triangle as wide as two pixels of the smaller image.
// First across, then down. `gap` is Pillow's reducing_gap: what becomes smaller by more than this is averaged first.
function resized(from, height, width, box = { top: 0, left: 0, bottom: from.height, right: from.width }, gap = Infinity) {
  const across = resizedAcross(from, width, box.left, box.right, gap);
  return transposed(resizedAcross(transposed(across), height, box.top, box.bottom, gap));
}

function resizedAcross(from, width, left, right, gap) {
  const count = Math.trunc((right - left) / width / gap);
  if (count > 1) {
    const reach = (right - left) / width / 2;
    const first = Math.max(Math.trunc(left - reach), 0), last = Math.min(Math.ceil(right + reach), from.width);
    const reduced = averagedAcross(from, first, last, count);
    return resizedAcross(reduced, width, (left - first) / count, (right - first) / count, Infinity);
  }
  const into = grid(from.height, width), scale = (right - left) / width, support = Math.max(scale, 1);
  for (let column = 0; column < width; column++) {
    const centre = left + (column + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - support + 0.5), 0);
    const last = Math.min(Math.trunc(centre + support + 0.5), from.width);
    const weights = [];
    for (let x = first; x < last; x++) weights.push(Math.max(1 - Math.abs((x - centre + 0.5) / support), 0));
    const total = sum(weights);
    for (let row = 0; row < from.height; row++) {
      let value = 0;
      weights.forEach((weight, index) => (value += weight * from.values[row * from.width + first + index]));
      into.values[row * width + column] = value / total;
    }
  }
  return into;
}

// The means of each `count` columns from the first to the last; at the end there may be fewer.
function averagedAcross(from, first, last, count) {
  const into = grid(from.height, Math.ceil((last - first) / count));
  for (let row = 0, at = 0; row < from.height; row++) {
    for (let start = first; start < last; start += count, at++) {
      const end = Math.min(start + count, last);
      for (let x = start; x < end; x++) into.values[at] += from.values[row * from.width + x] / (end - start);
    }
  }
  return into;
}

function transposed(from) {
  const into = grid(from.width, from.height);
  from.values.forEach((value, index) => {
    into.values[(index % from.width) * into.width + Math.floor(index / from.width)] = value;
  });
  return into;
}

// The ink with its centre of mass in the middle of the field.
function centred(ink, side) {
  const image = new Uint8Array(side * side), mass = { down: new Float64Array(ink.height), across: new Float64Array(ink.width) };
  ink.values.forEach((value, pixel) => {
    mass.down[Math.floor(pixel / ink.width)] += value;
    mass.across[pixel % ink.width] += value;
  });
  const place = (masses) => {
    const weights = side > FULL_SIDE ? masses : masses.fill(1);
    const centre = sum(weights.map((weight, index) => weight * (index + 0.5))) / sum(weights);
    return within(Math.ceil(side / 2 - centre - TINY), 0, side - weights.length);
  };
  const top = place(mass.down), left = place(mass.across);
  ink.values.forEach((value, pixel) => {
    image[(top + Math.floor(pixel / ink.width)) * side + left + (pixel % ink.width)] = roundEven(255 * value);
  });
  return image;
}

// For other images than digits, as data/image_file.py: the whole image on the colour of its border, or the largest square in
// its middle. Red, green and blue are side by side in `pixels` (height x width x 3 bytes).
function fitted({ height, width, pixels }, [side, , channels], fit) {
  const colours = [0, 1, 2].map((channel) => {
    const values = new Float32Array(height * width);
    for (let pixel = 0; pixel < values.length; pixel++) values[pixel] = pixels[3 * pixel + channel];
    return squared(grid(height, width, values), side, fit);
  });
  const image = new Uint8Array(side * side * channels);
  for (let pixel = 0; pixel < side * side; pixel++) {
    const [red, green, blue] = colours.map((each) => each[pixel]);
    if (channels === 3) image.set([red, green, blue], 3 * pixel);
    else image[pixel] = roundEven(0.299 * red + 0.587 * green + 0.114 * blue);
  }
  return image;
}

function squared(plane, side, fit) {
  const { height, width } = plane, square = Math.min(height, width), scale = side / Math.max(height, width);
  const isWhole = fit !== "crop";
  const [rows, columns] = isWhole ? [height, width].map((length) => Math.max(1, roundEven(length * scale))) : [side, side];
  const corner = isWhole ? { top: 0, left: 0 } : { top: (height - square) / 2, left: (width - square) / 2 };
  const box = { ...corner, bottom: height - corner.top, right: width - corner.left };
  const inner = resized(plane, rows, columns, box, REDUCING_GAP);
  const top = Math.floor((side - rows) / 2), left = Math.floor((side - columns) / 2);
  const image = new Uint8Array(side * side).fill(Math.round(middleOfBorder(inner)));
  inner.values.forEach((value, pixel) => {
    image[(top + Math.floor(pixel / columns)) * side + left + (pixel % columns)] = Math.round(value);
  });
  return image;
}

// The median of the outermost rows and columns; a corner belongs to both.
function middleOfBorder({ height, width, values }) {
  const column = (at) => values.filter((_, pixel) => pixel % width === at);
  const rows = [values.subarray(0, width), values.subarray((height - 1) * width)];
  const border = Float32Array.of(...rows[0], ...rows[1], ...column(0), ...column(width - 1)).sort();
  return border[Math.floor(border.length / 2)];
}
