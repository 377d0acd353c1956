// Takes sound out of the audio graph in pieces of 20 ms, with the index of each piece's first sample.
class Tap extends AudioWorkletProcessor {
  constructor() {
    super();
    this.size = Math.round(sampleRate * 0.02);
    this.piece = new Float32Array(this.size);
    this.filled = 0;
    this.first = 0;
    this.origin = null;
    this.port.onmessage = () => { this.over = true; };
  }

  process(inputs) {
    if (this.over) return false;
    const channels = inputs[0];
    if (!channels.length) return true;
    if (this.origin === null) this.origin = currentFrame;
    const count = channels[0].length;
    for (let i = 0; i < count; i++) {
      let sum = 0;
      for (const channel of channels) sum += channel[i];
      this.piece[this.filled++] = sum / channels.length;
      if (this.filled === this.size) {
        // Counted by the clock of the graph: where the source pauses, the index jumps with the time.
        const last = currentFrame - this.origin + i + 1;
        this.port.postMessage({ first: last - this.size, origin: this.origin / sampleRate, samples: this.piece }, [this.piece.buffer]);
        this.piece = new Float32Array(this.size);
        this.filled = 0;
      }
    }
    return true;
  }
}

// Measures the loudness of what is played, so that a test can compare it with the lips.
class Meter extends AudioWorkletProcessor {
  process(inputs) {
    const channel = inputs[0][0];
    if (channel) {
      let sum = 0;
      for (const value of channel) sum += value * value;
      this.sum = (this.sum || 0) + sum;
      this.count = (this.count || 0) + channel.length;
      if (this.count >= 512) {
        this.port.postMessage([(currentFrame + channel.length - this.count / 2) / sampleRate, Math.sqrt(this.sum / this.count)]);
        this.sum = this.count = 0;
      }
    }
    return true;
  }
}

registerProcessor('tap', Tap);
registerProcessor('meter', Meter);
