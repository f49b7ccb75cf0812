// A client of solarhub's live feed (docs/feed.md). It reconnects, renews its token, and passes on every event once.
// For browsers, React Native and Node 22 (Node 20: --experimental-websocket). Copy or import it:
//
//   const feed = new Feed({ url, subscriptions: [{ channel: "listings" }, { channel: "user" }],
//     token: async () => "a fresh access token", onReload: async (channel) => { /* load it over REST */ },
//     onEvent: async ({ channel, type, time, data }) => { /* apply it unless your state is newer */ } });
//   feed.run();    // until feed.stop(); throws FeedRefused if a retry can't succeed

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

  #connected() {  // settles when the connection has ended and all its events were processed
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(this.#options.url);
      const send = (frame) => { if (socket.readyState === 1) socket.send(JSON.stringify(frame)); };
      let received = false, handled = Promise.resolve();
      this.#end = () => { clearInterval(pulse); socket.onclose = socket.onmessage = null; socket.close(); handled.then(resolve, reject); };
      const pulse = setInterval(() => { if (!received) this.#end(); received = false; send({ op: "ping" }); }, this.#options.pulseMs);
      const inTurn = (work) => { handled = handled.then(work); handled.catch(() => this.#end()); };
      socket.onopen = () => inTurn(async () => {
        send({ op: "auth", token: await this.#options.token() });
        for (const one of this.#options.subscriptions) send({ op: "subscribe", ...one, position: this.#positions[one.channel] });
      });
      socket.onmessage = ({ data }) => { received = true; inTurn(() => this.#take(JSON.parse(data), send)); };
      socket.onclose = ({ code, reason }) => { if (code === 4400) inTurn(() => { throw new FeedRefused(reason); }); else this.#end(); };
    });
  }

  async #take(frame, send) {  // store a position after its event was processed: an event that fails is sent again
    if (frame.op === "error") throw new FeedRefused(`${frame.code}: ${frame.message}`);
    if (frame.op === "token_expiring") send({ op: "auth", token: await this.#options.token() });
    if (frame.op === "subscribed" && !frame.recovered) await this.#options.onReload(frame.channel);
    if (frame.op === "subscribed") this.#positions[frame.channel] = frame.position;
    for (const event of frame.op === "events" ? frame.events : []) {
      await this.#options.onEvent(event);
      this.#positions[event.channel] = event.position;
    }
  }
}
