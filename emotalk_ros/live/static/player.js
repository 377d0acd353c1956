// Frames by their time: which face to show at an instant, and how late and how complete they came.

export class Player {
  constructor() { this.clear(); }

  clear() {
    this.queue = [];
    this.shown = null;
    this.expected = null;
    this.received = 0;
    this.dropped = 0;
    this.delays = []; // seconds from a sound to the frame on the page
    this.arrivals = []; // seconds from a sound to the arrival of its frame
    this.offset = null; // for feeds: our clock less theirs
  }

  // Frames that came at `now` on their clock (null: no clock known).
  take(frames, now) {
    for (const frame of frames) {
      if (this.expected !== null && frame.index > this.expected) this.dropped += frame.index - this.expected;
      if (this.expected !== null && frame.index < this.expected) this.queue = [];
      this.expected = frame.index + 1;
      this.received += 1;
      if (now !== null) remember(this.arrivals, now - frame.time);
      this.queue.push(frame);
    }
    if (this.queue.length > 900) this.queue.splice(0, this.queue.length - 900);
  }

  // The face at `time`, between the frames before and after; null while nothing came.
  at(time, now) {
    const queue = this.queue;
    while (queue.length && queue[0].time <= time) {
      const frame = queue.shift();
      if (this.shown && frame.time > this.shown.time && queue.length && queue[0].time <= time && time - frame.time > 0.067) this.dropped += 1; // passed unseen
      else if (now !== null) remember(this.delays, now - frame.time);
      this.shown = frame;
    }
    if (!this.shown) return queue.length && queue[0].time - time < 0.2 ? queue[0] : null;
    const after = queue[0];
    if (!after || after.time - this.shown.time > 0.1) return this.shown;
    const share = (time - this.shown.time) / (after.time - this.shown.time);
    const mix = (a, b) => a.map((value, k) => value + share * (b[k] - value));
    return { ...this.shown, coefficients: mix(this.shown.coefficients, after.coefficients), angles: mix(this.shown.angles, after.angles) };
  }
}

function remember(list, value) {
  list.push(value);
  if (list.length > 600) list.shift();
}

export function quantile(list, share) {
  if (!list.length) return NaN;
  const ordered = [...list].sort((a, b) => a - b);
  return ordered[Math.round(share * (ordered.length - 1))];
}
