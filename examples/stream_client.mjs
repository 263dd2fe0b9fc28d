// Send frames to `symgnn serve` and print what comes back. No dependency: Node 22, or Node 20 with --experimental-websocket.
// The function `connect` runs in a browser as it is.
//
//     symgnn serve cmu &
//     node stream_client.mjs frames.jsonl --fps 60        // lines of {"frame": [[x, y, z], null, ...]}, sent in real time
//     camera | node stream_client.mjs -                   // the same lines, sent as they come
//
// Where the service goes away it connects again, after pauses that grow. Browsers cannot give a WebSocket headers: a token goes
// into the address, ws://host:8000/v1/stream?token=...

/** Seconds before the first, second, ... attempt to connect again; then always the last. */
const PAUSES = [0.2, 0.5, 1, 2, 5];

/**
 * A connection that is made anew when it breaks.
 *
 * @param {string} url of the service, ws://127.0.0.1:8000/v1/stream
 * @param {object} opening horizon, fps, warm_up, reject
 * @param {(message: object) => void} tell given every message: hello, waiting, answer, error
 * @param {number} retries attempts in a row before it gives up
 * @returns {{closed: Promise<void>, send: (frame: object) => void, close: () => Promise<void>}}
 *   frames sent while there is no connection are left out
 */
export function connect(url, opening, tell, retries = 10) {
  let socket, failures = 0, wanted = true, over;
  const closed = new Promise((resolve) => { over = resolve; });
  const open = () => {
    socket = new WebSocket(url);
    socket.addEventListener("open", () => socket.send(JSON.stringify({ type: "open", ...opening })));
    socket.addEventListener("message", (event) => {
      const message = JSON.parse(event.data);
      if (message.type === "waiting" || message.type === "answer") failures = 0;
      tell(message);
    });
    let ended = false;
    const end = (code) => {
      if (ended) return undefined;
      ended = true;
      // Other than with these (1006: it broke, or was never made) it would be refused again.
      if (!wanted || failures === retries || ![1001, 1006, 1011, 1012, 1013].includes(code)) return over();
      const pause = PAUSES[Math.min(failures, PAUSES.length - 1)];
      failures += 1;
      tell({ type: "error", message: `closed with ${code}; again in ${pause} s` });
      return setTimeout(open, 1000 * pause);
    };
    socket.addEventListener("close", (event) => end(event.code));
    // Node 20 says only this where nobody listens at the address.
    socket.addEventListener("error", () => end(1006));
  };
  open();
  return {
    closed,
    send(frame) {
      if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(frame));
    },
    close() {
      wanted = false;
      socket.close();
      return closed;
    },
  };
}

const sleep = (seconds) => new Promise((resolve) => { setTimeout(resolve, 1000 * seconds); });

/** The command line, in Node. */
async function main() {
  const { createInterface } = await import("node:readline");
  const { createReadStream } = await import("node:fs");
  const { parseArgs } = await import("node:util");
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { url: { type: "string", default: "ws://127.0.0.1:8000/v1/stream" }, fps: { type: "string", default: "30" } },
  });
  const source = positionals[0] ?? "-";
  let answers = 0, greeted;
  const hello = new Promise((resolve) => { greeted = resolve; });
  const service = connect(values.url, { warm_up: "repeat", fps: Number(values.fps) }, (message) => {
    if (message.type === "hello") {
      console.log(`session ${message.session}: ${message.model.preset}`);
      greeted();
    } else if (message.type === "answer") {
      answers += 1;
      console.log(`${message.time.toFixed(2)} s: ${message.label}, ${message.future?.length ?? 0} poses ahead`);
    } else if (message.type === "error") {
      console.error(message.message);
    }
  });
  await Promise.race([hello, service.closed]);
  const lines = createInterface({ input: source === "-" ? process.stdin : createReadStream(source) });
  const begun = performance.now() / 1000;
  let number = 0;
  for await (const line of lines) {
    if (line.trim() === "") continue;
    if (source !== "-") await sleep(begun + number / Number(values.fps) - performance.now() / 1000);
    number += 1;
    service.send(JSON.parse(line));
  }
  await sleep(0.5);
  await service.close();
  process.exitCode = answers > 0 ? 0 : 1;
}

if (typeof process !== "undefined" && import.meta.url.endsWith(process.argv[1]?.split("/").pop() ?? "?")) await main();
