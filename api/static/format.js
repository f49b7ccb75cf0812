// Numbers and times as people read them, in their own zone; elements made without any HTML text.

const zone = undefined; // the viewer's
const clock = new Intl.DateTimeFormat(zone, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const minute = new Intl.DateTimeFormat(zone, { weekday: "short", hour: "2-digit", minute: "2-digit" });
const whole = new Intl.NumberFormat("en-IN", { maximumFractionDigits: 0 });

export const time = (instant) => clock.format(new Date(instant));
export const dayAndTime = (instant) => minute.format(new Date(instant));
export const count = (number) => whole.format(number);

export function watts(power) {
  if (power === null || power === undefined) return "–";
  return Math.abs(power) >= 1000 ? `${(power / 1000).toFixed(2)} kW` : `${Math.round(power)} W`;
}

export function few(number) {
  if (number === null || number === undefined) return "–";
  return number >= 100 ? count(number) : number.toFixed(number >= 10 ? 1 : 2);
}

export const shortId = (id) => (id ? id.slice(0, 8) : "–");

// What comes from devices and people is text, never markup.
export function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

export function row(cells) {
  const made = document.createElement("tr");
  made.append(...cells.map(([text, kind]) => element("td", text, kind ? { class: kind } : {})));
  return made;
}

export function facts(list, pairs) {
  list.replaceChildren(
    ...pairs.map(([term, told]) => {
      const pair = document.createElement("div");
      pair.append(element("dt", term), element("dd", told));
      return pair;
    }),
  );
}

// The colour of a name in style.css, as the theme has it now.
export const colour = (name) =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
