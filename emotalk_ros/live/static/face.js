// A face: a GLB avatar whose morph targets follow the 52 coefficients, drawn by three.js.

import {
  ACESFilmicToneMapping, Box3, BufferAttribute, Color, DirectionalLight, DynamicDrawUsage, GLTFLoader, Group, HemisphereLight, OrbitControls, PerspectiveCamera, Scene,
  SRGBColorSpace, Vector3, WebGLRenderer,
} from './three.js';

const LARGEST = 300e6;

// Whether this browser draws without a graphics card: then edges are left jagged, which halves the work.
function drawsInSoftware() {
  const pen = document.createElement("canvas").getContext("webgl2");
  const info = pen && pen.getExtension("WEBGL_debug_renderer_info");
  return Boolean(info) && /swiftshader|llvmpipe|software|basic render/i.test(pen.getParameter(info.UNMASKED_RENDERER_WEBGL));
}


export class Face {
  constructor(canvas) {
    this.canvas = canvas;
    const soft = drawsInSoftware();
    try {
      this.renderer = new WebGLRenderer({ canvas, antialias: !soft, alpha: true });
    } catch {
      throw new Error('This browser shows no 3D (WebGL is off or missing). Try another browser, or switch hardware acceleration on.');
    }
    this.renderer.outputColorSpace = SRGBColorSpace;
    this.renderer.toneMapping = ACESFilmicToneMapping;
    this.renderer.toneMappingExposure = 1.05;
    this.renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
    this.scene = new Scene();
    const key = new DirectionalLight(new Color('#fff1e2'), 2.5);
    key.position.set(-0.55, 0.7, 1.5);
    const fill = new DirectionalLight(new Color('#a9bdff'), 1.0);
    fill.position.set(1.3, 0.2, 0.8);
    const rim = new DirectionalLight(new Color('#7fd4ff'), 1.4);
    rim.position.set(0.9, 0.8, -1.2);
    this.scene.add(key, fill, rim, new HemisphereLight(new Color('#dfe8ff'), new Color('#4a3530'), 1.15));
    this.camera = new PerspectiveCamera(24, 1, 0.01, 100);
    this.controls = new OrbitControls(this.camera, canvas);
    this.controls.enablePan = false;
    this.controls.minPolarAngle = Math.PI * 0.3;
    this.controls.maxPolarAngle = Math.PI * 0.65;
    this.controls.minAzimuthAngle = -1.2;
    this.controls.maxAzimuthAngle = 1.2;
    this.morphers = [];
    this.drawn = 0;
    this.scale = soft ? 0.6 : 1; // of the resolution; falls where drawing is slow
    this.renderer.setPixelRatio(Math.min(devicePixelRatio, 2) * this.scale);
  }

  // Draws coarser on a machine that is too slow for smooth motion, finer again on one that is fast enough.
  adapt(rate) {
    const scale = rate < 22 ? Math.max(0.4, this.scale * 0.8) : rate > 50 ? Math.min(1, this.scale * 1.1) : this.scale;
    if (Math.abs(scale - this.scale) < 1e-3) return;
    this.scale = scale;
    this.renderer.setPixelRatio(Math.min(devicePixelRatio, 2) * scale);
    this.width = 0;
  }

  // Loads a GLB (an ArrayBuffer) and says what of it will move. The avatar before stays where this one is refused.
  async load(data, { mapping = null, standard = false } = {}) {
    if (data.byteLength > LARGEST) throw new Error(`The file has ${Math.round(data.byteLength / 1e6)} MB: at most ${LARGEST / 1e6} are taken.`);
    if (new TextDecoder().decode(new Uint8Array(data, 0, Math.min(4, data.byteLength))) !== 'glTF') {
      throw new Error('This is no GLB file. Export the avatar as binary glTF (.glb or .vrm).');
    }
    let gltf;
    try {
      gltf = await new GLTFLoader().parseAsync(data, '');
    } catch (error) {
      const words = String(error && error.message ? error.message : error);
      if (/DRACO|meshopt|KTX2/i.test(words)) throw new Error('Its meshes or textures are compressed (Draco, meshopt or KTX2): export it without compression.');
      throw new Error(`The GLB is broken or cut short (${words.slice(0, 160)}).`);
    }
    const meshes = [];
    gltf.scene.traverse((node) => { if (node.isMesh && node.morphTargetDictionary) meshes.push(node); });
    const names = [...new Set(meshes.flatMap((mesh) => Object.keys(mesh.morphTargetDictionary)))];
    const answer = await fetch('/api/match', { method: 'POST', body: JSON.stringify({ names, mapping, default: standard }) });
    const match = await answer.json().catch(() => ({ error: `the server answered ${answer.status}` }));
    if (match.error) throw new Error(match.error);
    this.show(gltf.scene, meshes, match);
    return match;
  }

