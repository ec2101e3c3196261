// The text of a prompt with the slots that a model fills, and every forward pass of it again.

const PERCENT = [25, 50, 75, 95];
const percent = (probability) => `${(100 * probability).toFixed(probability > 0.995 || probability < 0.0995 ? 1 : 0)} %`;
const shown = (text) => (text === "" ? "⏹" : text.replaceAll("\n", "↵\n").replaceAll("\t", "→\t"));
const named = (text) => (text === "" ? "end of text" : text === "\n" ? "new line" : text === " " ? "space" : text === "\ufffd" ? "part of a character" : `“${text}”`);

export class Canvas {
  // place: the element that it fills; detail: that tells of the token in focus.
  constructor(place, detail) {
    this.place = place;
    this.detail = detail;
    place.addEventListener("focusin", (event) => this.#tell(event.target));
    place.addEventListener("mouseover", (event) => this.#tell(event.target));
    place.addEventListener("click", (event) => event.target.matches(".cell:not(.mask)") && this.#focus(event.target));
    place.addEventListener("keydown", (event) => this.#walk(event));
  }

  // Begin anew: nothing is written yet.
  show(segments) {
    this.place.replaceChildren();
    this.cells = [];
    this.passes = [];
    this.growing = null;
    for (const segment of segments) {
      if (segment.slots === undefined) {
        const text = document.createElement("span");
        text.textContent = segment.text;
        if (segment.ignored) text.className = "ignored";
        this.place.append(text);
        continue;
      }
      const group = document.createElement("span");
      group.className = segment.slots ? "slots" : "slots open";
      this.place.append(group);
      if (segment.grows) this.growing = group;
      if (segment.range) group.dataset.range = `${segment.range[0]}–${segment.range[1]}`;
      for (let i = 0; i < segment.slots; i++) this.#add(group);
    }
  }

  get written() {
    return this.cells.filter((cell) => cell.text !== null).length;
  }

  // What one forward pass wrote, or masked again: [{position, text, probability}], text null where it is masked.
  pass(updates, number = this.passes.length + 1) {
    this.passes.push({ updates, number });
    for (const { position, text, probability } of updates) {
      while (this.growing && this.cells.length <= position) this.#add(this.growing);
      this.#write(this.cells[position], text, probability, number, true);
    }
  }

  // The forward pass of an entry of `passes`, counted from 1; 0 is before the first.
  number(count) {
    return count ? this.passes[count - 1].number : 0;
  }

  // What the canvas held after so many entries of `passes`.
  replay(count) {
    const state = this.cells.map(() => [null, null, 0]);
    for (const { updates, number } of this.passes.slice(0, count)) {
      for (const { position, text, probability } of updates) state[position] = [text, probability, number];
    }
    this.cells.forEach((cell, i) => {
      this.#write(cell, ...state[i], state[i][2] === this.number(count));
      cell.element.hidden = cell.hidden && count === this.passes.length;
    });
  }

  // The answer is whole: its text settles characters of several tokens; nothing follows the end of the text.
  settle(texts) {
    const end = this.cells.findIndex((cell) => cell.text === "");
    if (this.growing && end >= 0) this.cells.slice(end + 1).forEach((cell) => (cell.hidden = true));
    const kept = this.cells.filter((cell, i) => cell.text && (end < 0 || !this.growing || i < end));
    const characters = [...texts.join("")];
    const sizes = characters.map((each) => new TextEncoder().encode(each).length);
    if (sizes.reduce((a, b) => a + b, 0) === kept.length) {
      let at = 0;
      characters.forEach((character, i) => {
        const cells = kept.slice(at, (at += sizes[i]));
        if (cells.length > 1) cells.forEach((cell, k) => (cell.settled = k ? "\u200b" : character));
      });
    }
    if (this.passes.length) this.replay(this.passes.length);
  }

  // Fill holes whose canvas was not reported.
  fill(holes) {
    const groups = [...this.place.querySelectorAll(".slots")];
    this.cells = [];
    holes.forEach((hole, i) => {
      delete groups[i].dataset.range;
      groups[i].replaceChildren();
      const mean = hole.logprobs?.length ? hole.logprobs.reduce((a, b) => a + b, 0) / hole.logprobs.length : null;
      this.#write(this.#add(groups[i]), hole.text, mean === null ? null : Math.exp(mean), 0, true);
    });
  }

  #add(group) {
    const element = document.createElement("span");
    group.append(element);
    const cell = { element, text: null, settled: null, hidden: false };
    this.cells.push(cell);
    this.#write(cell, null, null, 0, false);
    return cell;
  }

  #write(cell, text, probability, pass, fresh) {
    const { element } = cell;
    cell.text = text;
    element.className = text === null ? "cell mask" : fresh ? "cell fresh" : "cell";
    element.textContent = text === null ? "·\u200b" : shown(cell.settled ?? text);
    for (const name of ["role", "tabindex", "aria-label", "title", "data-level"]) element.removeAttribute(name);
    if (text === null) return;
    const words = [named(cell.settled && cell.settled !== "\u200b" ? cell.settled : text)];
    if (probability !== null) words.push(percent(probability));
    if (pass) words.push(`pass ${pass}`);
    element.title = words.join(", ");
    element.setAttribute("role", "button");
    element.setAttribute("aria-label", element.title);
    if (probability !== null) element.dataset.level = 1 + PERCENT.filter((limit) => 100 * probability >= limit).length;
    element.tabIndex = this.place.querySelector('[tabindex="0"]') ? -1 : 0;
  }

  #tell(element) {
    if (element.title) this.detail.textContent = `Token ${1 + this.cells.findIndex((cell) => cell.element === element)}: ${element.title}`;
  }

  #focus(element) {
    this.place.querySelector('[tabindex="0"]')?.setAttribute("tabindex", "-1");
    element.tabIndex = 0;
    element.focus();
  }

  #walk(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 10, ArrowUp: -10, Home: -Infinity, End: Infinity }[event.key];
    const cells = this.cells.filter((cell) => cell.text !== null && !cell.element.hidden).map((cell) => cell.element);
    const at = cells.indexOf(event.target);
    if (!step || at < 0) return;
    event.preventDefault();
    this.#focus(cells[Math.max(0, Math.min(cells.length - 1, at + step))]);
  }
}
