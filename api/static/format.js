// Numbers, dates and times in the viewer's locale and zone, and elements without HTML text.

const locale = undefined; // the browser's
const parts = (options) => new Intl.DateTimeFormat(locale, { hourCycle: "h23", ...options });
const HOUR = { hour: "2-digit", minute: "2-digit" };
const seconds = parts({ ...HOUR, second: "2-digit" });
const minutes = parts(HOUR);
const dated = parts({ day: "numeric", month: "short", ...HOUR });
const dates = parts({ day: "numeric", month: "short" });
const whole = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
const rupees = new Intl.NumberFormat(locale, { style: "currency", currency: "INR", currencyDisplay: "narrowSymbol" });
const digits = [0, 1, 2, 3].map((n) => new Intl.NumberFormat(locale, { minimumFractionDigits: n, maximumFractionDigits: n }));

export const MISSING = "–";
export const time = (instant) => seconds.format(new Date(instant));
export const hourAndMinute = (instant) => minutes.format(new Date(instant));
export const dayAndTime = (instant) => dated.format(new Date(instant));
export const day = (instant) => dates.format(new Date(instant));
export const count = (number) => whole.format(number);
export const fixed = (number, decimals) => digits[decimals].format(number);
export const money = (inr) => rupees.format(inr);
export const price = (inr) => `${rupees.format(inr)}/kWh`;
export const byName = new Intl.Collator(locale, { numeric: true }).compare;

// The time of today, and the date with it on other days.
export function when(instant, now = Date.now()) {
  const at = new Date(instant);
  return at.toDateString() === new Date(now).toDateString() ? time(at) : dayAndTime(at);
}

// `number` in the unit of its size: scaled(2340, "W") is "2.34 kW".
function scaled(number, unit) {
  if (number === null || number === undefined) return MISSING;
  const size = Math.abs(number);
  if (size >= 1e6) return `${digits[2].format(number / 1e6)} M${unit}`;
  if (size >= 1e3) return `${digits[size >= 1e5 ? 1 : 2].format(number / 1e3)} k${unit}`;
  return `${whole.format(number)} ${unit}`;
}
export const watts = (power_w) => scaled(power_w, "W");
export const wattHours = (energy_wh) => scaled(energy_wh, "Wh");

export function few(number) {
  if (number === null || number === undefined) return MISSING;
  return number >= 100 ? whole.format(number) : digits[number >= 10 ? 1 : 2].format(number);
}

// What devices and people send is text, never markup.
export function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// Changes a node's text only when it differs, so that the page is not laid out in vain.
export function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function row(cells) {
  const made = document.createElement("tr");
  made.append(...cells.map(([content, kind]) => {
    const cell = element("td", undefined, kind ? { class: kind } : {});
    cell.append(content);
    return cell;
  }));
  return made;
}

export function emptyRow(columns, text) {
  const made = document.createElement("tr");
  made.append(element("td", text, { colspan: columns, class: "empty" }));
  return made;
}

export function facts(list, pairs) {
  list.replaceChildren(
    ...pairs.map(([term, ...values]) => {
      const pair = document.createElement("div");
      pair.append(element("dt", term), ...values.map((value) => element("dd", value)));
      return pair;
    }),
  );
}

// The colour of a name in style.css, as the theme has it now.
export const colour = (name) =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

export const rem = () => parseFloat(getComputedStyle(document.documentElement).fontSize);
