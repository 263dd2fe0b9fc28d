// Bundles the page into src/symgnn/runtime/web. Its first lines name the sources by their hash; tests/test_page.py holds it to them.
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const here = new URL(".", import.meta.url);
const out = new URL("../src/symgnn/runtime/web/", here);
const MOST_BYTES = 1_000_000;

const sources = ["build.mjs", "package-lock.json", "package.json", ...readdirSync(new URL("src/", here)).map((name) => `src/${name}`)];
const hash = createHash("sha256");
for (const name of sources.sort()) {
  hash.update(`${name}\0`).update(readFileSync(new URL(name, here))).update("\0");
}
const stated = `/* The live page of symgnn, built from web/ by make web. sources sha256:${hash.digest("hex")} */`;
const three = JSON.parse(readFileSync(new URL("node_modules/three/package.json", here))).version;

mkdirSync(out, { recursive: true });
await build({
  absWorkingDir: here.pathname,
  entryPoints: { app: "src/main.js" },
  outdir: out.pathname,
  bundle: true,
  format: "iife",
  target: "es2022",
  minify: true,
  legalComments: "none",
  banner: { js: `${stated}\n/* With three.js ${three}, MIT: see NOTICE.txt. */` },
});
await build({
  absWorkingDir: here.pathname,
  entryPoints: { app: "src/app.css" },
  outdir: out.pathname,
  minify: true,
  banner: { css: stated },
});
copyFileSync(new URL("src/index.html", here), new URL("index.html", out));
writeFileSync(
  new URL("NOTICE.txt", out),
  `app.js contains parts of three.js ${three} (https://threejs.org):\n\n${readFileSync(new URL("node_modules/three/LICENSE", here), "utf8").trim()}\n`,
);
const size = statSync(new URL("app.js", out)).size;
if (size > MOST_BYTES) throw new Error(`app.js has ${size} bytes, expected at most ${MOST_BYTES}`);
console.log(`app.js: ${size} bytes`);
