// The last minute of ticks, and the clock that moves through it. Slots are used again: nothing is allocated once the minute is full.

/** A tick so much later than the one before counts as a new beginning, and the gap is cut short. */
const LONGEST_GAP = 2;
/** A body whose last tick is older than this is gone. */
const STALE = 1.2;
const MOST_GHOSTS = 240, MOST_EDGES = 24, MOST_TRACKS = 32;

export class Timeline {
  /** @param seconds how much is kept; @param bytes at most, whatever the rate, the horizon and the number of bodies. */
  constructor(seconds, bytes) {
    this.seconds = seconds;
    this.most = bytes;
    this.forget();
  }

  forget() {
    this.slots = [];
    this.free = [];
    this.bytes = 0;
    this.tracks = new Map();
    this.epoch = 0;
  }

  open(body, classes) {
    this.body = body;
    this.classes = classes;
    this.forget();
  }

  get oldest() {
    return this.slots.length ? this.slots[0].at : 0;
  }

  get newest() {
    return this.slots.length ? this.slots[this.slots.length - 1].at : 0;
  }

  /** What comes next does not continue what came before: another source, another clip. */
  cut() {
    this.epoch++;
    this.tracks.clear();
  }

  /**
   * Adds a tick of the server. The timeline has a time of its own that never goes back: server times start again with a clip and
   * leave gaps. Each track is set against it when it first comes.
   */
  add(tick) {
    const name = tick.track ?? "";
    const time = Number.isFinite(tick.time) ? tick.time : performance.now() / 1000;
    const step = tick.rate > 1 ? Math.min(1 / tick.rate, 0.5) : 1 / 30;
    let track = this.tracks.get(name);
    if (track && (time < track.time || time > track.time + LONGEST_GAP)) {
      this.cut();
      track = undefined;
    }
    if (!track) {
      if (this.tracks.size >= MOST_TRACKS) this.tracks.clear();
      // The first of a new beginning comes a step after the last tick; further tracks join at the same moment.
      const start = !this.slots.length ? 0 : this.newest + (this.tracks.size ? 0 : step);
      track = { shift: start - time };
      this.tracks.set(name, track);
    }
    track.time = time;
    const ahead = Math.min(Array.isArray(tick.ghosts) ? tick.ghosts.length : 0, MOST_GHOSTS);
    const at = Math.max(time + track.shift, this.newest);
    const slot = this.#slot(ahead, at);
    Object.assign(slot, {
      at, time, name, epoch: this.epoch, ahead: 0, pinned: false, label: tick.label ?? null, truth: tick.truth ?? null,
      latency: tick.latency_ms, rate: tick.rate, dropped: tick.dropped, milliseconds: tick.milliseconds ?? [],
    });
    this.body.read(tick.pose, slot.pose, 0);
    for (let k = 0; k < ahead; k++) this.body.read(tick.ghosts[k], slot.ghosts, k * this.body.count * 3);
    slot.ahead = ahead;
    this.classes.forEach((label, index) => (slot.probabilities[index] = tick.probabilities?.[label] ?? NaN));
    this.#edges(slot, tick.edges ?? []);
    let lowest = Infinity;
    for (let y = 1; y < slot.pose.length; y += 3) if (slot.pose[y] < lowest) lowest = slot.pose[y];
    slot.lowest = lowest;
    this.body.measure(slot.pose);
    this.slots.push(slot);
    return slot;
  }

  /** Index of the last slot at or before a time; -1 where there is none. */
  index(at) {
    let low = 0, high = this.slots.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.slots[middle].at <= at + 1e-9) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** The slot of each track at a time, the most recent first. */
  bodies(at, into) {
    into.length = 0;
    for (let index = this.index(at), last = index; index >= 0; index--) {
      const slot = this.slots[index];
      if (slot.epoch !== this.slots[last].epoch || this.slots[last].at - slot.at > STALE) break;
      if (!into.some((other) => other.name === slot.name)) into.push(slot);
    }
    return into;
  }

