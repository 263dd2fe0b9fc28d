// The colours of app.css as numbers, in the theme that is on.

const SHADE = ["middle", "left", "right", "soon", "mid", "late", "relation", "grid", "shadow", "floor", "ink", "soft", "line", "paper"];
export const CLASS_COLOURS = 6;

/** {name: [r, g, b] from 0 to 1, ..., css: {name: "rgb(...)"}, classes: ["rgb(...)"]} */
export function readColours() {
  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);
  const css = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const colours = { css: {}, classes: [] };
  for (const name of SHADE) {
    colours.css[name] = css(name);
    colours[name] = css(name).match(/[\d.]+/g).slice(0, 3).map((value) => value / 255);
  }
  for (let number = 0; number < CLASS_COLOURS; number++) colours.classes.push(css(`class-${number}`));
  probe.remove();
  return colours;
}

/** The colour of a ghost, `far` from 0 (soon) to 1 (at the horizon). */
export function rampColour(colours, far) {
  const [from, to, part] = far < 0.5 ? [colours.soon, colours.mid, far * 2] : [colours.mid, colours.late, far * 2 - 1];
  return from.map((value, channel) => value + (to[channel] - value) * part);
}

export const cssColour = (rgb, alpha = 1) => `rgba(${rgb.map((value) => Math.round(value * 255)).join(", ")}, ${alpha})`;
