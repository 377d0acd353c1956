// The page: puts sound, server, face and panels together.

import { Bars, COLOURS, Strip } from './charts.js';
import { Face } from './face.js';
import { Link } from './link.js';
import { Player, quantile } from './player.js';
import { Sound, toInt16 } from './sound.js';

const $ = (id) => document.getElementById(id);
const config = await (await fetch('/api/config')).json();
const link = new Link();
const sound = new Sound();
const rest = new Float32Array(52);
const still = new Float32Array(9);

let labels = [], fps = 30, latency = 0.25, streaming = false, status = {}, mapping = null, emotionMode = 'heard', recording = false;
const controls = { mode: 'heard', label: 'neutral', intensity: 1, blend: 0.5, person: 0, level: 1, mouth_gain: 1, head: true, gaze: true, blinks: true };

// -- notices ---------------------------------------------------------------------------------------------------------

const notice = $('notice');
let noticeTimer = 0;
function tell(text, plain = false) {
  notice.querySelector('p').textContent = text;
  notice.classList.toggle('plain', plain);
  notice.hidden = false;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => { notice.hidden = true; }, plain ? 5000 : 20000);
}
notice.querySelector('button').onclick = () => { notice.hidden = true; };

// -- faces: one for the visitor's voice, one for each feed -------------------------------------------------------------

class Stage {
  constructor(name, feed) {
    this.name = name;
    this.feed = feed;
    this.player = new Player();
    const figure = document.createElement('figure');
    const canvas = document.createElement('canvas');
    figure.append(canvas);
    if (feed >= 0) {
      const caption = document.createElement('figcaption');
      caption.textContent = name;
      figure.append(caption);
    }
    $('faces').append(figure);
    this.face = new Face(canvas);
    this.delay = 0.35;
  }
}

const stages = [];
try {
  if (config.voice) stages.push(new Stage('voice', -1));
  const wanted = new URLSearchParams(location.search).getAll('feed');
  config.feeds.forEach((name, k) => { if (!config.voice || wanted.includes(name)) stages.push(new Stage(name, k)); });
} catch (error) {
  tell(error.message);
}
const own = stages.find((stage) => stage.feed < 0) || null;
const main = own || stages[0] || null;

async function wear(data, options) {
  let match = null;
  for (const stage of stages) match = await stage.face.load(data.slice(0), options);
  if (match) {
    $('avatar-report').textContent = match.report;
    $('avatar-report').dataset.moving = Object.keys(match.targets).length;
    drawPictures();
  }
  return match;
}

function drawPictures() {
  const box = $('pictures');
  box.replaceChildren();
  for (const [label, values] of Object.entries(config.emotions)) {
    const button = document.createElement('button');
    const image = new Image();
    image.alt = '';
    image.src = main.face.picture(values);
    button.append(image, label);
    button.dataset.label = label;
    button.onclick = () => { controls.label = label; if (controls.mode === 'heard') controls.mode = 'chosen'; send('mode', 'label'); };
    box.append(button);
  }
  show();
}

// Feeds beside the own voice are chosen by the page's address.
if (config.voice && config.feeds.length) {
  const chosen = new URLSearchParams(location.search).getAll('feed');
  const links = config.feeds.map((name) => {
    const rest = chosen.includes(name) ? chosen.filter((other) => other !== name) : [...chosen, name];
    const link = document.createElement('a');
    link.className = 'button';
    link.href = `?${rest.map((other) => `feed=${encodeURIComponent(other)}`).join('&')}`;
    link.textContent = chosen.includes(name) ? `Hide ${name}` : `Show ${name}`;
    return link;
  });
  $('feeds').replaceChildren(...links);
  $('feeds').hidden = false;
}

// -- controls --------------------------------------------------------------------------------------------------------

function show() {
  for (const button of $('mode').children) {
    const on = button.dataset.mode === controls.mode;
    button.classList.toggle('on', on);
    button.setAttribute('aria-checked', on);
  }
  for (const button of $('pictures').children) button.classList.toggle('on', controls.mode !== 'heard' && button.dataset.label === controls.label);
  $('blend-row').hidden = controls.mode !== 'blend';
  for (const [id, name] of sliders) {
    $(id).value = controls[name];
    $(id).nextElementSibling.textContent = name === 'person' ? controls[name] : Number(controls[name]).toFixed(2);
  }
  for (const name of ['head', 'gaze', 'blinks']) $(name).checked = controls[name];
}

