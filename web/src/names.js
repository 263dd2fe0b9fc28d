// Names over the picture: the persons where there are several, and the points of the selected one.
import { Vector3 } from "three";

/** Names nearer to each other than this many pixels are not both shown. */
const APART_X = 64, APART_Y = 15;

export class Names {
  constructor(box) {
    this.box = box;
    this.pool = [];
    this.place = new Vector3();
  }

  draw(frame, eye, width, height) {
    const { body, show } = frame, taken = [];
    eye.updateMatrixWorld();
    let used = 0;
    const put = (x, y, z, text, person) => {
      const { place } = this;
      place.set(x, y, z).project(eye);
      if (Math.abs(place.z) > 1) return;
      const px = (place.x * 0.5 + 0.5) * width, py = (0.5 - place.y * 0.5) * height;
      if (!person && taken.some(([u, v]) => Math.abs(u - px) < APART_X && Math.abs(v - py) < APART_Y)) return;
      taken.push([px, py]);
      const label = this.pool[used] ?? this.#make();
      used++;
      label.hidden = false;
      if (label.textContent !== text) label.textContent = text;
      label.className = person ? "person" : "";
      label.style.transform = person ? `translate(${px}px, ${py}px) translate(-50%, -100%)` : `translate(${px + 8}px, ${py - 8}px)`;
    };
    const { size, floor, scratch } = frame;
    if (frame.bodies.length > 1) {
      for (const { slot, shift } of frame.bodies) {
        if (body.headAt(slot.pose, scratch)) {
          put(scratch[0] / size + shift, (scratch[1] - floor) / size + 0.1, scratch[2] / size, slot.name || "–", true);
        }
      }
    }
    if (show.labels) {
      const chosen = frame.bodies.find(({ selected }) => selected);
      for (let p = 0; chosen && p < body.count; p++) {
        const { pose } = chosen.slot;
        if (Number.isNaN(pose[3 * p]) || (body.nodes.size && !body.nodes.has(p))) continue;
        put(pose[3 * p] / size + chosen.shift, (pose[3 * p + 1] - floor) / size, pose[3 * p + 2] / size, body.names[p], false);
      }
    }
    for (; used < this.pool.length; used++) this.pool[used].hidden = true;
  }

  #make() {
    const label = document.createElement("span");
    this.box.append(label);
    this.pool.push(label);
    return label;
  }
}
