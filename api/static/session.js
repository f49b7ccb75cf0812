// The session of the signed-in administrator. The access token is in memory, the refresh token in this
// tab's session storage, so that a reload stays signed in. Neither is ever in a URL.

const BASE = "/api/v1";
const KEPT = "refresh_token";

export class SignedOut extends Error {}

export class Session {
  #access = null;
  #goodUntil = 0;
  #refreshing = null;
  user = null;

  async signIn(email, password) {
    await this.#begin("/auth/login", { email, password });
  }

  async signInByCode(code) {
    await this.#begin("/auth/code", { code });
  }

  // Continues the session of this tab; throws SignedOut.
  async resume() {
    await this.#refresh();
  }

  async signOut() {
    const refresh_token = sessionStorage.getItem(KEPT);
    sessionStorage.removeItem(KEPT);
    if (refresh_token) await post("/auth/logout", { refresh_token }).catch(() => {});
  }

  // Returns an access token that is valid for at least half a minute.
  async token() {
    if (Date.now() > this.#goodUntil - 30_000) await this.#refresh();
    return this.#access;
  }

  async get(path) {
    for (const last of [false, true]) {
      const answer = await fetch(BASE + path, { headers: { Authorization: `Bearer ${await this.token()}` } });
      if (answer.status === 401 && !last) {
        await this.#refresh();
        continue;
      }
      return await dataOf(answer);
    }
  }

  async patch(path, body) {
    const headers = { Authorization: `Bearer ${await this.token()}`, "Content-Type": "application/json" };
    return await dataOf(await fetch(BASE + path, { method: "PATCH", headers, body: JSON.stringify(body) }));
  }

  #refresh() {
    this.#refreshing ??= this.#renew().finally(() => (this.#refreshing = null));
    return this.#refreshing;
  }

  async #renew() {
    const refresh_token = sessionStorage.getItem(KEPT);
    if (!refresh_token) throw new SignedOut("not signed in");
    await this.#begin("/auth/refresh", { refresh_token });
  }

  async #begin(path, body) {
    const session = await post(path, body);
    if (session.user.role !== "admin") throw new SignedOut("The control room is for administrators.");
    this.user = session.user;
    this.#access = session.access_token;
    this.#goodUntil = Date.now() + 1000 * session.expires_in;
    sessionStorage.setItem(KEPT, session.refresh_token);
  }
}

async function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  return dataOf(await fetch(BASE + path, { method: "POST", headers, body: JSON.stringify(body) }));
}

async function dataOf(answer) {
  const body = await answer.json();
  if (body.success) return body.data;
  if (answer.status === 401) throw new SignedOut(body.message);
  throw Object.assign(new Error(body.message), { status: answer.status });
}