let unanswered = 0; // messages whose answer is still to come: an older answer must not undo a newer choice
function send(...names) {
  if (link.connected) unanswered += 1;
  link.say('controls', Object.fromEntries(names.map((name) => [name, controls[name]])));
  show();
}

const sliders = [['intensity', 'intensity'], ['blend', 'blend'], ['person', 'person'], ['level-style', 'level'], ['mouth_gain', 'mouth_gain']];
for (const [id, name] of sliders) $(id).oninput = () => { controls[name] = Number($(id).value); send(name); };
for (const name of ['head', 'gaze', 'blinks']) $(name).onchange = () => { controls[name] = $(name).checked; send(name); };
for (const button of $('mode').children) button.onclick = () => { controls.mode = button.dataset.mode; send('mode'); };
$('person').max = Math.max(0, config.persons - 1);

// -- sound -----------------------------------------------------------------------------------------------------------

let level = 0;
sound.onpiece = (first, rate, samples) => {
  let sum = 0;
  for (const value of samples) sum += value * value;
  level = Math.max(level, Math.sqrt(sum / samples.length));
  if (!link.audio(first, rate, toInt16(samples))) own.player.dropped += Math.round((samples.length / rate) * fps);
};
sound.onend = (reason) => { stop(); if (reason) tell(reason); };

function begin() {
  link.say('start');
  own.player.clear();
  strip.clear();
  own.delay = latency + 0.06;
  sound.setDelay(own.delay);
  streaming = true;
  $('stop').disabled = false;
  $('hint').hidden = true;
}

async function start(source) {
  if (!link.connected) { tell('The server is not there. Is `emotalk live` still running?'); return; }
  try {
    await source();
    $('microphone').classList.toggle('on-air', Boolean(sound.stream));
  } catch (error) {
    tell(error.message);
  }
}

function stop() {
  if (!streaming) return;
  streaming = false;
  sound.stop();
  link.say('stop');
  $('stop').disabled = true;
  $('microphone').classList.remove('on-air');
}

async function openSound(file) {
  if (file.size > 500e6) { tell(`${file.name} has ${Math.round(file.size / 1e6)} MB: at most 500 are taken.`); return; }
  const data = await file.arrayBuffer();
  await start(async () => { stop(); begin(); try { await sound.file(data); } catch (error) { stop(); throw error; } });
}

$('microphone').onclick = () => start(async () => { stop(); await sound.microphone($('hear').checked); begin(); });
$('stop').onclick = stop;
$('open').onclick = () => $('file').click();
$('file').onchange = () => { const [file] = $('file').files; if (file) openSound(file); $('file').value = ''; };
$('hear').onchange = () => { if (sound.stream) sound.setHear($('hear').checked); };

// -- avatars -----------------------------------------------------------------------------------------------------------

