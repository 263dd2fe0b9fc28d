// What of a body is drawn: its points and bones, turned so that y is up, its size, and how thick each point is.

// Each axis that may be up, as the source and sign of x, y, z. All are rotations: none swaps left and right.
const TURNS = {
  "y": [[0, 1], [1, 1], [2, 1]],
  "-y": [[0, 1], [1, -1], [2, -1]],
  "z": [[0, 1], [2, 1], [1, -1]],
  "-z": [[0, 1], [2, -1], [1, 1]],
  "x": [[1, -1], [0, 1], [2, 1]],
  "-x": [[1, 1], [0, -1], [2, 1]],
};

/** A standing body's height as a share of its longest path along bones (from the fingers of one side to the toes). */
const HEIGHT_SHARE = 0.7;
const THINNEST = 0.012, THICKEST = 0.042;
/** The head's radius, of the body's height. */
const HEAD = 0.062;

export class Body {
  constructor(drawing) {
    this.names = drawing.points;
    this.count = drawing.points.length;
    this.bones = drawing.bones.filter(([a, b]) => a >= 0 && b >= 0 && a < this.count && b < this.count);
    this.sides = drawing.sides;
    this.flat = Boolean(drawing.flat);
    this.turn = TURNS[drawing.up] ?? TURNS.y;
    this.nodes = new Set(drawing.nodes ?? []);
    this.index = new Map(this.names.map((name, point) => [name, point]));
    this.head = this.#headPoints();
    this.outward = this.#outward();
    this.lengths = new Float64Array(this.bones.length);
    this.down = new Float64Array(this.count);
    this.radii = new Float32Array(this.count).fill(THINNEST);
    this.size = 0;
  }

  same(drawing) {
    return JSON.stringify([this.names, this.bones, this.flat]) === JSON.stringify([drawing.points, drawing.bones, Boolean(drawing.flat)])
      && this.turn === (TURNS[drawing.up] ?? TURNS.y);
  }

  /** Reads [[x, y, z] | null, ...] into `into` from `start`, y up; a point with anything missing becomes NaN. */
  read(list, into, start) {
    if (!Array.isArray(list) || list.length !== this.count) {
      throw new Error(`a pose of ${list?.length ?? "no"} points came, the body has ${this.count}`);
    }
    for (let point = 0, at = start; point < this.count; point++, at += 3) {
      const place = list[point];
      const there = place && Number.isFinite(place[0]) && Number.isFinite(place[1]) && Number.isFinite(place[2]);
      for (let axis = 0; axis < 3; axis++) {
        into[at + axis] = there ? place[this.turn[axis][0]] * this.turn[axis][1] : NaN;
      }
    }
  }

  /** Learns the body's size from a pose: bone lengths do not change with the pose, missing points only hide some of them. */
  measure(pose) {
    let longer = false;
    this.bones.forEach(([a, b], bone) => {
      const length = Math.hypot(pose[3 * a] - pose[3 * b], pose[3 * a + 1] - pose[3 * b + 1], pose[3 * a + 2] - pose[3 * b + 2]);
      // The first pose counts in full; later ones only where they show clearly more, so that noise does not pump the picture.
      if (length > this.lengths[bone] * 1.15) {
        this.lengths[bone] = length;
        longer = true;
      }
    });
    if (!longer) return;
    let longest = 0;
    this.down.fill(0);
    for (let at = this.outward.length - 1; at >= 0; at--) {
      const bone = this.outward[at], [a, b] = this.bones[bone];
      const reach = this.lengths[bone] + this.down[b];
      longest = Math.max(longest, this.down[a] + reach);
      this.down[a] = Math.max(this.down[a], reach);
    }
    if (!longest) return;
    this.size = longest * HEIGHT_SHARE;
    // Thick at the trunk, thin at the ends: by how far the body still goes on from there.
    for (let point = 0; point < this.count; point++) {
      const rest = Math.min(1, this.down[point] / (0.5 * this.size));
      this.radii[point] = THINNEST + (THICKEST - THINNEST) * Math.sqrt(rest);
    }
  }

  /** Where the head is drawn: its middle goes into `into`. False where it is missing, or the body has none. */
  headAt(pose, into) {
    if (!this.head.length) return false;
    into.fill(0);
    for (const point of this.head) {
      for (let axis = 0; axis < 3; axis++) into[axis] += pose[3 * point + axis] / this.head.length;
    }
    return !Number.isNaN(into[0]);
  }

  get headRadius() {
    return HEAD;
  }

  #headPoints() {
    const named = (pattern) => this.names.flatMap((name, point) => (pattern.test(name) ? [point] : []));
    const heads = named(/head/i);
    return heads.length ? heads : named(/^nose$/i);
  }

  /** Bones ordered from the roots outwards, whatever order they came in; bones that close a ring are left out. */
  #outward() {
    const from = Array.from({ length: this.count }, () => []);
    const isChild = new Uint8Array(this.count), met = new Uint8Array(this.count);
    this.bones.forEach(([a, b], bone) => {
      from[a].push(bone);
      isChild[b] = 1;
    });
    const order = [], queue = this.names.map((_, point) => point).filter((point) => !isChild[point]);
    for (const point of queue) met[point] = 1;
    for (const point of queue) {
      for (const bone of from[point]) {
        const child = this.bones[bone][1];
        if (met[child]) continue;
        met[child] = 1;
        order.push(bone);
        queue.push(child);
      }
    }
    return order;
  }
}
