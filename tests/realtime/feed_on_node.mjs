// docs/feed.mjs under Node: `node feed_on_node.mjs URL CHANNEL…`. Writes a JSON line for everything that
// happens; for each {"token": true} it reads a line, the token.
import { createInterface } from "node:readline";
import { Feed, FeedRefused } from "../../docs/feed.mjs";

const [url, ...channels] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const tell = (said) => process.stdout.write(JSON.stringify(said) + "\n");

let failing = process.env.FAIL_ONCE;  // an event that the app fails to handle the first time
const feed = new Feed({
  url,
  subscriptions: channels.map((channel) => ({ channel })),
  pulseMs: Number(process.env.PULSE_MS ?? 15_000),
  token: async () => { tell({ token: true }); return (await lines.next()).value; },
  onReload: async (channel) => tell({ reload: channel }),
  onEvent: async (event) => {
    if (String(event.data.version) === failing) { failing = undefined; throw new Error("not handled"); }
    tell({ event });
  },
});
try {
  await feed.run();
} catch (error) {
  if (!(error instanceof FeedRefused)) throw error;
  tell({ refused: error.message });
  process.exit(0);
}
