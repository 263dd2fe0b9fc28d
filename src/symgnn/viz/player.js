// Plays a clip: the observed body, then the predicted one over the last pose that was seen. Nothing is loaded from anywhere.
"use strict";

function player(section) {
  const clip = JSON.parse(section.querySelector("script").textContent);
  const canvas = section.querySelector("canvas");
  const button = section.querySelector("button");
  const slider = section.querySelector("input");
  const output = section.querySelector("output");
  const brush = canvas.getContext("2d");
  const last = clip.frames.length - 1;
  let frame = 0, turn = 0, playing = false, since = 0;

  // Right and up in the picture of a point (right, up, towards the eye), turned about the vertical by what was dragged.
  const place = (point, box) => {
    const [x, y, z] = point;
    const right = x * Math.cos(turn) + z * Math.sin(turn);
    return [box.middle + right * box.scale, box.ground - y * box.scale];
  };

  const stroke = (pose, box, colour, width, dashes, opacity) => {
    brush.strokeStyle = colour;
    brush.lineWidth = width;
    brush.lineCap = brush.lineJoin = "round";
    brush.setLineDash(dashes);
    clip.bones.forEach(([a, b], bone) => {
      if (!pose[a] || !pose[b]) return;
      brush.globalAlpha = opacity * (clip.far[bone] ? 0.5 : 1);
      brush.beginPath();
      brush.moveTo(...place(pose[a], box));
      brush.lineTo(...place(pose[b], box));
      brush.stroke();
    });
    for (const head of clip.heads.map((points) => points.map((point) => pose[point])).filter((points) => points.every(Boolean))) {
      const middle = [0, 1, 2].map((axis) => head.reduce((sum, point) => sum + point[axis], 0) / head.length);
      brush.globalAlpha = opacity;
      brush.beginPath();
      brush.arc(...place(middle, box), 0.055 * clip.height * box.scale, 0, 2 * Math.PI);
      brush.stroke();
    }
    brush.globalAlpha = 1;
    brush.setLineDash([]);
  };

  const draw = () => {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    brush.setTransform(ratio, 0, 0, ratio, 0, 0);
    const margin = 18;
    const scale = Math.min((height - 2 * margin) / clip.top, (width - 2 * margin) / (2 * clip.reach));
    const box = { scale, middle: width / 2, ground: height - margin };
    brush.strokeStyle = colour("--line");
    brush.lineWidth = 1;
    brush.beginPath();
    brush.moveTo(0, box.ground + 6);
    brush.lineTo(width, box.ground + 6);
    brush.stroke();
    const predicted = frame >= clip.observed;
    if (predicted) {
      stroke(clip.frames[clip.observed - 1], box, colour("--seen"), 2, [], 0.35);
      stroke(clip.frames[frame], box, colour("--guess"), 3.5, [7, 6], 1);
    } else {
      stroke(clip.frames[frame], box, colour("--seen"), 3.5, [], 1);
    }
    const seconds = ((frame - clip.observed + 1) * clip.frame_ms) / 1000;
    const sign = seconds > 0 ? "+" : seconds < 0 ? "\u2212" : "";
    const length = ((clip.observed - 1) * clip.frame_ms) / 1000;
    output.textContent = clip.whole && !predicted ? `${(seconds + length).toFixed(2)} of ${length.toFixed(2)} s`
      : `${sign}${Math.abs(seconds).toFixed(2)} s ${predicted ? "predicted" : seconds === 0 ? "now" : "observed"}`;
    slider.value = frame;
    slider.setAttribute("aria-valuetext", output.textContent);
  };

  const show = (wanted) => { frame = Math.max(0, Math.min(last, wanted)); draw(); };
  const play = (wanted) => {
    playing = wanted && last > 0;
    button.textContent = playing ? "Pause" : "Play";
    if (playing) { since = performance.now(); requestAnimationFrame(step); }
  };
  const step = (now) => {
    if (!playing) return;
    const passed = Math.floor((now - since) / clip.frame_ms);
    if (passed > 0) {
      since += passed * clip.frame_ms;
      show((frame + passed) % (last + 1));
    }
    requestAnimationFrame(step);
  };

  button.addEventListener("click", () => play(!playing));
  slider.addEventListener("input", () => { play(false); show(Number(slider.value)); });
  canvas.addEventListener("keydown", (event) => {
    const actions = {
      " ": () => play(!playing),
      ArrowLeft: () => { play(false); show(frame - 1); },
      ArrowRight: () => { play(false); show(frame + 1); },
      Home: () => { play(false); show(0); },
      End: () => { play(false); show(last); },
      "[": () => { turn -= 0.2; draw(); },
      "]": () => { turn += 0.2; draw(); },
    };
    if (actions[event.key] && !event.ctrlKey && !event.metaKey && !event.altKey) { event.preventDefault(); actions[event.key](); }
  });
  canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    if (!canvas.hasPointerCapture(event.pointerId)) return;
    turn += event.movementX * 0.01;
    draw();
  });
  window.addEventListener("resize", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  show(Math.max(0, clip.observed - 1));
  return play;
}

const players = [...document.querySelectorAll("section.player")].map(player);
// The first one moves by itself, unless the reader asked for less motion.
if (players.length && !matchMedia("(prefers-reduced-motion: reduce)").matches) players[0](true);
