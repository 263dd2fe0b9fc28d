// The page: ticks come in, the clock says which one is looked at, and at most one picture a frame is drawn, only if something changed.
import { Body } from "./body.js";
import { Camera } from "./camera.js";
import { Charts, percent, set } from "./charts.js";
import { readColours } from "./colours.js";
import { Connection } from "./connection.js";
import { listen, part, theme } from "./controls.js";
import { Flat } from "./flat.js";
import { centre } from "./frame.js";
import { Names } from "./names.js";
import { Scene } from "./scene.js";
import { Clock, Timeline } from "./timeline.js";

const KEPT_SECONDS = 60, KEPT_BYTES = 160e6;
/** The ground is where the lowest point of the last seconds was: somebody who jumps comes off it. */
const GROUND_SECONDS = 3;
/** Words and charts follow the picture at this pace. */
const PANEL_MS = 90;
/** Bodies that all stand at the origin (exponential maps) are drawn so far apart. */
const APART = 0.85;

const canvas = part("view"), stage = part("stage");
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
const timeline = new Timeline(KEPT_SECONDS, KEPT_BYTES);
const clock = new Clock(timeline);
const charts = new Charts(part("chart"), part("classes"));
const view = Scene.possible() ? new Scene(canvas, request) : new Flat(canvas);
const camera = new Camera(canvas, request, calm);
const names = new Names(part("names"));

const frame = {
  body: undefined, bodies: [], size: 1, floor: 0, horizon: 25, focus: { x: 0, z: 0 }, scratch: new Float64Array(3),
  show: { ghosts: true, edges: true, labels: false, follow: true },
};
const count = { received: 0, drawn: 0, frames: 0 };
const link = { state: "connecting", said: "connecting" };
let model, source, track = "", shown, slots = [], due = false, lastFrame, lastPanel = 0, panelTimer, stale = true, framed = false, scrubbing = false;

function request() {
  if (due) return;
  due = true;
  requestAnimationFrame(draw);
}

/** Something else than the clock changed: words and charts are due at once. */
function refresh() {
  stale = true;
  request();
}

function draw(now) {
  due = false;
  const seconds = lastFrame === undefined ? 0 : Math.min((now - lastFrame) / 1000, 0.25);
  clock.advance(seconds);
  // Older than the buffer, a paused picture stays: its slots are kept.
  if (!(clock.paused && slots.length && clock.at < timeline.oldest)) timeline.bodies(clock.at, slots);
  if (clock.paused) for (const slot of slots) slot.pinned = true;
  const gliding = look(seconds);
  camera.controls.update();
  view.draw(frame, camera.eye);
  names.draw(frame, camera.eye, stage.clientWidth, stage.clientHeight);
  count.frames++;
  if (stale || now - lastPanel >= PANEL_MS) panel();
  // What was left out is written when its time has come, even if nothing else happens by then.
  else panelTimer ??= setTimeout(panel, PANEL_MS);
  lastFrame = now;
  if (clock.moving || gliding) request();
  else if (!clock.live) lastFrame = undefined;
}

/** Puts the bodies of this moment into the frame, and the camera where it belongs. True while it is still on its way. */
function look(seconds) {
  const { body } = frame;
  const selected = slots.find((slot) => slot.name === track) ?? slots.at(-1);
  if (selected && selected !== shown) {
    shown = selected;
    count.drawn++;
  }
  const order = slots.map((slot) => slot.name).sort();
  const beside = model?.space === "expmap" && order.length > 1;
  frame.bodies = slots.map((slot) => ({
    slot, selected: slot === selected, shift: beside ? (order.indexOf(slot.name) - (order.length - 1) / 2) * APART : 0,
  }));
  frame.selected = selected;
  if (!selected || !body.size) return false;
  frame.size = body.size;
  const still = clock.paused || calm || !framed;
  const goal = timeline.ground(clock.at, GROUND_SECONDS);
  if (Number.isFinite(goal)) frame.floor += (goal - frame.floor) * (still ? 1 : 1 - Math.exp(-5 * seconds));
  const unsettled = Math.abs(goal - frame.floor) > 2e-4 * body.size;
  const middle = centre(body, selected.pose, frame.scratch), shift = frame.bodies.find((one) => one.selected).shift;
  frame.focus.x = middle[0] / body.size + (beside ? 0 : shift);
  frame.focus.z = middle[2] / body.size;
  if (beside) frame.focus.x = 0;
  if (!framed) {
    framed = true;
    camera.reset(body, selected.pose, frame.focus);
    return true;
  }
  const gliding = frame.show.follow && camera.follow(frame.focus, still ? Infinity : seconds);
  return gliding || unsettled;
}

