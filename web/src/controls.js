// Buttons, sliders, keys, theme and help. What they do is told to main.js; nothing here draws.

const SPEEDS = [0.25, 0.5, 1, 1.5, 2];
const TURN = 6;
const STORED = "symgnn.theme";

export const part = (name) => document.getElementById(name);

/** @param act {pause, seek(seconds behind), step(way), oldest, live, speed(value), toggle(name), reset, turn(aside, up, nearer), horizon(n), track(name)} */
export function listen(act) {
  for (const name of ["pause", "live", "reset"]) part(name).addEventListener("click", () => act[name]());
  for (const name of ["ghosts", "edges", "labels", "follow"]) part(name).addEventListener("click", () => act.toggle(name));
  part("scrub").addEventListener("input", (event) => act.seek(-event.target.valueAsNumber));
  part("speed").addEventListener("change", (event) => act.speed(Number(event.target.value)));
  part("horizon").addEventListener("input", (event) => act.horizon(event.target.valueAsNumber));
  part("track").addEventListener("change", (event) => act.track(event.target.value));
  const help = part("help");
  part("help-open").addEventListener("click", () => help.showModal());

  const faster = (way) => {
    const select = part("speed"), next = SPEEDS[SPEEDS.indexOf(Number(select.value)) + way];
    if (next) act.speed(next);
  };
  const keys = {
    " ": act.pause, ArrowLeft: () => act.step(-1), ArrowRight: () => act.step(1), Home: act.oldest, End: act.live, l: act.live,
    ",": () => faster(-1), ".": () => faster(1), g: () => act.toggle("ghosts"), e: () => act.toggle("edges"), n: () => act.toggle("labels"),
    f: () => act.toggle("follow"), r: act.reset, "+": () => act.turn(0, 0, 1.1), "=": () => act.turn(0, 0, 1.1), "-": () => act.turn(0, 0, 1 / 1.1),
    a: () => act.turn(-TURN, 0), d: () => act.turn(TURN, 0), w: () => act.turn(0, TURN), s: () => act.turn(0, -TURN),
    "?": () => help.showModal(),
  };
  const turns = { ArrowLeft: keys.a, ArrowRight: keys.d, ArrowUp: keys.w, ArrowDown: keys.s };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || help.open) return;
    const at = event.target, plain = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const action = event.shiftKey && turns[event.key] ? turns[event.key] : keys[plain];
    if (!action) return;
    // A control that has the focus keeps the keys it lives by; the position is moved by answers, not by the slider's own step.
    if (at.matches("select") || (at.matches("button, summary") && event.key === " ")) return;
    if (at.matches("input") && at.id !== "scrub" && /^(Arrow|Home|End)/.test(event.key)) return;
    event.preventDefault();
    action();
  });
}

/** Light and dark: the system's, until the button says otherwise. Calls `changed` whenever the colours are others. */
export function theme(changed) {
  const button = part("theme"), root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const show = () => {
    button.setAttribute("aria-pressed", String(isDark()));
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", isDark() ? "Light colours" : "Dark colours");
    changed();
  };
  const stored = guarded(() => localStorage.getItem(STORED));
  if (stored === "dark" || stored === "light") root.dataset.theme = stored;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    guarded(() => localStorage.setItem(STORED, root.dataset.theme));
    show();
  });
  dark.addEventListener("change", show);
  show();
}

/** Storage that is switched off throws; the page then keeps the choice for as long as it is open. */
function guarded(use) {
  try {
    return use();
  } catch (error) {
    if (error instanceof DOMException) return null;
    throw error;
  }
}
