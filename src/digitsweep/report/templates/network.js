// Computes networks. A network is a list of steps, each of which computes one Keras layer from the values of earlier steps.
// Values lie in memory as in Keras: row by row, and the channels of a pixel side by side.

const ACTIVATIONS = {
  linear: (x) => x,
  relu: (x) => Math.max(x, 0),
  leaky_relu: (x) => (x > 0 ? x : 0.2 * x),
  elu: (x) => (x > 0 ? x : Math.expm1(x)),
  selu: (x) => 1.0507009873554805 * (x > 0 ? x : 1.6732632423543772 * Math.expm1(x)),
  gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  silu: (x) => x / (1 + Math.exp(-x)),
  tanh: Math.tanh,
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
};

// Abramowitz and Stegun (1964), 7.1.26; the error is below 1.5e-7.
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const sum = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - sum * Math.exp(-x * x));
}

// Each fills y, the values of its step, from x, those of the step before. `kernel`, `bias` and the like are weights.
const OPERATIONS = {
  scale({ scale, offset }, y, x) {
    for (let i = 0; i < y.length; i++) y[i] = scale * x[i] + offset;
  },

  crop({ input, output, top, left }, y, x) {
    const across = output[1] * output[2];
    for (let row = 0; row < output[0]; row++) {
      const from = ((top + row) * input[1] + left) * input[2];
      y.set(x.subarray(from, from + across), row * across);
    }
  },

  dense({ kernel, bias, input, output }, y, x) {
    const inputs = input.at(-1), units = output.at(-1);
    for (let at = 0, from = 0; at < y.length; at += units, from += inputs) {
      begin(y, at, units, bias);
      addProduct(y, at, units, x, from, inputs, kernel, 0);
    }
  },

  conv({ kernel, bias, ...step }, y, x) {
    const channels = step.input[2], filters = step.output[2];
    eachWindow(step, (at, pixel, place) => {
      if (place < 0) begin(y, at, filters, bias);
      else addProduct(y, at, filters, x, pixel, channels, kernel, place * channels * filters);
    });
  },

  maximum(step, y, x) {
    const channels = step.output[2];
    eachWindow(step, (at, pixel, place) => {
      if (place < 0) y.fill(-Infinity, at, at + channels);
      else for (let i = 0; i < channels; i++) y[at + i] = Math.max(y[at + i], x[pixel + i]);
    });
  },

  // The padding does not count: what lies outside of the image is not averaged.
  average(step, y, x) {
    const channels = step.output[2], counts = new Float32Array(y.length / channels);
    eachWindow(step, (at, pixel, place) => {
      if (place < 0) y.fill(0, at, at + channels);
      else {
        counts[at / channels]++;
        for (let i = 0; i < channels; i++) y[at + i] += x[pixel + i];
      }
    });
    for (let i = 0; i < y.length; i++) y[i] /= counts[Math.floor(i / channels)];
  },

  mean({ output }, y, x) {
    const channels = output[0];
    y.fill(0);
    for (let i = 0; i < x.length; i++) y[i % channels] += x[i];
    for (let i = 0; i < channels; i++) y[i] *= channels / x.length;
  },

  // Batch normalisation, with what it learned.
  affine({ factor, shift }, y, x) {
    const channels = factor.length;
    for (let i = 0; i < y.length; i++) y[i] = factor[i % channels] * x[i] + shift[i % channels];
  },

  layer_norm({ factor, shift, epsilon }, y, x) {
    const channels = factor.length;
    for (let from = 0; from < y.length; from += channels) {
      let mean = 0, variance = 0;
      for (let i = 0; i < channels; i++) mean += x[from + i] / channels;
      for (let i = 0; i < channels; i++) variance += (x[from + i] - mean) ** 2 / channels;
      const scale = 1 / Math.sqrt(variance + epsilon);
      for (let i = 0; i < channels; i++) y[from + i] = factor[i] * (x[from + i] - mean) * scale + shift[i];
    }
  },

  activation({ name }, y, x) {
    const activate = ACTIVATIONS[name];
    for (let i = 0; i < y.length; i++) y[i] = activate(x[i]);
  },

  // Axis i of y is axis axes[i] of x.
  permute({ axes, input, output }, y, x) {
    const strides = input.map((_, axis) => input.slice(axis + 1).reduce((a, b) => a * b, 1));
    for (let i = 0; i < y.length; i++) {
      let rest = i, from = 0;
      for (let axis = output.length - 1; axis >= 0; axis--) {
        from += (rest % output[axis]) * strides[axes[axis]];
        rest = Math.floor(rest / output[axis]);
      }
      y[i] = x[from];
    }
  },

  add(step, y, ...all) {
    y.fill(0);
    for (const x of all) for (let i = 0; i < y.length; i++) y[i] += x[i];
  },

  softmax({ output }, y, x) {
    const classes = output.at(-1);
    for (let from = 0; from < y.length; from += classes) {
      const most = x.subarray(from, from + classes).reduce((a, b) => Math.max(a, b));
      let sum = 0;
      for (let i = from; i < from + classes; i++) sum += y[i] = Math.exp(x[i] - most);
      for (let i = from; i < from + classes; i++) y[i] /= sum;
    }
  },
};

