// The strip of emotions over time and the bars of the coefficients.

export const COLOURS = {
  neutral: '#94a3b8', calm: '#7dd3fc', happy: '#facc15', sad: '#60a5fa', angry: '#f87171', fearful: '#c084fc', disgust: '#86efac', surprised: '#fb923c',
};

function fit(canvas) {
  const ratio = Math.min(devicePixelRatio, 2), width = canvas.clientWidth * ratio, height = canvas.clientHeight * ratio;
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  return [canvas.getContext('2d'), width, height, ratio];
}

const STEP = 1 / 15, SPAN = 20;

export class Strip {
  constructor(canvas) { this.canvas = canvas; this.rows = []; this.next = 0; }

  clear() { this.rows = []; this.next = 0; }

  add(time, emotion, activity) {
    if (time < this.next - 1) this.clear();
    if (time < this.next) return;
    this.next = time + STEP;
    this.rows.push([time, emotion, activity]);
    while (this.rows.length > SPAN / STEP + 2) this.rows.shift();
  }

  draw(labels, now) {
    const [pen, width, height] = fit(this.canvas);
    pen.clearRect(0, 0, width, height);
    if (!this.rows.length) return;
    const x = (time) => width * (1 - (now - time) / SPAN);
    const base = this.rows.map(() => 0);
    labels.forEach((label, k) => {
      pen.beginPath();
      this.rows.forEach(([time], i) => pen.lineTo(x(time), height * (1 - base[i])));
      for (let i = this.rows.length - 1; i >= 0; i--) {
        pen.lineTo(x(this.rows[i][0]), height * (1 - base[i] - this.rows[i][1][k]));
        base[i] += this.rows[i][1][k];
      }
      pen.fillStyle = COLOURS[label] || `hsl(${k * 47} 60% 60%)`;
      pen.fill();
    });
    pen.fillStyle = '#0b1018a0'; // pauses are dimmed, not every stop between two sounds
    for (let i = 0, begin = 0; i <= this.rows.length; i++) {
      if (i < this.rows.length && this.rows[i][2] < 0.5) continue;
      if (i - begin >= 4) pen.fillRect(x(this.rows[begin][0]), 0, x(this.rows[i - 1][0]) - x(this.rows[begin][0]), height);
      begin = i + 1;
    }
  }
}

const SHORT = [['brow', 'brows'], ['cheek', 'cheeks'], ['eye', 'eyes'], ['jaw', 'jaw'], ['mouth', 'mouth'], ['nose', 'nose'], ['tongue', '']];
const TINTS = { brow: '#a78bfa', chee: '#f9a8d4', eyeB: '#7dd3fc', eyeL: '#38bdf8', eyeS: '#7dd3fc', eyeW: '#7dd3fc', jawF: '#fbbf24', jawL: '#fbbf24', jawO: '#fbbf24', jawR: '#fbbf24', mout: '#5eead4', nose: '#f9a8d4', tong: '#fb7185' };

export class Bars {
  constructor(canvas, names) { this.canvas = canvas; this.names = names; }

  draw(values) {
    const [pen, width, height, ratio] = fit(this.canvas);
    pen.clearRect(0, 0, width, height);
    const foot = 15 * ratio, top = height - foot, step = width / this.names.length;
    pen.fillStyle = '#1a2434';
    for (let k = 0; k < this.names.length; k++) pen.fillRect(k * step + step * 0.16, 0, step * 0.68, top);
    for (let k = 0; k < this.names.length; k++) {
      pen.fillStyle = TINTS[this.names[k].slice(0, 4)] || '#5eead4';
      const high = Math.min(1, values[k]) * top;
      pen.fillRect(k * step + step * 0.16, top - high, step * 0.68, high);
    }
    pen.fillStyle = '#8e9bb0';
    pen.font = `${10.5 * ratio}px system-ui, "DejaVu Sans", sans-serif`;
    pen.textAlign = 'center';
    for (const [start, word] of SHORT) {
      const own = this.names.map((name, k) => [name, k]).filter(([name]) => name.startsWith(start)).map(([, k]) => k);
      if (own.length && word) pen.fillText(word, ((own[0] + own[own.length - 1] + 1) / 2) * step, height - 3 * ratio);
    }
  }
}
