// The same picture without WebGL: lines on a 2D canvas, through the same camera.
import { Vector3 } from "three";
import { cssColour, rampColour } from "./colours.js";
import { arcs, ghostAlpha, ghostFrames, limbs } from "./frame.js";

const CELL = 0.25, CELLS = 6;

export class Flat {
  constructor(canvas) {
    this.kind = "2d";
    this.brush = canvas.getContext("2d");
    this.canvas = canvas;
    this.one = new Vector3();
    this.other = new Vector3();
  }

  resize(width, height, ratio) {
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
  }

  theme(colours) {
    this.colours = colours;
  }

  draw(frame, eye) {
    const { body, horizon, show } = frame, { brush, colours } = this;
    eye.updateMatrixWorld();
    this.eye = eye;
    brush.clearRect(0, 0, this.canvas.width, this.canvas.height);
    brush.lineCap = "round";
    this.#grid(frame);
    for (const { slot, shift, selected } of frame.bodies) {
      const shown = show.ghosts ? ghostFrames(slot.ahead, horizon) : [];
      for (let k = shown.length - 1; k >= 0; k--) {
        const colour = cssColour(rampColour(colours, shown.length > 1 ? k / (shown.length - 1) : 0), ghostAlpha(k, shown.length) * 0.7);
        limbs(body, slot.ghosts, shown[k] * body.count * 3, frame, shift, false, (...limb) => this.#line(limb, limb[6], colour));
      }
      brush.globalAlpha = selected ? 1 : 0.5;
      limbs(body, slot.pose, 0, frame, shift, false, (...limb) => this.#line(limb, limb[6], colours.css[limb[8]] ?? colours.css.middle));
      brush.globalAlpha = 1;
      if (!show.edges) continue;
      arcs(body, slot, frame, shift, (...piece) => {
        this.#line(piece, piece[6], cssColour(colours.relation, 0.12 + 0.5 * piece[7] * piece[7]));
      });
    }
  }

  #grid(frame) {
    if (frame.body?.flat) return;
    const snap = (value) => Math.round(value / CELL) * CELL;
    const x = snap(frame.focus.x), z = snap(frame.focus.z), far = CELLS * CELL;
    for (let k = -CELLS; k <= CELLS; k++) {
      const colour = cssColour(this.colours.grid, 0.4 * (1 - Math.abs(k) / (CELLS + 1)));
      this.#line([x + k * CELL, 0, z - far, x + k * CELL, 0, z + far], 0.001, colour);
      this.#line([x - far, 0, z + k * CELL, x + far, 0, z + k * CELL], 0.001, colour);
    }
  }

  #line([ax, ay, az, bx, by, bz], radius, colour) {
    const { brush, canvas, eye, one, other } = this;
    const far = one.set((ax + bx) / 2, (ay + by) / 2, (az + bz) / 2).distanceTo(eye.position);
    one.set(ax, ay, az).project(eye);
    other.set(bx, by, bz).project(eye);
    if (Math.abs(one.z) > 1 || Math.abs(other.z) > 1) return;
    brush.strokeStyle = colour;
    brush.lineWidth = Math.max(1, (2 * radius * canvas.height) / (2 * far * Math.tan((eye.fov * Math.PI) / 360)));
    brush.beginPath();
    brush.moveTo((one.x * 0.5 + 0.5) * canvas.width, (0.5 - one.y * 0.5) * canvas.height);
    brush.lineTo((other.x * 0.5 + 0.5) * canvas.width, (0.5 - other.y * 0.5) * canvas.height);
    brush.stroke();
  }
}