function begin(y, at, count, bias) {
  if (bias) y.set(bias, at);
  else y.fill(0, at, at + count);
}

// Adds to `count` values of y the product of `inputs` values of x and a matrix, which has a row for each of these, from
// `begin` on. Nearly all time is spent here. Blank paper is 0, and so is half of what relu gives: these rows cost nothing. The
// others are taken four at a time, which halves the time.
const rows = new Int32Array(4);
function addProduct(y, at, count, x, from, inputs, kernel, begin) {
  let waiting = 0;
  for (let row = 0; row < inputs; row++) {
    if (x[from + row] === 0) continue;
    rows[waiting++] = row;
    if (waiting < 4) continue;
    waiting = 0;
    const [p, q, r, s] = rows, a = x[from + p], b = x[from + q], c = x[from + r], d = x[from + s];
    const ofA = begin + p * count, ofB = begin + q * count, ofC = begin + r * count, ofD = begin + s * count;
    for (let i = 0; i < count; i++) {
      y[at + i] += a * kernel[ofA + i] + b * kernel[ofB + i] + c * kernel[ofC + i] + d * kernel[ofD + i];
    }
  }
  for (const row of rows.subarray(0, waiting)) {
    for (let i = 0; i < count; i++) y[at + i] += x[from + row] * kernel[begin + row * count + i];
  }
}

// Calls `visit(at, -1, -1)` for each place of the output, then `visit(at, pixel, place)` for each pixel of its window that
// is inside the image. `at` and `pixel` are indices of values, `place` counts the pixels of a window.
function eachWindow({ input, output, size, stride, padding }, visit) {
  const [height, width, channels] = input;
  for (let row = 0, at = 0; row < output[0]; row++) {
    for (let column = 0; column < output[1]; column++, at += output[2]) {
      visit(at, -1, -1);
      for (let down = 0; down < size[0]; down++) {
        const y = row * stride[0] - padding[0] + down;
        if (y < 0 || y >= height) continue;
        for (let across = 0; across < size[1]; across++) {
          const x = column * stride[1] - padding[1] + across;
          if (x >= 0 && x < width) visit(at, (y * width + x) * channels, down * size[1] + across);
        }
      }
    }
  }
}

// An image's probabilities: of each class, as many as there are. Image: height x width x channels values from 0 to 255.
function classify(network, image) {
  const values = [image];
  for (const step of network.steps) {
    step.values ??= new Float32Array(step.output.reduce((a, b) => a * b));
    OPERATIONS[step.op](step, step.values, ...step.from.map((index) => values[index]));
    values.push(step.values);
  }
  return values.at(-1);
}

// Puts the weights, which `drawing.py` packed, into the steps that use them.
function unpack(networks, base64) {
  const { buffer } = bytesOf(base64);
  for (const step of networks.flatMap((network) => network.steps)) {
    for (const [name, [offset, columns, count]] of Object.entries(step.weights)) {
      const scales = new Float32Array(buffer, offset, columns), after = offset + scales.byteLength;
      step[name] = columns ? scaledBy(scales, new Int16Array(buffer, after, count)) : new Float32Array(buffer, after, count);
    }
  }
}

// Kernels: a scale for each unit or filter, which is the last axis.
function scaledBy(scales, numbers) {
  const values = new Float32Array(numbers);
  for (let i = 0; i < values.length; i++) values[i] *= scales[i % scales.length];
  return values;
}

function bytesOf(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}