function panel() {
  clearTimeout(panelTimer);
  panelTimer = undefined;
  lastPanel = performance.now();
  stale = false;
  const slot = frame.selected;
  charts.draw(timeline, clock.at, slot);
  const label = part("label");
  set(label, slot ? (slot.label ?? "unsure") : "–");
  label.className = slot && slot.label === null ? "unsure" : "";
  const highest = slot ? Math.max(...slot.probabilities.filter((p) => !Number.isNaN(p))) : NaN;
  set(part("sure"), Number.isFinite(highest) ? percent(highest) : "");
  const truth = part("truth");
  set(truth, slot?.truth ? `${slot.label === slot.truth ? "✓" : "✗"} labelled ${slot.truth}` : "");
  truth.className = slot?.truth ? (slot.label === slot.truth ? "right" : slot.label === null ? "" : "wrong") : "";

  figure("latency", slot?.latency, "ms", 1);
  figure("rate", slot?.rate, "/s", 1);
  figure("dropped", slot?.dropped, "", 0);

  const span = Math.max(10, timeline.newest - timeline.oldest), scrub = part("scrub");
  scrub.min = String(-span);
  if (!scrubbing || !clock.paused) scrub.value = String(-clock.behind);
  scrub.disabled = !timeline.slots.length;
  const behind = clock.live ? "live" : `−${clock.behind.toFixed(1)} s`;
  set(part("behind"), behind);
  scrub.setAttribute("aria-valuetext", clock.live ? "live" : `${clock.behind.toFixed(1)} seconds behind live`);
  const pause = part("pause");
  pause.setAttribute("aria-pressed", String(clock.paused));
  set(pause.querySelector("span"), clock.paused ? "Play" : "Pause");
  part("live").setAttribute("aria-pressed", String(clock.live));
  part("speed").value = String(clock.speed);
  for (const name of ["ghosts", "edges", "labels", "follow"]) part(name).setAttribute("aria-pressed", String(frame.show[name]));
  horizonText(slot);
  tracks();

  const text = part("link");
  text.dataset.state = link.state;
  set(text, link.said);
  set(part("source"), source ? (source.kind === "playback" ? `playback of ${source.name}` : `session ${source.name}`) : "");
  set(part("notice"), notice());
}

function figure(name, value, unit, digits) {
  const text = Number.isFinite(value) ? value.toFixed(value >= 100 ? 0 : digits) : "–";
  const place = part(name);
  if (place.dataset.text === `${text} ${unit}`) return;
  place.dataset.text = `${text} ${unit}`;
  const small = document.createElement("small");
  small.textContent = Number.isFinite(value) ? ` ${unit}` : "";
  place.replaceChildren(text, small);
}

function horizonText(slot) {
  if (!model?.predicts) return;
  const ahead = slot ? Math.min(frame.horizon, slot.ahead) : frame.horizon;
  const ms = slot?.milliseconds[ahead - 1] ?? (frame.horizon * 1000) / model.frames_a_second;
  set(part("horizon-text"), `${frame.horizon} ${frame.horizon === 1 ? "frame" : "frames"}, ${duration(ms)}`);
  set(part("ramp-end"), `+${duration(ms)}`);
  part("ramp").hidden = !frame.show.ghosts || !slot;
}

