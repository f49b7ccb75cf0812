// Names of users by their ids. Unknown ones are asked for, a few at a time.

const AT_ONCE = 4;
const RETRY_MS = 10_000;
export const DELETED = "deleted account";

export class Names {
  #known = new Map(); #asked = new Set(); #queue = []; #running = 0; #session; #changed;

  // `changed` is called when a name has become known.
  constructor(session, changed) {
    this.#session = session;
    this.#changed = changed;
  }

  add(names) { for (const [id, name] of Object.entries(names)) this.#known.set(id, name); }

  known(id) { return this.#known.get(id); }

  // The name to show now. Of an unknown user it follows later.
  of(id) {
    if (!id) return DELETED;
    const name = this.#known.get(id);
    if (name) return name;
    if (!this.#asked.has(id)) {
      this.#asked.add(id);
      this.#queue.push(id);
      this.#next();
    }
    return "…";
  }

  #next() {
    while (this.#running < AT_ONCE && this.#queue.length) {
      this.#running += 1;
      this.#ask(this.#queue.shift()).finally(() => { this.#running -= 1; this.#next(); });
    }
  }

  async #ask(id) {
    try {
      const user = await this.#session.get(`/admin/users/${id}`);
      this.#known.set(id, user.full_name || user.email);
    } catch (error) {
      // Any other failure passes: the name is asked for again when it is next shown.
      if (error.status === 404) this.#known.set(id, DELETED);
      else setTimeout(() => this.#asked.delete(id), RETRY_MS);
    }
    this.#changed();
  }
}
