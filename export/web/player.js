// The report's 3D player. Everything it shows lies in the page: JSON in #data, numbers in #pack (zlib, base64).
// Camera space (x right, y down, z forward, metres) becomes three's (y up), level.
import {
  Bone, BufferAttribute, BufferGeometry, Color, CylinderGeometry, DirectionalLight, Float32BufferAttribute, Fog, Group,
  HemisphereLight, InstancedMesh, LineBasicMaterial, LineSegments, Matrix4, MeshStandardMaterial, PerspectiveCamera,
  Quaternion, Scene, Skeleton, SkinnedMesh, SphereGeometry, SRGBColorSpace, Uint16BufferAttribute, Uint8BufferAttribute,
  Vector3, WebGLRenderer,
} from 'three';
import { OrbitControls } from 'three/examples/jsm/controls/OrbitControls.js';

const KINDS = { f4: Float32Array, i2: Int16Array, u2: Uint16Array, i1: Int8Array, u1: Uint8Array, u4: Uint32Array };
const GAP_S = 0.25; // a person not seen for so long is not shown
const LEAP_S = 1; // what an arrow key with Shift goes
const FRAME_S = 0.04; // what one without goes where nobody is seen
const panel = document.getElementById('player');
const data = JSON.parse(document.getElementById('data').textContent);

