// The picture with WebGL: solid bodies, ghosts, arcs, ground.
import { Scene as ThreeScene, WebGLRenderer } from "three";
import { Capsules } from "./capsules.js";
import { rampColour } from "./colours.js";
import { GHOSTS, arcs, ghostAlpha, ghostFrames, limbs } from "./frame.js";
import { Grid, Shadow } from "./ground.js";

/** How far a body that is not the selected one goes towards the ground's colour. */
const ASIDE = 0.45;

export class Scene {
  static possible() {
    const context = document.createElement("canvas").getContext("webgl2");
    context?.getExtension("WEBGL_lose_context")?.loseContext();
    return Boolean(context);
  }

  constructor(canvas, changed) {
    this.kind = "webgl";
    this.renderer = new WebGLRenderer({ canvas, antialias: true, alpha: true, stencil: true, powerPreference: "low-power" });
    this.renderer.setClearColor(0, 0);
    canvas.addEventListener("webglcontextrestored", changed);
    this.scene = new ThreeScene();
    this.grid = new Grid();
    this.shadow = new Shadow();
    this.solid = new Capsules({ order: 30 });
    this.arcs = new Capsules({ order: 50, layer: 100 });
    // The furthest first, each nearer one over it.
    this.ghosts = Array.from({ length: GHOSTS }, (_, k) => new Capsules({ order: 20 - k, layer: k + 1 }));
    this.scene.add(this.grid.mesh, this.shadow.mesh, this.solid.mesh, this.arcs.mesh, ...this.ghosts.map((ghost) => ghost.mesh));
  }

  resize(width, height, ratio) {
    this.renderer.setPixelRatio(ratio);
    this.renderer.setSize(width, height, false);
  }

  theme(colours) {
    this.colours = colours;
    this.grid.uniforms.colour.value = colours.grid;
    this.shadow.uniforms.colour.value = colours.shadow;
  }

  draw(frame, eye) {
    const { body, horizon, show } = frame;
    const { solid, shadow, colours } = this;
    for (const part of [solid, shadow, this.arcs, ...this.ghosts]) part.clear();
    for (const { slot, shift, selected } of frame.bodies) {
      const tones = {};
      for (const side of ["middle", "left", "right"]) {
        tones[side] = selected ? colours[side] : colours[side].map((value, k) => value + (colours.floor[k] - value) * ASIDE);
      }
      limbs(body, slot.pose, 0, frame, shift, true, (ax, ay, az, bx, by, bz, ra, rb, side) => {
        const tone = tones[side] ?? tones.middle;
        solid.add(ax, ay, az, bx, by, bz, ra, rb, tone[0], tone[1], tone[2], 1);
        if (!body.flat) shadow.add(ax, ay, az, bx, by, bz, ra);
      });
      if (show.edges && slot.edges) {
        const [r, g, b] = colours.relation;
        arcs(body, slot, frame, shift, (ax, ay, az, bx, by, bz, radius, strength) => {
          this.arcs.add(ax, ay, az, bx, by, bz, radius, radius, r, g, b, 0.1 + 0.6 * strength * strength);
        });
      }
      if (!show.ghosts) continue;
      const shown = ghostFrames(slot.ahead, horizon);
      shown.forEach((ahead, k) => {
        const [r, g, b] = rampColour(colours, shown.length > 1 ? k / (shown.length - 1) : 0);
        const alpha = ghostAlpha(k, shown.length) * (selected ? 1 : 0.6), thin = 0.82 - 0.07 * k;
        limbs(body, slot.ghosts, ahead * body.count * 3, frame, shift, false, (ax, ay, az, bx, by, bz, ra, rb) => {
          this.ghosts[k].add(ax, ay, az, bx, by, bz, ra * thin, rb * thin, r, g, b, alpha);
        });
      });
    }
    for (const part of [solid, shadow, this.arcs, ...this.ghosts]) part.done();
    this.grid.around(frame.focus.x, frame.focus.z, body?.flat);
    this.renderer.render(this.scene, eye);
  }
}
