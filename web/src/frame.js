// What a picture shows of a body, the same for WebGL and for the flat fallback: limbs, ghosts, arcs, in units of the body's height.

/** So many ghosts are drawn, however far ahead one looks. */
export const GHOSTS = 5;
export const ARC_PIECES = 14;
const ARC_RADIUS = 0.0075;

/** Which predicted frames are drawn: evenly spaced, the last one at the horizon. */
export function ghostFrames(ahead, horizon) {
  const last = Math.min(ahead, horizon), count = Math.min(GHOSTS, last);
  return Array.from({ length: count }, (_, k) => Math.round(((k + 1) * last) / count) - 1);
}

/** How opaque ghost k of `count` is. */
export const ghostAlpha = (k, count) => 0.62 - 0.32 * (count > 1 ? k / (count - 1) : 0);

/**
 * Calls each(ax, ay, az, bx, by, bz, radius a, radius b, side) for what a pose is made of; `origin` is the frame's.
 * A bone needs both its points; every point that is present is a ball as well where `joints` says so.
 */
export function limbs(body, pose, start, frame, shift, joints, each) {
  const scale = 1 / frame.size, floor = frame.floor;
  const x = (p) => pose[start + 3 * p] * scale + shift, z = (p) => pose[start + 3 * p + 2] * scale;
  const y = (p) => (pose[start + 3 * p + 1] - floor) * scale;
  for (const [a, b] of body.bones) {
    if (Number.isNaN(pose[start + 3 * a]) || Number.isNaN(pose[start + 3 * b])) continue;
    each(x(a), y(a), z(a), x(b), y(b), z(b), body.radii[a] * 0.9, body.radii[b] * 0.9, body.sides[b]);
  }
  if (joints) {
    for (let p = 0; p < body.count; p++) {
      if (!Number.isNaN(pose[start + 3 * p])) each(x(p), y(p), z(p), x(p), y(p), z(p), body.radii[p], body.radii[p], body.sides[p]);
    }
  }
  const head = frame.scratch;
  if (body.headAt(pose.subarray(start, start + 3 * body.count), head)) {
    const [hx, hy, hz] = [head[0] * scale + shift, (head[1] - floor) * scale, head[2] * scale];
    each(hx, hy, hz, hx, hy, hz, body.headRadius, body.headRadius, "middle");
  }
}

/** Calls each(ax, ay, az, bx, by, bz, radius, strength 0 to 1) for the pieces of the arcs of a slot, the strongest arc first. */
export function arcs(body, slot, frame, shift, each) {
  const { pose, ends, weights } = slot;
  const scale = 1 / frame.size;
  let strongest = 0;
  for (let edge = 0; edge < slot.edges; edge++) strongest = Math.max(strongest, weights[edge]);
  const middle = centre(body, pose, frame.scratch);
  const order = Array.from({ length: slot.edges }, (_, edge) => edge).sort((one, two) => weights[two] - weights[one]);
  for (const edge of order) {
    const a = 3 * ends[2 * edge], b = 3 * ends[2 * edge + 1];
    if (a === b || Number.isNaN(pose[a]) || Number.isNaN(pose[b])) continue;
    // It bends away from the middle of the body, the more the further apart its ends are.
    const out = [0, 1, 2].map((axis) => (pose[a + axis] + pose[b + axis]) / 2 - middle[axis]);
    const length = Math.hypot(...[0, 1, 2].map((axis) => pose[a + axis] - pose[b + axis]));
    const reach = Math.hypot(...out);
    if (reach < 1e-6 * frame.size) out[2] = 1;
    const bulge = (0.2 * length + 0.05 * frame.size) / Math.max(reach, 1e-6 * frame.size);
    const at = (t, axis) => {
      const straight = pose[a + axis] * (1 - t) + pose[b + axis] * t;
      const bent = straight + out[axis] * bulge * 4 * t * (1 - t);
      return axis === 1 ? (bent - frame.floor) * scale : bent * scale + (axis === 0 ? shift : 0);
    };
    const strength = weights[edge] / strongest;
    for (let piece = 0; piece < ARC_PIECES; piece++) {
      const s = piece / ARC_PIECES, t = (piece + 1) / ARC_PIECES;
      each(at(s, 0), at(s, 1), at(s, 2), at(t, 0), at(t, 1), at(t, 2), ARC_RADIUS * (0.6 + 0.4 * strength), strength);
    }
  }
}

/** The mean of the points that are present. */
export function centre(body, pose, into) {
  let present = 0;
  into.fill(0);
  for (let p = 0; p < body.count; p++) {
    if (Number.isNaN(pose[3 * p])) continue;
    present++;
    for (let axis = 0; axis < 3; axis++) into[axis] += pose[3 * p + axis];
  }
  for (let axis = 0; axis < 3; axis++) into[axis] /= present || 1;
  return into;
}