async function unpack() {
  const packed = Uint8Array.from(atob(document.getElementById('pack').textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate'));
  const bytes = await new Response(stream).arrayBuffer();
  return ([kind, offset, length]) => new KINDS[kind](bytes, offset, length);
}

class Person {
  constructor(track, numbers) {
    this.id = track.id;
    this.time = numbers(track.time);
    this.turns = numbers(track.turns); // quaternions of the moved joints, as int16
    this.transl = numbers(track.transl);
    this.rest = numbers(track.rest);
    this.moved = this.turns.length / 4 / this.time.length;
    this.material = new MeshStandardMaterial({ color: new Color().setStyle(track.color), roughness: 0.75 });
    this.bones = data.parents.map(() => new Bone());
    data.parents.forEach((parent, j) => {
      const at = new Vector3().fromArray(this.rest, 3 * j);
      if (parent >= 0) {
        this.bones[parent].add(this.bones[j]);
        at.sub(new Vector3().fromArray(this.rest, 3 * parent));
      }
      this.bones[j].position.copy(at);
    });
    this.root = this.bones[0];
    this.group = new Group();
    this.group.add(this.root);
    this.group.visible = false;
    this.build = () => (data.mesh ? this.skin(track, numbers) : this.sticks());
  }

  skin(track, numbers) {
    const { rest, dirs, scales, faces, joints, weights } = data.mesh;
    const position = Float32Array.from(numbers(rest));
    const all = numbers(dirs);
    track.betas.forEach((beta, k) => {
      const unit = beta * scales[k];
      for (let i = 0, from = k * position.length; i < position.length; i++) position[i] += unit * all[from + i];
    });
    const geometry = new BufferGeometry();
    geometry.setAttribute('position', new BufferAttribute(position, 3));
    geometry.setAttribute('skinIndex', new Uint16BufferAttribute(numbers(joints), 4));
    geometry.setAttribute('skinWeight', new Uint8BufferAttribute(numbers(weights), 4, true));
    geometry.setIndex(new BufferAttribute(numbers(faces), 1));
    geometry.computeVertexNormals();
    const mesh = new SkinnedMesh(geometry, this.material);
    mesh.frustumCulled = false;
    const inverses = this.bones.map((_, j) => {
      const [x, y, z] = this.rest.subarray(3 * j, 3 * j + 3);
      return new Matrix4().makeTranslation(-x, -y, -z);
    });
    mesh.bind(new Skeleton(this.bones, inverses), new Matrix4());
    this.group.add(mesh);
  }

  sticks() {
    const count = data.parents.length;
    this.sticksOf = new InstancedMesh(new CylinderGeometry(0.022, 0.022, 1, 10), this.material, count - 1);
    this.balls = new InstancedMesh(new SphereGeometry(0.036, 14, 10), this.material, count);
    for (const item of [this.sticksOf, this.balls]) {
      item.frustumCulled = false;
      this.group.add(item);
    }
  }

  // Shows the row nearest to the time; false where there is none.
  pose(time) {
    const row = nearest(this.time, time);
    this.group.visible = Math.abs(this.time[row] - time) <= GAP_S;
    if (!this.group.visible) return;
    if (this.build) {
      this.build();
      this.build = null;
    }
    const { turns, transl, moved } = this;
    for (let j = 0; j < moved; j++) {
      const from = 4 * (row * moved + j);
      this.bones[j].quaternion.set(turns[from], turns[from + 1], turns[from + 2], turns[from + 3]).normalize();
    }
    this.root.position.fromArray(this.rest).add(AT.fromArray(transl, 3 * row));
    if (this.balls) this.placeSticks();
  }

  placeSticks() {
    this.root.updateMatrixWorld(true);
    INVERSE.copy(this.group.matrixWorld).invert();
    const at = this.bones.map((bone) => new Vector3().setFromMatrixPosition(bone.matrixWorld).applyMatrix4(INVERSE));
    at.forEach((point, j) => {
      this.balls.setMatrixAt(j, MATRIX.makeTranslation(point));
      if (data.parents[j] < 0) return;
      const from = at[data.parents[j]];
      AT.subVectors(point, from);
      const length = Math.max(AT.length(), 1e-4);
      TURN.setFromUnitVectors(UP, AT.divideScalar(length));
      const middle = new Vector3().addVectors(point, from).multiplyScalar(0.5);
      this.sticksOf.setMatrixAt(j - 1, MATRIX.compose(middle, TURN, SIZE.set(1, length, 1)));
    });
    this.balls.instanceMatrix.needsUpdate = this.sticksOf.instanceMatrix.needsUpdate = true;
  }

  // Where the person's pelvis is, in three's world.
  place(target) {
    this.root.updateWorldMatrix(true, false);
    return target.setFromMatrixPosition(this.root.matrixWorld);
  }

  emphasise(state) {
    this.material.transparent = state === 'other';
    this.material.opacity = state === 'other' ? 0.22 : 1;
    this.material.depthWrite = state !== 'other';
    this.material.needsUpdate = true; // else opaque shaders stay as they are
  }
}

const AT = new Vector3(), SIZE = new Vector3(), UP = new Vector3(0, 1, 0);
const MATRIX = new Matrix4(), INVERSE = new Matrix4(), TURN = new Quaternion();

function nearest(times, time) {
  let low = 0, high = times.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (times[middle] <= time) low = middle;
    else high = middle - 1;
  }
  return low + 1 < times.length && times[low + 1] - time < time - times[low] ? low + 1 : low;
}

function stage() {
  const renderer = new WebGLRenderer({ antialias: true, canvas: panel.querySelector('canvas') });
  renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
  renderer.outputColorSpace = SRGBColorSpace;
  const scene = new Scene();
  scene.add(new HemisphereLight(0xffffff, 0xb9b2a6, 2.1));
  const key = new DirectionalLight(0xfff6e8, 1.7);
  key.position.set(-4, 7, 5);
  scene.add(key);
  const world = new Group();
  scene.add(world);
  return { renderer, scene, world };
}

// A grid of one metre at the height of the feet, metre by metre: long lines that end behind the camera lose their fog.
function addFloor(scene, middle, height, reach) {
  const half = Math.min(Math.ceil(4 * reach), 60);
  const points = [];
  for (let i = -half; i <= half; i++) {
    for (let j = -half; j < half; j++) points.push(i, 0, j, i, 0, j + 1, j, 0, i, j + 1, 0, i);
  }
  const geometry = new BufferGeometry().setAttribute('position', new Float32BufferAttribute(points, 3));
  const grid = new LineSegments(geometry, new LineBasicMaterial());
  grid.position.set(Math.round(middle.x), height, Math.round(middle.z));
  scene.add(grid);
  return grid;
}

// Paints the scene in the page's colours, which follow the reader's choice of light or dark.
function paint(scene, grid) {
  const style = getComputedStyle(panel);
  scene.background = new Color().setStyle(style.getPropertyValue('--stage').trim());
  scene.fog.color.copy(scene.background);
  grid?.material.color.setStyle(style.getPropertyValue('--grid').trim());
}

async function start() {
  const numbers = await unpack();
  const { renderer, scene, world } = stage();
  const people = data.tracks.map((track) => new Person(track, numbers));
  people.forEach((person) => world.add(person.group));
  // Levelled, so that the picture turns about the vertical; three's y is up.
  const [right, down, ahead] = data.axes;
  const level = new Matrix4().set(...right, 0, ...down.map((v) => -v), 0, ...ahead.map((v) => -v), 0, 0, 0, 0, 1);
  world.quaternion.setFromRotationMatrix(level);
  const upright = (point) => point.applyMatrix4(level);
  const middle = upright(new Vector3(...data.centre));
  const reach = Math.max(2, data.reach);
  const grid = data.floor === null ? null : addFloor(scene, middle, data.floor, reach);
  const [width, height] = data.size;
  const filmedFov = (2 * Math.atan(height / 2 / data.focal) * 180) / Math.PI;
  const distance = new Vector3(...data.centre).length();
  scene.fog = new Fog(0, distance + reach, distance + 5 * reach);
  const dark = matchMedia('(prefers-color-scheme: dark)');
  let stale = true; // whether the picture is not that of the scene
  dark.addEventListener('change', () => {
    paint(scene, grid);
    stale = true;
  });
  paint(scene, grid);
  const camera = new PerspectiveCamera(filmedFov, width / height, 0.05, 1000 + 10 * distance);
  const controls = new OrbitControls(camera, renderer.domElement);
  controls.enableDamping = true;
  renderer.domElement.style.touchAction = 'pan-y'; // a finger that moves up or down scrolls the page
  const slider = panel.querySelector('input'), clock = panel.querySelector('output');
  const timeline = document.querySelector('svg[role=slider]');
  const moments = [...new Set(people.flatMap((person) => [...person.time]))].sort((a, b) => a - b);
  const button = panel.querySelector('[data-do=play]');
  const state = { time: data.begin, playing: false, selected: null };
  const goal = new Vector3();
  let fov = filmedFov;

  // Sees the whole frame as it was filmed in narrow windows too.
  function widen() {
    stale = true;
    const lack = fov === filmedFov ? Math.max(1, width / height / camera.aspect) : 1;
    camera.fov = (360 / Math.PI) * Math.atan(lack * Math.tan((fov * Math.PI) / 360));
    camera.updateProjectionMatrix();
  }

  function look(where) {
    const far = 2.2 * reach + 1.5;
    controls.target.copy(middle);
    camera.up.set(0, 1, 0);
    if (where === 'side') camera.position.set(middle.x - far, middle.y + 0.3 * far, middle.z);
    if (where === 'above') camera.position.set(middle.x, middle.y + 1.2 * far, middle.z + 0.35 * far);
    if (where === 'filmed') {
      camera.position.set(0, 0, 0);
      camera.up.copy(upright(new Vector3(0, -1, 0)));
      controls.target.copy(upright(new Vector3(0, 0, data.centre[2])));
    }
    fov = where === 'filmed' ? filmedFov : 45;
    scene.fog.near = (where === 'filmed' ? distance : far) + reach;
    scene.fog.far = scene.fog.near + 4 * reach;
    widen();
    controls.update();
  }

  function select(id) {
    state.selected = state.selected === id ? null : id;
    panel.dataset.selected = state.selected ?? '';
    for (const item of document.querySelectorAll('[data-track]')) {
      const mine = Number(item.dataset.track) === state.selected;
      item.classList.toggle('selected', mine);
      if (item.ariaPressed !== null) item.ariaPressed = mine;
      item.classList.toggle('faded', state.selected !== null && !mine);
    }
    const chosen = people.find((person) => person.id === state.selected);
    people.forEach((p) => p.emphasise(!chosen ? 'all' : p === chosen ? 'chosen' : 'other'));
    if (!chosen) return look('filmed');
    if (!chosen.time.some((t) => Math.abs(t - state.time) <= GAP_S)) seek(chosen.time[0]);
    chosen.pose(state.time);
    chosen.place(goal);
    fov = 40;
    scene.fog.near = 4 + reach;
    scene.fog.far = 4 + 5 * reach;
    widen();
    camera.position.copy(goal).add(AT.set(1.3, 0.9, 3.6));
    controls.target.copy(goal);
    controls.update();
  }

  // Keeps the chosen person where they are in the picture.
  function follow() {
    const chosen = people.find((person) => person.id === state.selected);
    if (!chosen?.group.visible) return;
    chosen.place(AT);
    camera.position.add(AT).sub(goal);
    controls.target.add(AT).sub(goal);
    goal.copy(AT);
  }

  function seek(time) {
    state.time = Math.min(Math.max(time, data.begin), data.end);
    slider.value = state.time;
    clock.textContent = `${state.time.toFixed(2)} s`;
    timeline.ariaValueNow = state.time.toFixed(3);
    slider.ariaValueText = timeline.ariaValueText = clock.textContent;
    panel.dataset.time = state.time.toFixed(3);
    people.forEach((person) => person.pose(state.time));
    follow();
    stale = true;
    const share = (state.time - data.begin) / Math.max(data.end - data.begin, 1e-9);
    document.querySelectorAll('.playhead').forEach((line) => line.setAttribute('x1', 1000 * share));
    document.querySelectorAll('.playhead').forEach((line) => line.setAttribute('x2', 1000 * share));
  }

  function play(on) {
    state.playing = on;
    if (on && state.time >= data.end) seek(data.begin);
    button.textContent = on ? 'Pause' : 'Play';
    panel.dataset.playing = on;
  }

  // Seeks to the next moment, or the one before, at which anybody is seen.
  function step(way) {
    const near = nearest(moments, state.time);
    const reached = way * (moments[near] - state.time) > 1e-3;
    seek(moments[reached ? near : near + way] ?? state.time + way * FRAME_S);
  }

  slider.min = timeline.ariaValueMin = data.begin;
  slider.max = timeline.ariaValueMax = data.end;
  slider.step = 'any';
  slider.addEventListener('input', () => {
    play(false);
    seek(Number(slider.value));
  });
  button.addEventListener('click', () => play(!state.playing));
  panel.querySelectorAll('[data-look]').forEach((b) => b.addEventListener('click', () => look(b.dataset.look)));
  document.addEventListener('click', (event) => {
    const item = event.target.closest('[data-track]');
    if (item) select(Number(item.dataset.track));
  });
  document.querySelectorAll('svg.time').forEach((chart) =>
    chart.addEventListener('click', (event) => {
      if (event.target.closest('[data-track]')) return;
      const box = chart.getBoundingClientRect();
      seek(data.begin + ((event.clientX - box.left) / box.width) * (data.end - data.begin));
    }),
  );
  const keys = {
    ' ': () => play(!state.playing),
    ArrowLeft: (leap) => (leap ? seek(state.time - LEAP_S) : step(-1)),
    ArrowRight: (leap) => (leap ? seek(state.time + LEAP_S) : step(1)),
    Escape: () => state.selected !== null && select(state.selected),
  };
  const onSlider = {
    ArrowDown: keys.ArrowLeft,
    ArrowUp: keys.ArrowRight,
    PageDown: () => seek(state.time - LEAP_S),
    PageUp: () => seek(state.time + LEAP_S),
    Home: () => seek(data.begin),
    End: () => seek(data.end),
  };
  addEventListener('keydown', (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const chosen = /^[1-9]$/.test(event.key) ? data.tracks[event.key - 1] : undefined;
    const known = event.target.closest('[role=slider], input') ? { ...keys, ...onSlider } : keys;
    const act = chosen ? () => select(chosen.id) : known[event.key];
    if (!act || (event.key === ' ' && event.target.closest('button'))) return;
    event.preventDefault();
    if (event.key !== ' ' && event.key !== 'Escape' && !chosen) play(false);
    act(event.shiftKey);
  });

  function fit() {
    const box = panel.querySelector('canvas').parentElement.getBoundingClientRect();
    renderer.setSize(box.width, box.height, false);
    camera.aspect = box.width / box.height;
    widen();
  }
  addEventListener('resize', fit);
  fit();
  look('filmed');
  seek(data.begin);
  let before = performance.now();
  renderer.setAnimationLoop((now) => {
    const step = (now - before) / 1000;
    before = now;
    if (state.playing) {
      seek(state.time + step);
      if (state.time >= data.end) play(false);
    }
    if (!controls.update() && !stale) return;
    stale = false;
    renderer.render(scene, camera);
  });
  panel.dataset.ready = 'true';
}

start().catch((error) => {
  panel.querySelector('.lack').textContent = `The 3D view cannot run here (${error.message}).`;
  panel.dataset.ready = 'false';
});
