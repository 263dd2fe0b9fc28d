// The camera: set before the body's front, orbited by pointer and keys, and taken along when the person walks.
import { MathUtils, PerspectiveCamera, Spherical, Vector3 } from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";

const FIELD = 28;
const DISTANCE = 3.15;
/** Half the width that has to fit into a narrow picture, in body heights at the target. */
const HALF_WIDTH = 0.62;
const AZIMUTH = 35, ELEVATION = 9;
const MIDDLE = 0.52;

export class Camera {
  /** @param canvas that is dragged; @param changed called when a picture is due; @param calm no gliding. */
  constructor(canvas, changed, calm) {
    this.eye = new PerspectiveCamera(FIELD, 1, 0.05, 60);
    this.controls = new OrbitControls(this.eye, canvas);
    this.calm = calm;
    Object.assign(this.controls, {
      enableDamping: !calm, dampingFactor: 0.14, minDistance: 0.7, maxDistance: 14, maxPolarAngle: 0.54 * Math.PI, rotateSpeed: 0.8,
    });
    this.controls.target.set(0, MIDDLE, 0);
    this.eye.position.set(1.5, 1, DISTANCE);
    this.controls.addEventListener("change", changed);
    this.controls.addEventListener("start", changed);
    this.changed = changed;
    this.goal = new Vector3();
    this.spherical = new Spherical();
  }

  resize(width, height) {
    this.eye.aspect = width / height;
    const upright = Math.tan(MathUtils.degToRad(FIELD / 2));
    const needed = HALF_WIDTH / DISTANCE / this.eye.aspect;
    this.eye.fov = 2 * MathUtils.radToDeg(Math.atan(Math.max(upright, needed)));
    this.eye.updateProjectionMatrix();
  }

  /** Before the front of a body, a little to its left and above; before an image as the camera saw it. */
  reset(body, pose, focus) {
    this.controls.enableRotate = !body?.flat;
    this.controls.target.set(focus.x, MIDDLE, focus.z);
    const turn = body?.flat ? 0 : frontOf(body, pose) + MathUtils.degToRad(AZIMUTH);
    const rise = body?.flat ? 0 : MathUtils.degToRad(ELEVATION);
    this.eye.position.set(Math.sin(turn) * Math.cos(rise), Math.sin(rise), Math.cos(turn) * Math.cos(rise));
    this.eye.position.multiplyScalar(DISTANCE).add(this.controls.target);
    this.controls.update();
    this.changed();
  }

  /** Takes target and eye along with the person. True while still on the way. */
  follow(focus, seconds) {
    const { target } = this.controls;
    this.goal.set(focus.x, target.y, focus.z).sub(target);
    const left = this.goal.length();
    if (left < 1e-4) return false;
    const part = this.calm || !Number.isFinite(seconds) ? 1 : 1 - Math.exp(-4 * seconds);
    this.goal.multiplyScalar(part);
    target.add(this.goal);
    this.eye.position.add(this.goal);
    return part < 1;
  }

  /** Turns by so many degrees to the side and upwards, and comes nearer by a factor. */
  turn(aside, up, nearer = 1) {
    const { target } = this.controls;
    const offset = this.goal.copy(this.eye.position).sub(target);
    this.spherical.setFromVector3(offset);
    if (this.controls.enableRotate) {
      this.spherical.theta += MathUtils.degToRad(aside);
      this.spherical.phi = MathUtils.clamp(this.spherical.phi - MathUtils.degToRad(up), 0.05, this.controls.maxPolarAngle);
    }
    this.spherical.radius = MathUtils.clamp(this.spherical.radius / nearer, this.controls.minDistance, this.controls.maxDistance);
    this.eye.position.setFromSpherical(this.spherical).add(target);
    this.controls.update();
    this.changed();
  }
}

/** The angle a body faces about the vertical, from where its left and right points are; 0 where nothing says. */
function frontOf(body, pose) {
  if (!body || !pose) return 0;
  const sums = { left: [0, 0, 0], right: [0, 0, 0] };
  for (let p = 0; p < body.count; p++) {
    const sum = sums[body.sides[p]];
    if (!sum || Number.isNaN(pose[3 * p])) continue;
    sum[0] += pose[3 * p];
    sum[1] += pose[3 * p + 2];
    sum[2]++;
  }
  const { left, right } = sums;
  if (!left[2] || !right[2]) return 0;
  // Leftwards l along the ground; the front is l × up.
  const x = left[0] / left[2] - right[0] / right[2], z = left[1] / left[2] - right[1] / right[2];
  return Math.hypot(x, z) > 1e-6 * body.size ? Math.atan2(-z, x) : 0;
}
