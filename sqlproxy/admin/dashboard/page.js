// Small helpers. Everything shown goes through textContent: names, reasons and statements are other people's text.

export const byId = (id) => document.getElementById(id);

export function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.textContent = String(text);
  if (className) made.className = className;
  return made;
}

// textContent is only written when it differs, so that screen readers and selections are left alone.
export function write(node, text) {
  const shown = String(text);
  if (node.textContent !== shown) node.textContent = shown;
}

export function count(value) {
  const number = Number(value) || 0;
  return number >= 10000 ? new Intl.NumberFormat("en", {notation: "compact", maximumFractionDigits: 1}).format(number)
    : String(number >= 100 ? Math.round(number) : Math.round(number * 10) / 10);
}

const before = new Map();
export const forgetRates = () => before.clear();

// Per second since the last call with this key; null when there is nothing to compare with.
export function rate(key, value) {
  const now = performance.now(), last = before.get(key);
  before.set(key, {value, now});
  if (!last || now <= last.now || value < last.value) return null;
  return (value - last.value) * 1000 / (now - last.now);
}

export const speed = (value) => value === null ? "–" : count(value);

export const TONES = {primary: "good", replica: "read", joining: "busy", donor: "busy", desynced: "busy",
  suspect: "busy", "non-primary": "bad", down: "bad", unknown: "none"};

// A table whose rows keep their elements from one update to the next, so that a focused button stays focused.
// columns: [title, row => text, class]; action: {title, run(row)} adds a button to each row.
export class Table {
  constructor(target, columns, key, empty, action) {
    Object.assign(this, {target, columns, key, empty, action, lines: new Map()});
    const head = element("thead"), titles = element("tr");
    for (const [name, , className] of columns) {
      const title = element("th", name, className);
      title.scope = "col";
      titles.append(title);
    }
    if (action) titles.append(element("td"));
    head.append(titles);
    this.head = head;
    this.body = element("tbody");
    this.caption = element("caption", empty, "empty");
  }

  update(rows) {
    this.target.replaceChildren(...(rows.length ? [this.head, this.body] : [this.caption]));
    const wanted = new Set(rows.map(this.key));
    for (const [key, line] of this.lines) if (!wanted.has(key)) { line.remove(); this.lines.delete(key); }
    rows.forEach((row, place) => {
      const line = this.line(this.key(row));
      if (this.body.children[place] !== line) this.body.insertBefore(line, this.body.children[place] ?? null);
      this.fill(line, row);
    });
  }

  line(key) {
    let line = this.lines.get(key);
    if (line) return line;
    line = element("tr");
    for (const [, , className] of this.columns) line.append(element("td", "", className));
    if (this.action) line.append(this.button(line));
    this.lines.set(key, line);
    this.body.append(line);
    return line;
  }

  button(line) {
    const cell = element("td"), button = element("button", this.action.title);
    button.type = "button";
    button.addEventListener("click", () => this.action.run(line.row));
    cell.append(button);
    return cell;
  }

  fill(line, row) {
    line.row = row;
    this.columns.forEach(([, value], place) => write(line.children[place], value(row)));
    if (this.action) line.lastChild.firstChild.setAttribute("aria-label", this.action.label(row));
  }
}