const duration = (ms) => (ms >= 950 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms)} ms`);

function tracks() {
  const present = [...timeline.tracks.keys()].sort(), select = part("track");
  part("tracks").hidden = present.length < 2;
  const listed = [...select.options].map((option) => option.value);
  if (JSON.stringify(listed) !== JSON.stringify(present)) {
    select.replaceChildren(...present.map((name) => new Option(name || "–", name)));
  }
  if (frame.selected) select.value = frame.selected.name;
}

function notice() {
  if (link.state === "refused" || (!slots.length && link.state === "lost")) return link.said;
  if (link.state === "connected" && !timeline.slots.length) return "Waiting for the first answer.";
  return "";
}

function receive(message) {
  if (message.type === "hello") hello(message);
  else if (message.type === "source") {
    timeline.cut();
    source = { kind: message.source, name: message.name ?? message.session ?? "" };
  } else if (message.type === "tick") {
    timeline.add(message);
    count.received++;
    if (!timeline.tracks.has(track)) track = message.track ?? "";
    request();
    return;
  }
  refresh();
}

function hello(message) {
  const before = model;
  model = message.model;
  source = { kind: message.source, name: message.name ?? "" };
  if (!frame.body?.same(model.drawing) || JSON.stringify(before?.classes) !== JSON.stringify(model.classes)) {
    frame.body = new Body(model.drawing);
    timeline.open(frame.body, model.classes ?? []);
    charts.open(model.classes ?? []);
    slots.length = 0;
    shown = undefined;
    framed = false;
    clock.goLive();
  } else {
    timeline.cut();
  }
  const slider = part("horizon"), most = model.max_horizon ?? model.horizon;
  slider.max = String(most);
  if (!before) frame.horizon = model.horizon;
  frame.horizon = Math.min(frame.horizon, most);
  slider.value = String(frame.horizon);
  part("ahead").hidden = part("ghosts").hidden = part("ramp").hidden = !model.predicts;
  part("recognition").hidden = part("said").hidden = !model.recognises;
  set(part("model"), [model.preset, `${model.joints.length} joints (${model.layout})`, `${model.observed} frames seen`, model.engine, `symgnn ${model.symgnn}`]
    .filter(Boolean).join(" · "));
  connection.send({ type: "horizon", frames: frame.horizon });
}

listen({
  pause() {
    clock.pause(!clock.paused);
    refresh();
  },
  seek(behind) {
    clock.seek(timeline.newest - behind);
    refresh();
  },
  step(way) {
    clock.seek(timeline.step(clock.at, way, frame.selected?.name ?? ""));
    refresh();
  },
  oldest() {
    clock.seek(timeline.oldest);
    refresh();
  },
  live() {
    clock.goLive();
    refresh();
  },
  speed(value) {
    clock.setSpeed(value);
    refresh();
  },
  toggle(name) {
    frame.show[name] = !frame.show[name];
    refresh();
  },
  reset() {
    camera.reset(frame.body, frame.selected?.pose, frame.focus);
    refresh();
  },
  turn: (aside, up, nearer) => camera.turn(aside, up, nearer),
  horizon(frames) {
    frame.horizon = frames;
    connection.send({ type: "horizon", frames });
    refresh();
  },
  track(name) {
    track = name;
    refresh();
  },
});
part("scrub").addEventListener("pointerdown", () => (scrubbing = true));
addEventListener("pointerup", () => (scrubbing = false));

new ResizeObserver(() => {
  const { clientWidth, clientHeight } = stage;
  if (!clientWidth || !clientHeight) return;
  view.resize(clientWidth, clientHeight, Math.min(devicePixelRatio, 2));
  camera.resize(clientWidth, clientHeight);
  refresh();
}).observe(stage);

theme(() => {
  const colours = readColours();
  view.theme(colours);
  charts.theme(colours);
  refresh();
});
if (matchMedia("(max-width: 44rem)").matches) part("options").open = false;

/** ws(s)://…/v1/watch beside this page, with its session and token; the token leaves the address bar. */
function address() {
  const here = new URL(location.href), there = new URL("v1/watch", here);
  there.protocol = here.protocol === "https:" ? "wss:" : "ws:";
  there.search = there.hash = "";
  for (const name of ["session", "token"]) {
    if (here.searchParams.has(name)) there.searchParams.set(name, here.searchParams.get(name));
  }
  if (here.searchParams.has("token")) {
    here.searchParams.delete("token");
    history.replaceState(history.state, "", here);
  }
  return there.href;
}

const connection = new Connection(address(), {
  message: receive,
  state(state, said) {
    Object.assign(link, { state, said });
    refresh();
  },
});

/** For tests and the curious: what the page has done so far; nothing can be changed through it. */
window.symgnn = Object.freeze({
  state: () => Object.freeze({
    ...count, connected: link.state === "connected", link: link.said, source: source ? `${source.kind}: ${source.name}` : null,
    paused: clock.paused, live: clock.live, position: clock.at, behind: clock.behind, oldest: timeline.oldest, newest: timeline.newest,
    speed: clock.speed, horizon: frame.horizon, time: frame.selected?.time ?? null, track: frame.selected?.name ?? null,
    bodies: frame.bodies.length, renderer: view.kind,
  }),
});
