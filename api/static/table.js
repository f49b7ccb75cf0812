// A table of many items: pages, sorting by its headings, one row per item.

import { count, element, emptyRow, set } from "./format.js";

const PAGE_SIZE = 50;
// An order by values that change each second is renewed this often, so that rows can be read.
const REORDER_EVERY_MS = 5_000;

// A column: `title`; `compare(a, b)`, null if it is no order; `show(cell, item)`; `number`: to the right;
// `changing`: its values change while one looks; `wide`: hidden where there is little room.
export class PagedTable {
  #columns; #body; #pager; #open; #rows = new Map(); #items = []; #ordered = []; #orderedAt = 0; #page = 0;
  #column; #descending; #empty; #heads = [];

  constructor({ table, pager, columns, sort, descending = false, open, empty }) {
    this.#columns = columns;
    this.#column = columns.findIndex((column) => column.title === sort);
    this.#descending = descending;
    this.#open = open;
    this.#empty = empty;
    this.#body = table.tBodies[0];
    table.tHead.append(this.#head());
    this.#pager = this.#makePager(pager);
    this.#mark();
  }

  // `changed`: items came, went, or moved to another place in the order.
  show(items, changed = true) {
    this.#items = items;
    const column = this.#columns[this.#column];
    if (changed || items.length !== this.#ordered.length || (column.changing && Date.now() - this.#orderedAt > REORDER_EVERY_MS)) this.#order();
    this.#draw();
  }

  // Begins with the first page again, as after a new filter.
  first() { this.#page = 0; }

  #order() {
    const { compare } = this.#columns[this.#column], sign = this.#descending ? -1 : 1;
    this.#ordered = [...this.#items].sort((a, b) => sign * compare(a, b));
    this.#orderedAt = Date.now();
  }

  #draw() {
    const pages = Math.max(1, Math.ceil(this.#ordered.length / PAGE_SIZE));
    this.#page = Math.min(this.#page, pages - 1);
    const items = this.#ordered.slice(this.#page * PAGE_SIZE, (this.#page + 1) * PAGE_SIZE);
    const rows = items.map((item) => this.#row(item));
    if (!rows.length) {
      this.#body.replaceChildren(emptyRow(this.#columns.length, this.#empty()));
    } else {
      // Only rows that moved are moved: the focus stays where it is.
      rows.forEach((row, n) => { if (this.#body.children[n] !== row) this.#body.insertBefore(row, this.#body.children[n] ?? null); });
      while (this.#body.children.length > rows.length) this.#body.lastChild.remove();
    }
    const ids = new Set(items.map((item) => item.id));
    for (const id of this.#rows.keys()) if (!ids.has(id)) this.#rows.delete(id);
    this.#showPager(pages, items.length);
  }

  #row(item) {
    let row = this.#rows.get(item.id);
    if (!row) {
      row = element("tr");
      for (const column of this.#columns) row.append(element("td", undefined, { class: classOf(column) }));
      row.addEventListener("click", () => this.#open(row.item));
      this.#rows.set(item.id, row);
    }
    row.item = item;
    this.#columns.forEach((column, n) => column.show(row.children[n], item, row));
    return row;
  }

  #head() {
    const head = element("tr");
    this.#columns.forEach((column, n) => {
      const cell = element("th", undefined, { scope: "col", class: classOf(column) });
      if (column.compare) {
        const button = element("button", column.title, { type: "button" });
        button.addEventListener("click", () => this.#sortBy(n));
        cell.append(button);
      } else cell.textContent = column.title;
      this.#heads.push(cell);
      head.append(cell);
    });
    return head;
  }

  #sortBy(n) {
    this.#descending = n === this.#column ? !this.#descending : Boolean(this.#columns[n].descending);
    this.#column = n;
    this.#page = 0;
    this.#mark();
    this.show(this.#items);
  }

  #mark() {
    this.#heads.forEach((cell, n) => {
      if (n === this.#column) cell.setAttribute("aria-sort", this.#descending ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
  }

  #makePager(box) {
    const back = element("button", "‹", { type: "button", "aria-label": "Previous page" });
    const next = element("button", "›", { type: "button", "aria-label": "Next page" });
    const place = element("span", "");
    back.addEventListener("click", () => this.#turn(-1));
    next.addEventListener("click", () => this.#turn(1));
    box.append(back, place, next);
    return { box, back, next, place };
  }

  #turn(by) {
    this.#page = Math.max(0, this.#page + by);
    this.#draw();
    this.#body.parentElement.parentElement.scrollTop = 0;
  }

  #showPager(pages, shown) {
    const { box, back, next, place } = this.#pager;
    box.hidden = pages < 2;
    back.disabled = this.#page === 0;
    next.disabled = this.#page === pages - 1;
    const first = this.#page * PAGE_SIZE + 1;
    set(place, `${count(first)}–${count(first + shown - 1)} of ${count(this.#ordered.length)}`);
  }
}

const classOf = (column) => [column.number ? "number" : "", column.wide ? "wide" : ""].filter(Boolean).join(" ");