let avatarData = null;
async function openAvatar(files) {
  const avatar = files.find((file) => /\.(glb|vrm)$/i.test(file.name));
  const map = files.find((file) => /\.ya?ml$/i.test(file.name));
  const sounds = files.find((file) => /^audio\//.test(file.type) || /\.(wav|flac|ogg|opus|mp3|m4a)$/i.test(file.name));
  if (!avatar && !map) {
    if (sounds && own) { await openSound(sounds); return; }
    tell(`${files.map((file) => file.name).join(', ')}: drop a .glb or .vrm avatar, a mapping .yaml, or a sound. (FBX and plain .gltf: export as GLB first.)`);
    return;
  }
  try {
    if (map) mapping = await map.text();
    else if (avatar) mapping = null;
    if (avatar && avatar.size > 300e6) throw new Error(`It has ${Math.round(avatar.size / 1e6)} MB: at most 300 are taken.`);
    const data = avatar ? await avatar.arrayBuffer() : avatarData;
    const match = await wear(data, { mapping });
    avatarData = data;
    const name = avatar ? avatar.name : map.name;
    const moving = Object.keys(match.targets).length;
    tell(`${name}: ${match.report}`, moving > 0 && match.silent.length === 0);
  } catch (error) {
    tell(`${(avatar || map).name}: ${error.message}`);
  }
}

$('avatar-open').onclick = () => $('avatar-file').click();
$('avatar-file').onchange = () => { openAvatar([...$('avatar-file').files]); $('avatar-file').value = ''; };
$('avatar-own').onclick = standardAvatar;
let dragged = 0;
addEventListener('dragenter', (event) => { event.preventDefault(); dragged += 1; $('drop').hidden = false; });
addEventListener('dragleave', () => { dragged -= 1; if (dragged <= 0) { dragged = 0; $('drop').hidden = true; } });
addEventListener('dragover', (event) => event.preventDefault());
addEventListener('drop', (event) => {
  event.preventDefault();
  dragged = 0;
  $('drop').hidden = true;
  const files = [...event.dataTransfer.files];
  if (files.length) openAvatar(files);
});

async function standardAvatar() {
  try {
    const data = await (await fetch('/avatar.glb')).arrayBuffer();
    mapping = null;
    await wear(data, { standard: true });
    avatarData = data;
  } catch (error) {
    tell(`The avatar cannot be shown: ${error.message}`);
  }
}

// -- recording -----------------------------------------------------------------------------------------------------------

$('record').onclick = () => { recording = !recording; link.say('record', { on: recording }); };
function recorded(words) {
  recording = words.on;
  $('record').textContent = words.on ? '■ Finish' : '● Record';
  $('record').classList.toggle('on-air', words.on);
  $('recorded').textContent = '';
  if (words.on) { $('downloads').replaceChildren(); return; }
  if (!words.name) { $('recorded').textContent = 'nothing was recorded: speak while it runs'; return; }
  $('recorded').textContent = `${words.seconds.toFixed(1)} s`;
  const forms = [['csv', 'CSV'], ['livelink-csv', 'Live Link CSV'], ['wav', 'Sound'], ['bag', 'ROS bag']];
  $('downloads').replaceChildren(...forms.map(([form, text]) => {
    const anchor = document.createElement('a');
    anchor.className = 'button';
    anchor.href = `/recording/${words.name}/${form}`;
    anchor.download = '';
    anchor.textContent = text;
    return anchor;
  }));
}

// -- the server ----------------------------------------------------------------------------------------------------------

link.onstate = (state, reason) => {
  const chip = $('chip-link');
  chip.className = `chip ${state === 'connected' ? 'good' : 'bad'}`;
  chip.querySelector('b').textContent = state === 'connected' ? 'connected' : 'not connected';
  if (state === 'connected') {
    unanswered = 0;
    if (config.voice) send(...Object.keys(controls));
    for (const stage of stages) if (stage.feed >= 0) link.say('watch', { feed: stage.name });
  } else {
    if (streaming) { stop(); tell(reason || 'The connection to the server broke off.'); }
    else if (reason) tell(reason);
  }
};
link.onwords = (words) => {
  if (words.type === 'voice') ({ labels, fps, latency } = words), drawLegend();
  else if (words.type === 'status') status = words;
  else if (words.type === 'recording') recorded(words);
  else if (words.type === 'controls') {
    unanswered = Math.max(0, unanswered - 1);
    if (!unanswered) { for (const name of Object.keys(controls)) if (name in words) controls[name] = words[name]; show(); }
  }
  else if (words.type === 'error') tell(words.text);
};
link.onframes = (frames, feed) => {
  const stage = stages.find((one) => one.feed === feed);
  if (!stage || !frames.length) return;
  if (feed < 0) { stage.player.take(frames, streaming ? sound.now() : null); return; }
  const now = performance.now() / 1000, offset = now - frames[frames.length - 1].time;
  const { player } = stage;
  if (player.offset === null || Math.abs(offset - player.offset) > 2) player.offset = offset;
  else player.offset = Math.min(offset, player.offset + 0.0005);
  player.take(frames, null);
};
link.onsound = (time, rate, samples, feed) => {
  const stage = stages.find((one) => one.feed === feed);
  if (stage && stage.player.offset !== null && sound.context) {
    sound.play(samples, rate, sound.context.currentTime + time + stage.player.offset + stage.delay - performance.now() / 1000);
  }
};
setInterval(() => { if (link.connected) link.say('ping', { sent: performance.now() }); }, 10000);

// -- drawing ---------------------------------------------------------------------------------------------------------------

const strip = new Strip($('strip')), bars = new Bars($('bars'), config.names);
function drawLegend() {
  $('legend').replaceChildren(...labels.map((label) => {
    const entry = document.createElement('span'), dot = document.createElement('i');
    dot.style.background = COLOURS[label] || '#888';
    entry.append(dot, label);
    return entry;
  }));
}

// The delay between a sound and its face: as short as the frames' arrival allows, and steady.
function adapt(stage) {
  const late = quantile(stage.player.arrivals.slice(-120), 0.95);
  if (Number.isNaN(late)) return;
  const wanted = Math.min(2.5, late + 0.02);
  const step = wanted > stage.delay ? 0.02 : sound.playing ? 0.0005 : 0.01; // sound that is heard must not be bent
  const before = stage.delay;
  stage.delay += Math.max(-step, Math.min(step, wanted - stage.delay));
  if (Math.abs(stage.delay - before) > 1e-5 && (sound.playing || sound.delay)) sound.setDelay(stage.delay);
}

const history = []; // [time on the sound's clock, jawOpen shown]: for tests of sound against lips
let current = { coefficients: rest, angles: still, emotion: [], activity: 0 }, framesDrawn = 0, second = performance.now(), adapted = 0;

function draw() {
  requestAnimationFrame(draw);
  for (const stage of stages) {
    let now = null, time;
    if (stage.feed < 0) {
      now = sound.now();
      if (now === null) { stage.face.pose(current.coefficients, current.angles); stage.face.draw(); continue; }
      time = now - stage.delay - (sound.playing ? sound.outputLatency : 0);
    } else {
      if (stage.player.offset === null) { stage.face.draw(); continue; }
      stage.delay = 0.12;
      time = performance.now() / 1000 - stage.player.offset - stage.delay;
    }
    const frame = stage.player.at(time, streaming ? now : null);
    if (frame) {
      stage.face.pose(frame.coefficients, frame.angles);
      if (stage === main) {
        current = frame;
        if (stage.player.shown) strip.add(stage.player.shown.time, stage.player.shown.emotion, stage.player.shown.activity);
        if (page.keep) history.push([sound.context ? sound.context.currentTime : 0, frame.coefficients[24]]);
      }
    }
    stage.face.draw();
  }
  framesDrawn += 1;
  const wall = performance.now();
  if (own && streaming && wall - adapted > 100) { adapted = wall; adapt(own); }
  if (framesDrawn % (page.rates[page.rates.length - 1] < 25 ? 5 : 2) === 0) {
    bars.draw(current.coefficients);
    if (main && main.player.shown) strip.draw(labels, main.player.shown.time);
  }
  level *= 0.9;
  if (framesDrawn % 3 === 0) $('level').style.width = `${Math.min(100, 140 * Math.sqrt(level))}%`;
  if (wall - second > 500) {
    const rate = (framesDrawn - page.lastDrawn) / ((wall - second) / 1000);
    page.lastDrawn = framesDrawn;
    second = wall;
    page.rates.push(rate);
    if (page.rates.length > 3) for (const stage of stages) stage.face.adapt(rate);
    tellFigures(rate);
  }
}

function tellFigures(rate) {
  $('fps').textContent = `${rate.toFixed(0)} /s`;
  if (status.visitors !== undefined) $('visitors').textContent = status.visitors;
  if (!main) return;
  const { player } = main;
  $('dropped').textContent = player.dropped;
  $('dropped').parentElement.classList.toggle('bad', player.dropped > 0.01 * Math.max(100, player.received));
  if (player.delays.length) $('delay').textContent = `${(1000 * quantile(player.delays.slice(-150), 0.5)).toFixed(0)} / ${(1000 * quantile(player.delays.slice(-150), 0.95)).toFixed(0)} ms`;
  if (status.recorded) $('recorded').textContent = `${status.recorded.toFixed(1)} s`;
  if (labels.length && current.emotion.length) {
    const best = [...current.emotion].indexOf(Math.max(...current.emotion));
    $('dominant').textContent = current.activity >= 0.5 || streaming ? `${labels[best]} ${Math.round(100 * current.emotion[best])} %` : '';
  }
}

const page = { keep: false, lastDrawn: 0, rates: [], history, stages, sound, link, controls, config, quantile, get current() { return current; }, get status() { return status; }, openAvatar };
window.emotalk = page; // for tests and the curious

for (const id of ['panel-sources', 'panel-emotion', 'panel-style', 'panel-record']) if (!config.voice) $(id).hidden = true;
if (!config.voice) $('hint').hidden = true;
show();
drawLegend();
if (main) await standardAvatar();
if (config.feeds.length && !config.voice) {
  // A browser plays sound only after a click.
  addEventListener('pointerdown', () => sound.open(), { once: true });
}
requestAnimationFrame(draw);
page.ready = true;
