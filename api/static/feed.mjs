// The live feed of solarhub (docs/feed.md): stays connected and signed in, misses nothing, repeats nothing.
// Browsers, React Native, Node 22 (Node 20: --experimental-websocket). Paste it, or import it:
//
//   const feed = new Feed({ url, subscriptions: [{ channel: "listings" }, { channel: "user" }],
//     token: async () => "a fresh access token", onReload: async (channel) => { /* load it over REST */ },
//     onEvent: async ({ channel, type, time, data }) => { /* apply it, unless what you have is newer */ } });
//   feed.run();    // until feed.stop(); throws FeedRefused when trying again would not help

export class FeedRefused extends Error {}

export class Feed {
  #options; #positions = {}; #end = () => {}; #stopped = false;

  constructor(options) { this.#options = { retryMaxMs: 10_000, pulseMs: 15_000, ...options }; }

  async run() {
    for (let waitMs = 200; !this.#stopped; waitMs = Math.min(2 * waitMs, this.#options.retryMaxMs)) {
      const beganAt = Date.now();
      await this.#connected().catch((e) => { if (e instanceof FeedRefused) throw e; console.warn("feed lost:", e); });
      if (Date.now() - beganAt > this.#options.retryMaxMs) waitMs = 200;
      if (!this.#stopped) await new Promise((again) => setTimeout(again, waitMs * (0.5 + Math.random())));
    }
  }

  stop() { this.#stopped = true; this.#end(); }

  #connected() {  // settles when the connection has ended, and all that it told is handed out
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(this.#options.url);
      const say = (frame) => { if (socket.readyState === 1) socket.send(JSON.stringify(frame)); };
      let heard = false, handed = Promise.resolve();
      this.#end = () => { clearInterval(pulse); socket.onclose = socket.onmessage = null; socket.close(); handed.then(resolve, reject); };
      const pulse = setInterval(() => { if (!heard) this.#end(); heard = false; say({ op: "ping" }); }, this.#options.pulseMs);
      const inTurn = (work) => { handed = handed.then(work); handed.catch(() => this.#end()); };
      socket.onopen = () => inTurn(async () => {
        say({ op: "auth", token: await this.#options.token() });
        for (const one of this.#options.subscriptions) say({ op: "subscribe", ...one, position: this.#positions[one.channel] });
      });
      socket.onmessage = ({ data }) => { heard = true; inTurn(() => this.#take(JSON.parse(data), say)); };
      socket.onclose = ({ code, reason }) => { if (code === 4400) inTurn(() => { throw new FeedRefused(reason); }); else this.#end(); };
    });
  }

  async #take(frame, say) {  // a position counts once its event is dealt with: what fails comes again
    if (frame.op === "error") throw new FeedRefused(`${frame.code}: ${frame.message}`);
    if (frame.op === "token_expiring") say({ op: "auth", token: await this.#options.token() });
    if (frame.op === "subscribed" && !frame.recovered) await this.#options.onReload(frame.channel);
    if (frame.op === "subscribed") this.#positions[frame.channel] = frame.position;
    for (const event of frame.op === "events" ? frame.events : []) {
      await this.#options.onEvent(event);
      this.#positions[event.channel] = event.position;
    }
  }
}
