// The WebSocket to the server: when it is lost, it is tried again with growing pauses.

const FIRST_PAUSE = 1, LONGEST_PAUSE = 10;
const REFUSED = 4401;

export class Connection {
  /** @param address of the WebSocket; @param on {message(object), state(name, sentence)} */
  constructor(address, on) {
    this.address = address;
    this.on = on;
    this.failures = 0;
    this.complaint = "";
    // Back from sleep or a lost network: not after ten seconds, now.
    addEventListener("online", () => this.#soon());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.#soon());
    this.#open();
  }

  send(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  #open() {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.on.state("connecting", this.failures ? "trying again" : "connecting");
    const socket = (this.socket = new WebSocket(this.address));
    socket.onmessage = (event) => {
      let message;
      try {
        message = JSON.parse(event.data);
        if (message.type === "hello") {
          this.failures = 0;
          this.complaint = "";
          this.on.state("connected", "connected");
        }
        if (message.type === "error") this.complaint = message.message;
        else this.on.message(message);
      } catch (error) {
        // A page of another version than the server, most likely: said, and tried again later.
        this.complaint = `cannot read what the server sends: ${error.message}`;
        socket.close(1000);
      }
    };
    socket.onclose = (event) => this.#lost(event);
  }

  #lost(event) {
    if (event.code === REFUSED) {
      this.on.state("refused", "the server asks for a token: open the page with ?token=… at the end of its address");
      return;
    }
    const pause = Math.min(FIRST_PAUSE * 2 ** this.failures++, LONGEST_PAUSE) * (0.8 + 0.4 * Math.random());
    const why = this.complaint || event.reason || "connection lost";
    this.on.state("lost", `${why}; trying again in ${Math.round(pause)} s`);
    this.timer = setTimeout(() => this.#open(), Math.min(Math.max(pause, FIRST_PAUSE), LONGEST_PAUSE) * 1000);
  }

  #soon() {
    if (this.timer !== undefined) this.#open();
  }
}