  /** Lowest point of the last seconds before a time: the ground. */
  ground(at, seconds) {
    let lowest = Infinity;
    for (let index = this.index(at), last = index; index >= 0; index--) {
      const slot = this.slots[index];
      if (slot.epoch !== this.slots[last].epoch || slot.at < at - seconds) break;
      if (slot.lowest < lowest) lowest = slot.lowest;
    }
    return lowest;
  }

  /** The time one tick of a track before (-1) or after (+1) a time; the same time at either end. */
  step(at, way, name) {
    let index = this.index(at);
    // From the tick that is shown, not from a moment after it.
    while (index >= 0 && this.slots[index].name !== name) index--;
    for (index += way; index >= 0 && index < this.slots.length; index += way) {
      if (this.slots[index].name === name) return this.slots[index].at;
    }
    return at;
  }

  /** Calls `each(slot)` for a track's slots between two times, oldest first. */
  between(from, to, name, each) {
    for (let index = this.index(from) + 1; index < this.slots.length && this.slots[index].at <= to; index++) {
      if (this.slots[index].name === name) each(this.slots[index]);
    }
  }

  #edges(slot, edges) {
    slot.edges = 0;
    for (const [from, to, weight] of edges) {
      const a = typeof from === "string" ? this.body.index.get(from) : from;
      const b = typeof to === "string" ? this.body.index.get(to) : to;
      if (slot.edges === MOST_EDGES || !(a >= 0 && b >= 0 && a < this.body.count && b < this.body.count && weight > 0)) continue;
      slot.ends.set([a, b], 2 * slot.edges);
      slot.weights[slot.edges++] = weight;
    }
  }

  /** A slot to fill: one that has become too old, else a new one while there is memory, else the oldest. */
  #slot(ahead, at) {
    while (this.slots.length && this.slots[0].at < at - this.seconds) this.#release(this.slots.shift());
    const floats = this.body.count * 3, bytes = 4 * (floats * (1 + ahead) + this.classes.length) + 400;
    if (!this.free.length && this.bytes + bytes > this.most && this.slots.length > 1) this.#release(this.slots.shift());
    let slot = this.free.pop();
    if (!slot) {
      slot = {
        pose: new Float32Array(floats), ghosts: new Float32Array(0), probabilities: new Float32Array(this.classes.length),
        ends: new Uint16Array(2 * MOST_EDGES), weights: new Float32Array(MOST_EDGES), bytes: 4 * (floats + this.classes.length) + 400,
      };
      this.bytes += slot.bytes;
    }
    if (slot.ghosts.length < ahead * floats) {
      const more = 4 * (ahead * floats - slot.ghosts.length);
      slot.ghosts = new Float32Array(ahead * floats);
      slot.bytes += more;
      this.bytes += more;
    }
    return slot;
  }

  #release(slot) {
    // What a paused picture shows stays as it is.
    if (slot.pinned) this.bytes -= slot.bytes;
    else this.free.push(slot);
  }
}

/** Where in the timeline one looks: live, behind it at some speed, or standing still. */
export class Clock {
  constructor(timeline) {
    this.timeline = timeline;
    this.at = 0;
    this.speed = 1;
    this.live = true;
    this.paused = false;
  }

  get behind() {
    return this.live ? 0 : Math.max(0, this.timeline.newest - this.at);
  }

  /** Whether the position moves by itself: live it moves with the ticks. */
  get moving() {
    return !this.live && !this.paused;
  }

  advance(seconds) {
    const { oldest, newest } = this.timeline;
    if (this.moving) {
      this.at += seconds * this.speed;
      if (this.at >= newest && this.speed >= 1) this.live = true;
      this.at = Math.max(oldest, Math.min(newest, this.at));
    }
    if (this.live) this.at = newest;
  }

  pause(on) {
    if (on && this.live) this.at = this.timeline.newest;
    this.paused = on;
    if (on) this.live = false;
  }

  /** To a place in the timeline, standing still there. */
  seek(at) {
    this.at = Math.max(this.timeline.oldest, Math.min(this.timeline.newest, at));
    this.paused = true;
    this.live = false;
  }

  setSpeed(speed) {
    this.speed = speed;
    if (speed < 1 && this.live) this.live = false;
  }

  goLive() {
    this.live = true;
    this.paused = false;
    this.speed = 1;
    this.at = this.timeline.newest;
  }
}
