// Probabilities: lines over the last ten seconds, and the likeliest classes as a list beside their colours.
import { CLASS_COLOURS } from "./colours.js";

export const SHOWN_SECONDS = 10;
const ROWS = 5;
/** Ticks further apart are not joined by a line. */
const GAP = 0.6;

export class Charts {
  constructor(canvas, list) {
    this.canvas = canvas;
    this.list = list;
    this.brush = canvas.getContext("2d");
    this.colour = new Map();
    this.means = [];
    this.rows = Array.from({ length: ROWS }, () => this.#row());
  }

  open(classes) {
    this.classes = classes;
    this.colour.clear();
    this.means = new Float64Array(classes.length);
  }

  theme(colours) {
    this.colours = colours;
  }

  /** @param timeline; @param at its position; @param slot of the selected body there, or undefined. */
  draw(timeline, at, slot) {
    const width = this.canvas.clientWidth, height = this.canvas.clientHeight, ratio = Math.min(devicePixelRatio, 2);
    if (!width) return;
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
    }
    const top = this.#top(timeline, at, slot);
    this.brush.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.brush.clearRect(0, 0, width, height);
    this.#frame(width, height);
    for (const index of top) this.#line(timeline, at, slot, index, width, height);
    this.#list(top, slot);
  }

  /** The classes that were likeliest in these ten seconds, in an order that does not jump from tick to tick. */
  #top(timeline, at, slot) {
    this.means.fill(0);
    let ticks = 0;
    timeline.between(at - SHOWN_SECONDS, at, slot?.name ?? "", (one) => {
      ticks++;
      for (let index = 0; index < this.means.length; index++) this.means[index] += one.probabilities[index] || 0;
    });
    if (!ticks || !slot) return [];
    const order = [...this.means.keys()].sort((one, two) => this.means[two] - this.means[one]).slice(0, ROWS);
    // What is the answer now is in the list, whatever the last ten seconds were.
    const best = slot.probabilities.indexOf(Math.max(...slot.probabilities.filter((value) => !Number.isNaN(value))));
    if (best >= 0 && !order.includes(best)) order[order.length - 1] = best;
    for (const index of this.colour.keys()) if (!order.includes(index)) this.colour.delete(index);
    for (const index of order) {
      if (this.colour.has(index)) continue;
      const taken = new Set(this.colour.values());
      for (let number = 0; number < CLASS_COLOURS; number++) {
        if (!taken.has(number)) {
          this.colour.set(index, number);
          break;
        }
      }
    }
    return order;
  }

  #frame(width, height) {
    const { brush, colours } = this;
    brush.strokeStyle = colours.css.line;
    brush.lineWidth = 1;
    brush.globalAlpha = 0.75;
    brush.beginPath();
    for (const level of [0, 0.5, 1]) {
      const y = Math.round(this.#y(level, height)) + 0.5;
      brush.moveTo(0, y);
      brush.lineTo(width, y);
    }
    brush.stroke();
    brush.globalAlpha = 1;
  }

  #y(probability, height) {
    return height - 4 - probability * (height - 8);
  }

  #line(timeline, at, slot, index, width, height) {
    const { brush } = this;
    const colour = this.colours.classes[this.colour.get(index)];
    let last, step = SHOWN_SECONDS / width;
    brush.strokeStyle = colour;
    brush.lineWidth = 2;
    brush.lineJoin = "round";
    brush.beginPath();
    timeline.between(at - SHOWN_SECONDS, at, slot.name, (one) => {
      const p = one.probabilities[index];
      // One point a pixel is enough.
      if (Number.isNaN(p) || (last && one.at - last.at < step && one !== slot)) return;
      const x = width - ((at - one.at) / SHOWN_SECONDS) * width, y = this.#y(p, height);
      if (!last || last.epoch !== one.epoch || one.at - last.at > GAP) brush.moveTo(x, y);
      else brush.lineTo(x, y);
      last = one;
    });
    brush.stroke();
  }

  #list(top, slot) {
    const best = slot ? Math.max(...top.map((index) => slot.probabilities[index] || 0)) : 0;
    this.rows.forEach((row, place) => {
      const index = top[place];
      row.item.hidden = index === undefined;
      if (index === undefined) return;
      const p = slot.probabilities[index];
      set(row.name, this.classes[index]);
      set(row.value, percent(p));
      row.item.className = p === best ? "best" : "";
      row.bar.style.background = this.colours.classes[this.colour.get(index)];
      row.bar.style.transform = `scaleX(${(p || 0).toFixed(3)})`;
    });
  }

  #row() {
    const make = (tag, name, ...inside) => {
      const element = document.createElement(tag);
      element.className = name;
      element.append(...inside);
      return element;
    };
    const name = make("span", "name"), value = make("span", "value"), bar = make("i", "");
    const item = make("li", "", name, value, make("span", "bar", bar));
    item.hidden = true;
    this.list.append(item);
    return { item, name, value, bar };
  }
}

export const percent = (p) => (Number.isNaN(p) ? "–" : `${Math.round(100 * p)} %`);

/** Text is only written where it changed: the browser lays out again otherwise. */
export function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
