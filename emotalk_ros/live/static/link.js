// The WebSocket: audio out, frames in (the layout is that of emotalk_ros/live/frames.py).

const AUDIO = 1, FRAMES = 2, SOUND = 3;

export class Link {
  constructor() {
    this.onframes = () => {};
    this.onsound = () => {};
    this.onwords = () => {};
    this.onstate = () => {};
    this.socket = null;
    this.wait = 500;
    this.open();
  }

  open() {
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    const socket = new WebSocket(`${scheme}://${location.host}/live`);
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => { this.wait = 500; this.onstate('connected'); };
    socket.onmessage = ({ data }) => this.take(data);
    socket.onclose = (event) => {
      this.onstate('closed', event.reason);
      setTimeout(() => this.open(), this.wait);
      this.wait = Math.min(8000, this.wait * 2);
    };
    this.socket = socket;
  }

  get connected() { return this.socket && this.socket.readyState === WebSocket.OPEN; }

  say(type, values = {}) { if (this.connected) this.socket.send(JSON.stringify({ type, ...values })); }

  audio(first, rate, samples) {
    if (!this.connected) return false;
    if (this.socket.bufferedAmount > 1 << 20) return false; // the network is stuck: this piece is lost
    const message = new ArrayBuffer(16 + 2 * samples.length);
    const view = new DataView(message);
    view.setUint8(0, AUDIO);
    view.setUint8(1, 1);
    view.setUint32(4, rate, true);
    view.setFloat64(8, first, true);
    new Int16Array(message, 16).set(samples);
    this.socket.send(message);
    return true;
  }

  take(data) {
    if (typeof data === 'string') { this.onwords(JSON.parse(data)); return; }
    const view = new DataView(data);
    const kind = view.getUint8(0);
    const feed = kind & 0x80 ? view.getUint8(data.byteLength - 1) : -1;
    if ((kind & 0x7f) === FRAMES) this.onframes(readFrames(view), feed);
    else if ((kind & 0x7f) === SOUND) {
      const bytes = data.byteLength - 16 - (feed >= 0 ? 1 : 0);
      this.onsound(view.getFloat64(8, true), view.getUint32(4, true), new Int16Array(data.slice(16, 16 + bytes)), feed);
    }
  }
}

function readFrames(view) {
  const count = view.getUint8(1), labels = view.getUint8(2), frames = [];
  const floats = (at, n) => Float32Array.from({ length: n }, (_, k) => view.getFloat32(at + 4 * k, true));
  for (let k = 0, at = 8; k < count; k++, at += 16 + 4 * (61 + labels)) {
    frames.push({
      time: view.getFloat64(at, true),
      index: view.getUint32(at + 8, true),
      activity: view.getFloat32(at + 12, true),
      coefficients: floats(at + 16, 52),
      angles: floats(at + 224, 9),
      emotion: floats(at + 260, labels),
    });
  }
  return frames;
}
