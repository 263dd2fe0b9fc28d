// The ground: a grid that fades with distance, and the soft shadow of what stands on it.
import {
  BufferGeometry, DynamicDrawUsage, Float32BufferAttribute, InstancedBufferAttribute, InstancedBufferGeometry, LineSegments, Mesh,
  PlaneGeometry, ShaderMaterial, Vector3,
} from "three";

/** Sizes in body heights. */
const CELL = 0.25, REACH = 2.6;
const MOST_BLOBS = 1024;

const GRID_VERTEX = `
uniform vec3 middle;
varying vec2 vFrom;
void main() {
  vec4 place = modelMatrix * vec4(position, 1.0);
  vFrom = place.xz - middle.xz + (place.y - middle.y) * vec2(0.0, 1.0);
  gl_Position = projectionMatrix * viewMatrix * place;
}`;
const GRID_FRAGMENT = `
uniform vec3 colour;
uniform float reach, strength;
varying vec2 vFrom;
void main() {
  float fade = 1.0 - smoothstep(0.15 * reach, reach, length(vFrom));
  gl_FragColor = vec4(colour, strength * fade * fade);
}`;

const BLOB_VERTEX = `
attribute vec4 blob;
varying vec2 vAt;
varying float vStrength;
void main() {
  vAt = position.xy;
  vStrength = blob.w;
  gl_Position = projectionMatrix * viewMatrix * vec4(blob.x + position.x * blob.z, 0.002, blob.y - position.y * blob.z, 1.0);
}`;
const BLOB_FRAGMENT = `
uniform vec3 colour;
varying vec2 vAt;
varying float vStrength;
void main() {
  float near = max(0.0, 1.0 - dot(vAt, vAt));
  gl_FragColor = vec4(colour, vStrength * near * near);
}`;

export class Grid {
  constructor() {
    const lines = [], count = Math.ceil(REACH / CELL);
    for (let k = -count; k <= count; k++) {
      // In pieces, so that the fading between the ends of each is right.
      for (let piece = -count; piece < count; piece++) {
        lines.push(k * CELL, 0, piece * CELL, k * CELL, 0, (piece + 1) * CELL);
        lines.push(piece * CELL, 0, k * CELL, (piece + 1) * CELL, 0, k * CELL);
      }
    }
    const geometry = new BufferGeometry();
    geometry.setAttribute("position", new Float32BufferAttribute(lines, 3));
    this.uniforms = { middle: { value: new Vector3() }, reach: { value: REACH }, colour: { value: [0, 0, 0] }, strength: { value: 0.75 } };
    const material = new ShaderMaterial({
      vertexShader: GRID_VERTEX, fragmentShader: GRID_FRAGMENT, uniforms: this.uniforms, transparent: true, depthWrite: false,
    });
    this.mesh = new LineSegments(geometry, material);
    this.mesh.frustumCulled = false;
    this.mesh.renderOrder = 1;
  }

  /** Around a place; its lines stay where they are in space. A flat body has it behind, not beneath. */
  around(x, z, flat) {
    this.mesh.rotation.x = flat ? Math.PI / 2 : 0;
    const snap = (value) => Math.round(value / CELL) * CELL;
    this.mesh.position.set(snap(x), flat ? 2 * CELL : 0, flat ? -0.08 : snap(z));
    this.uniforms.middle.value.set(x, this.mesh.position.y, flat ? -0.08 : z);
  }
}

export class Shadow {
  constructor() {
    const square = new PlaneGeometry(2, 2);
    this.geometry = new InstancedBufferGeometry();
    this.geometry.index = square.index;
    this.geometry.setAttribute("position", square.attributes.position);
    this.blobs = new InstancedBufferAttribute(new Float32Array(4 * MOST_BLOBS), 4).setUsage(DynamicDrawUsage);
    this.geometry.setAttribute("blob", this.blobs);
    this.uniforms = { colour: { value: [0, 0, 0] } };
    this.mesh = new Mesh(
      this.geometry,
      new ShaderMaterial({
        vertexShader: BLOB_VERTEX, fragmentShader: BLOB_FRAGMENT, uniforms: this.uniforms, transparent: true, depthWrite: false,
      }),
    );
    this.mesh.frustumCulled = false;
    this.mesh.renderOrder = 2;
    this.count = 0;
  }

  clear() {
    this.count = 0;
  }

  /** What a limb casts: the higher, the wider and fainter. */
  add(ax, ay, az, bx, by, bz, radius) {
    const height = Math.max(0, (ay + by) / 2), strength = 0.32 * Math.exp(-2.8 * height);
    if (this.count === MOST_BLOBS || strength < 0.05) return;
    const at = 4 * this.count++;
    this.blobs.array[at] = (ax + bx) / 2;
    this.blobs.array[at + 1] = (az + bz) / 2;
    this.blobs.array[at + 2] = radius * 1.5 + 0.03 + 0.14 * height + 0.5 * Math.hypot(ax - bx, az - bz);
    this.blobs.array[at + 3] = strength;
  }

  done() {
    this.geometry.instanceCount = this.count;
    this.mesh.visible = this.count > 0;
    this.blobs.needsUpdate = true;
  }
}