  show(scene, meshes, match) {
    if (this.pivot) { this.scene.remove(this.pivot); this.pivot.traverse(free); }
    const done = new Map(); // meshes may share a geometry
    for (const mesh of meshes) {
      mesh.frustumCulled = false;
      const named = Object.entries(mesh.morphTargetDictionary).filter(([name]) => match.targets[name]);
      if (!done.has(mesh.geometry)) done.set(mesh.geometry, new Morpher(mesh.geometry, named.map(([name, index]) => [index, match.targets[name]])));
    }
    this.morphers = [...done.values()];
    this.frame(scene, meshes);
    for (const mesh of meshes) {
      mesh.geometry.morphAttributes = {};
      mesh.updateMorphTargets();
    }
    this.bones = { head: null, left: null, right: null };
    scene.traverse((node) => {
      if (!node.isBone) return;
      const name = node.name.toLowerCase().replace(/[^a-z]/g, '');
      if (!this.bones.head && /(^|[a-z])head$/.test(name)) this.bones.head = node;
      if (!this.bones.left && /(left|l)eye$|eye(left|l)$/.test(name)) this.bones.left = node;
      if (!this.bones.right && /(right|r)eye$|eye(right|r)$/.test(name)) this.bones.right = node;
    });
    for (const bone of Object.values(this.bones)) if (bone) bone.userData.rest = bone.quaternion.clone();
    const looks = Object.values(match.targets).some((weights) => weights.some(([k]) => k >= 10 && k <= 17));
    if (looks) this.bones.left = this.bones.right = null;
    this.pivot = new Group();
    this.pivot.add(scene);
    this.scene.add(this.pivot);
    if (!this.bones.head) { // the whole model turns about the neck
      scene.position.sub(this.neck);
      this.pivot.position.copy(this.neck);
    }
  }

  // Puts the camera before what moves.
  frame(scene, meshes) {
    scene.updateMatrixWorld(true);
    const box = new Box3(), point = new Vector3();
    for (const mesh of meshes) {
      const { position } = mesh.geometry.attributes;
      const morphs = mesh.geometry.morphAttributes.position || [];
      const step = Math.max(1, Math.floor(position.count / 1500));
      for (let i = 0; i < position.count; i += step) {
        const moves = morphs.some((m) => Math.abs(m.getX(i)) + Math.abs(m.getY(i)) + Math.abs(m.getZ(i)) > 1e-6);
        if (!moves) continue;
        mesh.getVertexPosition(i, point);
        box.expandByPoint(point.applyMatrix4(mesh.matrixWorld));
      }
    }
    if (box.isEmpty()) box.setFromObject(scene);
    const size = box.getSize(new Vector3()), middle = box.getCenter(new Vector3());
    const height = Math.max(size.y, 1.1 * size.x, 1e-3);
    this.height = height;
    this.neck = new Vector3(middle.x, box.min.y + 0.1 * height, box.min.z + 0.2 * size.z);
    const distance = (0.62 * height) / Math.tan((this.camera.fov * Math.PI) / 360);
    this.camera.position.set(middle.x, middle.y + 0.04 * height, middle.z + distance);
    this.camera.near = distance / 50;
    this.camera.far = distance * 20;
    this.camera.updateProjectionMatrix();
    this.controls.target.set(middle.x, middle.y + 0.03 * height, middle.z);
    this.controls.minDistance = distance * 0.4;
    this.controls.maxDistance = distance * 2.5;
    this.controls.update();
  }

