// Many tapered capsules in one draw call. Each instance is two ends, two radii and a colour; the vertex shader does the rest.
import {
  BufferGeometry, DoubleSide, DynamicDrawUsage, Float32BufferAttribute, InstancedBufferGeometry, InstancedInterleavedBuffer, InterleavedBufferAttribute,
  Mesh, ShaderMaterial,
} from "three";

const FLOATS = 12;

// The outline of a capsule as the eye sees it, sixteen triangles, and the roundness from the place within the outline: far
// cheaper than a mesh, and smooth from as near as one likes. The middle line is pushed towards the eye, which changes nothing
// but which limb is before which.
const VERTEX = `
attribute float along;
attribute vec3 from, to;
attribute vec2 radii;
attribute vec4 tint;
varying vec2 vAcross;
varying vec3 vSide, vAxis, vFore;
varying vec4 vTint;

void main() {
  vec3 centre = mix(from, to, along);
  float radius = mix(radii.x, radii.y, along);
  vec3 eye = normalize(cameraPosition - centre);
  vec3 axis = to - from;
  float len = length(axis);
  axis = len > 1e-6 ? axis / len : vec3(0.0);
  // The axis as the eye sees it; one that points at the eye, or a ball, has none, and any will do.
  vec3 seen = axis - eye * dot(axis, eye);
  float plain = length(seen);
  seen = plain > 1e-3 ? seen / plain : normalize(vec3(0.0, 1.0, 0.0) - eye * eye.y);
  vSide = cross(seen, eye);
  vAxis = plain > 1e-3 ? axis : seen;
  vFore = cross(vSide, vAxis);
  vAcross = position.xy;
  vTint = tint;
  vec3 place = centre + radius * (vSide * position.x + seen * position.y + eye * position.z);
  gl_Position = projectionMatrix * viewMatrix * vec4(place, 1.0);
}`;

// A soft sky, a lamp above the viewer's shoulder, and darker rims that part the limbs from each other.
const SOLID = `
varying vec2 vAcross;
varying vec3 vSide, vAxis, vFore;
varying vec4 vTint;

void main() {
  float rise = sqrt(max(0.0, 1.0 - dot(vAcross, vAcross)));
  vec3 normal = normalize(vSide * vAcross.x + vAxis * vAcross.y + vFore * rise);
  vec3 lamp = normalize(vec3(0.35, 1.0, 0.55) + 0.6 * vFore);
  float light = 0.8 + 0.1 * normal.y + 0.3 * max(dot(normal, lamp), 0.0);
  gl_FragColor = vec4(vTint.rgb * light * (0.72 + 0.28 * smoothstep(0.0, 0.5, rise)), vTint.a);
}`;

// What is translucent is only a little darker towards its rims.
const VEIL = `
varying vec2 vAcross;
varying vec4 vTint;

void main() {
  gl_FragColor = vec4(vTint.rgb * (1.0 - 0.12 * dot(vAcross, vAcross)), vTint.a);
}`;

/** Half a circle about each end and the strip between, of unit radius; z is 1 along the middle line. */
function outline(steps) {
  const places = [0, 0, 1, 0, 0, 1], along = [0, 1], faces = [];
  for (const end of [0, 1]) {
    const first = along.length;
    for (let k = 0; k <= steps; k++) {
      const angle = Math.PI * (k / steps + (end ? 0 : 1));
      places.push(Math.cos(angle), Math.sin(angle), 0);
      along.push(end);
      if (k) faces.push(end, first + k - 1, first + k);
    }
  }
  // Left and right of the middle line. Of each half circle the first and last corner lie beside the end.
  const near = 2, far = 3 + steps;
  faces.push(0, near + steps, far, 0, far, 1, 0, 1, far + steps, 0, far + steps, near);
  const geometry = new BufferGeometry();
  geometry.setAttribute("position", new Float32BufferAttribute(places, 3));
  geometry.setAttribute("along", new Float32BufferAttribute(along, 1));
  geometry.setIndex(faces);
  return geometry;
}

const FINE = outline(12), COARSE = outline(9);

export class Capsules {
  /**
   * @param options.order among what is drawn; @param options.layer 0 for solid bodies, else a number of its own: translucent, and
   * the stencil lets every pixel be drawn once, so that overlapping limbs of one ghost do not darken each other.
   */
  constructor({ order, layer = 0 }) {
    const material = new ShaderMaterial({ vertexShader: VERTEX, fragmentShader: layer ? VEIL : SOLID, side: DoubleSide });
    // Among what is translucent, after the ghosts: the body of now is never veiled by what may come.
    material.transparent = true;
    if (layer) {
      // Values of three.js: 517 is "not equal", 7681 "replace".
      Object.assign(material, {
        depthWrite: false, stencilWrite: true, stencilRef: layer, stencilFunc: 517, stencilZPass: 7681,
      });
    }
    const shape = layer ? COARSE : FINE;
    this.geometry = new InstancedBufferGeometry();
    this.geometry.index = shape.index;
    this.geometry.attributes = { ...shape.attributes };
    this.mesh = new Mesh(this.geometry, material);
    this.mesh.frustumCulled = false;
    this.mesh.renderOrder = order;
    this.count = 0;
    this.#room(128);
  }

  clear() {
    this.count = 0;
  }

  add(ax, ay, az, bx, by, bz, ra, rb, r, g, b, alpha) {
    if (this.count * FLOATS === this.values.length) this.#room(2 * this.count);
    const { values } = this, at = this.count++ * FLOATS;
    values[at] = ax; values[at + 1] = ay; values[at + 2] = az;
    values[at + 3] = bx; values[at + 4] = by; values[at + 5] = bz;
    values[at + 6] = ra; values[at + 7] = rb;
    values[at + 8] = r; values[at + 9] = g; values[at + 10] = b; values[at + 11] = alpha;
  }

  /** What was added since `clear` is drawn from now on. */
  done() {
    this.geometry.instanceCount = this.count;
    this.mesh.visible = this.count > 0;
    this.buffer.clearUpdateRanges();
    this.buffer.addUpdateRange(0, this.count * FLOATS);
    this.buffer.needsUpdate = true;
  }

  #room(instances) {
    const values = new Float32Array(instances * FLOATS);
    if (this.values) {
      values.set(this.values);
      // The old buffer is as long as it ever will be: three.js makes a new one for the new attributes.
      this.geometry.dispose();
    }
    this.values = values;
    this.buffer = new InstancedInterleavedBuffer(values, FLOATS).setUsage(DynamicDrawUsage);
    for (const [name, size, offset] of [["from", 3, 0], ["to", 3, 3], ["radii", 2, 6], ["tint", 4, 8]]) {
      this.geometry.setAttribute(name, new InterleavedBufferAttribute(this.buffer, size, offset));
    }
  }
}
