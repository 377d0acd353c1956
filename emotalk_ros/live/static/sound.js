// The visitor's sound: from his microphone or a file, to the server and, delayed, to his ears.

export class Sound {
  constructor() {
    this.context = null;
    this.onpiece = () => {};
    this.onend = () => {};
    this.origin = null; // time of sample 0 on the context's clock
    this.delaySeconds = 0.35;
    this.meter = null;
  }

  get rate() { return this.context ? this.context.sampleRate : 48000; }

  // Now, on the clock of the samples that are taken: seconds since sample 0.
  now() { return this.origin === null ? null : this.context.currentTime - this.origin; }

  get outputLatency() { return (this.context && (this.context.outputLatency || this.context.baseLatency)) || 0; }

  async open() {
    if (!this.context) {
      this.context = new AudioContext({ latencyHint: 'interactive' });
      await this.context.audioWorklet.addModule('/static/worklet.js');
      this.delay = new DelayNode(this.context, { maxDelayTime: 5, delayTime: this.delaySeconds });
      this.volume = new GainNode(this.context, { gain: 1 });
      this.delay.connect(this.volume).connect(this.context.destination);
    }
    await this.context.resume();
  }

  setDelay(seconds) {
    this.delaySeconds = seconds;
    if (this.delay) this.delay.delayTime.setTargetAtTime(seconds, this.context.currentTime, 0.05);
  }

  async microphone(hear) {
    if (!navigator.mediaDevices || !navigator.mediaDevices.getUserMedia) {
      throw new Error('The browser gives the microphone only to a page from this machine (localhost) or over https. '
        + 'Open it as http://localhost, forward the port (ssh -L 8765:localhost:8765), or start with --certificate and --key.');
    }
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: hear, noiseSuppression: false, autoGainControl: false } });
    } catch (error) {
      if (error.name === 'NotAllowedError' || error.name === 'SecurityError') {
        throw new Error('The microphone was refused. Allow it in the address bar (the icon beside the address), then press Microphone again; a file works without it.');
      }
      if (error.name === 'NotFoundError') throw new Error('No microphone was found. Connect one, or open a file.');
      if (error.name === 'NotReadableError') throw new Error('The microphone is in use by another program, or its driver failed.');
      throw error;
    }
    await this.open();
    this.stop();
    this.stream = stream;
    stream.getAudioTracks()[0].addEventListener('ended', () => this.onend('The microphone was taken away.'));
    this.begin(new MediaStreamAudioSourceNode(this.context, { mediaStream: stream }), hear);
    this.playing = hear;
  }

  async file(data) {
    await this.open();
    let buffer;
    try {
      buffer = await this.context.decodeAudioData(data);
    } catch {
      throw new Error('This file is no sound that the browser can read: use wav, mp3, ogg, flac or m4a.');
    }
    this.stop();
    const source = new AudioBufferSourceNode(this.context, { buffer });
    source.onended = () => { if (this.source === source) this.onend(''); };
    this.begin(source, true);
    this.playing = true;
    source.start();
    return buffer.duration;
  }

  begin(source, hear) {
    this.source = source;
    this.origin = null;
    this.tap = new AudioWorkletNode(this.context, 'tap', { numberOfOutputs: 0 });
    this.tap.port.onmessage = ({ data }) => {
      if (this.source !== source) return;
      this.origin = data.origin;
      this.onpiece(data.first, this.rate, data.samples);
    };
    source.connect(this.tap);
    if (hear) source.connect(this.delay);
  }

  setHear(hear) {
    this.playing = hear;
    if (!this.source) return;
    if (hear) this.source.connect(this.delay);
    else try { this.source.disconnect(this.delay); } catch { /* was not connected */ }
  }

  async measure(callback) {
    await this.open();
    this.meter = new AudioWorkletNode(this.context, 'meter', { numberOfOutputs: 0 });
    this.meter.port.onmessage = ({ data }) => callback(...data);
    this.volume.connect(this.meter);
  }

  // Sound of a feed, to be heard at a time on the context's clock.
  play(samples, rate, at) {
    if (!this.context || this.context.state !== 'running' || !samples.length) return;
    const buffer = new AudioBuffer({ length: samples.length, sampleRate: rate });
    buffer.copyToChannel(Float32Array.from(samples, (value) => value / 32768), 0);
    const node = new AudioBufferSourceNode(this.context, { buffer });
    node.connect(this.context.destination);
    node.start(Math.max(at, this.context.currentTime));
  }

  stop() {
    if (this.tap) this.tap.port.postMessage('over');
    if (this.source) {
      this.source.disconnect();
      if (this.source.stop) try { this.source.stop(); } catch { /* never started */ }
    }
    if (this.stream) this.stream.getTracks().forEach((track) => track.stop());
    this.source = this.tap = this.stream = null;
    this.playing = false;
  }
}

export function toInt16(samples) {
  const out = new Int16Array(samples.length);
  for (let i = 0; i < samples.length; i++) out[i] = Math.max(-32768, Math.min(32767, Math.round(samples[i] * 32767)));
  return out;
}