  pose(coefficients, angles) {
    for (const morpher of this.morphers) morpher.apply(coefficients);
    if (!this.pivot) return;
    if (this.bones.head) turn(this.bones.head, angles, 0);
    else this.pivot.rotation.set(-angles[1], angles[0], -angles[2], 'YXZ');
    if (this.bones.left) turn(this.bones.left, angles, 3);
    if (this.bones.right) turn(this.bones.right, angles, 6);
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (width !== this.width || height !== this.heightPixels) {
      this.width = width;
      this.heightPixels = height;
      this.renderer.setSize(width, height, false);
      this.camera.aspect = width / Math.max(1, height);
      this.camera.updateProjectionMatrix();
    }
    this.renderer.render(this.scene, this.camera);
    this.drawn += 1;
  }

  // A small picture of the face with these coefficients, as a data address.
  picture(coefficients, size = 120) {
    const kept = [this.camera.aspect, this.camera.fov, this.renderer.getPixelRatio()];
    this.pose(coefficients, new Float32Array(9));
    this.camera.aspect = 1;
    this.camera.fov *= 0.62;
    this.camera.updateProjectionMatrix();
    this.renderer.setPixelRatio(1);
    this.renderer.setSize(size, size, false);
    this.renderer.render(this.scene, this.camera);
    const address = this.canvas.toDataURL('image/png');
    [this.camera.aspect, this.camera.fov] = kept;
    this.renderer.setPixelRatio(kept[2]);
    this.width = 0;
    this.draw();
    return address;
  }
}

// Moves the vertices of one geometry. A shape moves a part of the face only, so that this costs less than having the
// graphics card add up all 52 for every vertex (without a card a hundred times less).
class Morpher {
  // `targets`: [index of the morph target, [[coefficient, weight], ...]] each.
  constructor(geometry, targets) {
    this.parts = ['position', 'normal'].filter((key) => geometry.attributes[key]).map((key) => {
      let attribute = geometry.attributes[key];
      if (attribute.isInterleavedBufferAttribute || attribute.normalized || !(attribute.array instanceof Float32Array)) {
        attribute = attribute.clone();
        const plain = new Float32Array(attribute.count * 3);
        for (let i = 0; i < attribute.count; i++) for (let c = 0; c < 3; c++) plain[3 * i + c] = attribute.getComponent(i, c);
        attribute = new BufferAttribute(plain, 3);
        geometry.setAttribute(key, attribute);
      }
      attribute.setUsage(DynamicDrawUsage);
      const rest = attribute.array.slice();
      const moves = targets.map(([index]) => sparse(geometry.morphAttributes[key] && geometry.morphAttributes[key][index], rest, geometry.morphTargetsRelative));
      return { attribute, rest, moves };
    });
    this.weights = targets.map(([, weights]) => weights);
  }

  apply(coefficients) {
    const values = this.weights.map((weights) => Math.min(1, weights.reduce((sum, [k, weight]) => sum + weight * coefficients[k], 0)));
    for (const { attribute, rest, moves } of this.parts) {
      const { array } = attribute;
      array.set(rest);
      values.forEach((value, t) => {
        if (value < 0.003) return;
        const { ids, offsets } = moves[t];
        for (let j = 0; j < ids.length; j++) {
          const i = 3 * ids[j];
          array[i] += value * offsets[3 * j];
          array[i + 1] += value * offsets[3 * j + 1];
          array[i + 2] += value * offsets[3 * j + 2];
        }
      });
      attribute.needsUpdate = true;
    }
  }
}

// The vertices that a morph target moves, and how far.
function sparse(target, rest, relative) {
  if (!target) return { ids: [], offsets: [] };
  const ids = [], offsets = [];
  for (let i = 0; i < target.count; i++) {
    let x = target.getX(i), y = target.getY(i), z = target.getZ(i);
    if (!relative) { x -= rest[3 * i]; y -= rest[3 * i + 1]; z -= rest[3 * i + 2]; }
    if (Math.abs(x) + Math.abs(y) + Math.abs(z) < 1e-7) continue;
    ids.push(i);
    offsets.push(x, y, z);
  }
  return { ids: Uint32Array.from(ids), offsets: Float32Array.from(offsets) };
}

function turn(bone, angles, at) {
  bone.quaternion.copy(bone.userData.rest);
  bone.rotateY(angles[at]);
  bone.rotateX(-angles[at + 1]);
  bone.rotateZ(-angles[at + 2]);
}

function free(node) {
  if (node.geometry) node.geometry.dispose();
  for (const material of [node.material].flat()) if (material) material.dispose();
}
