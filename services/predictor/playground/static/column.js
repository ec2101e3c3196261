// One model: its card, its answer as it comes, and the figures of it.
import { Canvas } from "./canvas.js";
import { cardOf, eventsOf, requestOf } from "./requests.js";

export const SMALL = 10_000_000;
const PASS_MILLISECONDS = 70;
const number = (value, digits = 0) => value.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits });
const seconds = (value) => (value < 1000 ? `${number(value)} ms` : `${number(value / 1000, 1)} s`);
const many = (value) => (value >= 1e6 ? `${number(value / 1e6, 1)} million` : number(value));

export class Column {
  // base: URL of the predictor; place: where the column goes.
  constructor(base, place) {
    this.base = base;
    this.root = document.querySelector("#column").content.cloneNode(true).firstElementChild;
    place.append(this.root);
    this.canvas = new Canvas(this.#at(".canvas"), this.#at(".detail"));
    this.#at("h2").textContent = base.origin === location.origin ? "This server" : base.host;
    this.#at("input").addEventListener("input", () => this.#show(Number(this.#at("input").value)));
    this.#at(".play").addEventListener("click", () => (this.timer ? this.#pause() : this.#play()));
  }

  #at(selector) {
    return this.root.querySelector(selector);
  }

  #say(selector, text) {
    this.#at(selector).textContent = text;
    this.#at(selector).hidden = !text;
  }

  // Read the model's card and show it.
  async load() {
    const card = (this.card = await cardOf(this.base));
    this.root.dataset.family = card.family;
    this.name = card.family[0].toUpperCase() + card.family.slice(1);
    this.#say("h2", this.name);
    this.canvas.place.setAttribute("aria-label", `Text of the ${card.family} model`);
    const facts = [`${many(card.parameters)} parameters`, `context of ${number(card.max_length)} tokens`];
    if (card.step) facts.push(`step ${number(card.step)}`);
    if (this.base.origin !== location.origin) facts.push(this.base.host);
    this.#say(".facts", facts.join(" · "));
    if (card.parameters < SMALL) {
      this.#say(".small", `A model of ${many(card.parameters)} parameters writes no sensible text yet. What it is good for is its likelihoods, which the study compares.`);
    }
    const rows = { family: card.family, parameters: number(card.parameters), context: `${card.max_length} tokens`, digest: card.digest, run: card.run, step: card.step, weights: card.dtype };
    if (card.block_length) rows["block length"] = card.block_length;
    rows["fills holes"] = card.infill ? "yes" : "no";
    for (const [name, value] of Object.entries(rows).filter(([, value]) => value !== undefined && value !== "")) {
      const row = document.createElement("div");
      row.append(Object.assign(document.createElement("dt"), { textContent: name }), Object.assign(document.createElement("dd"), { textContent: value }));
      this.#at(".card dl").append(row);
    }
  }

  // Show a prompt with its slots, before anything is asked.
  preview(parts, settings) {
    if (!this.card) return;
    this.#pause();
    this.request = requestOf(parts, settings, this.card);
    this.#say(".note", this.request.note ?? "");
    this.canvas.show(this.request.segments);
    this.#at(".replay").hidden = true;
    this.#say(".detail", "\u00a0");
    this.#say(".truth", "");
    for (const name of ["passes", "tokens", "rate", "first", "total", "seed"]) this.#say(`.${name}`, "–");
  }

  // Ask the model and show what comes, until the answer is whole.
  async run(parts, settings, truth, signal) {
    this.preview(parts, settings);
    this.root.setAttribute("aria-busy", "true");
    const answer = { texts: [], began: performance.now(), first: null, passes: 0, tokens: 0, seed: null, holes: null };
    try {
      const { path, body } = this.request;
      for await (const event of eventsOf(this.base, path, body, signal)) this.#take(event, answer);
      this.#finish(answer, truth);
      return `${this.name}: ${answer.tokens} tokens in ${answer.passes} forward passes, ${seconds(answer.total)}. It wrote: ${answer.texts.join(" … ")}`;
    } finally {
      this.root.removeAttribute("aria-busy");
      if (answer.first !== null) this.#measure(answer);
      this.#ready();
    }
  }

  #take(event, answer) {
    const choice = event.choices?.[0];
    if (event.usage) {
      answer.tokens = event.usage.completion_tokens;
      answer.passes = event.usage.forward_passes ?? answer.passes;
      answer.counted = true;
    }
    if (answer.holes ?? choice?.holes) {
      answer.holes ??= choice.holes;
      answer.tokens = answer.holes.reduce((sum, hole) => sum + hole.tokens.length, 0); // not of the lengths tried beside it
    }
    if (!choice) return;
    if (choice.text && !choice.holes) answer.texts.push(choice.text);
    answer.seed = choice.seed ?? answer.seed;
    const passes = choice.canvas ? [choice.canvas] : this.#written(choice, answer);
    for (const updates of passes.filter((each) => each.length)) {
      answer.first ??= performance.now() - answer.began;
      this.canvas.pass(updates, choice.forward_passes);
    }
    answer.passes = choice.forward_passes ?? answer.passes;
    if (!answer.counted && !answer.holes) answer.tokens = this.canvas.written;
    this.#measure(answer);
  }

  // Text of a model that reports no canvas: each of its tokens is a pass, or the piece as one.
  #written(choice, answer) {
    if (this.card.family !== "autoregressive") return [];
    const { tokens = [], token_logprobs: logprobs = [] } = choice.logprobs ?? {};
    const at = this.canvas.cells.length;
    const texts = tokens.length ? tokens : choice.text ? [choice.text] : [];
    answer.passes += tokens.length;
    return texts.map((text, i) => [
      {
        position: at + i,
        text: text.startsWith("bytes:") ? "\ufffd" : text.replace(/^<\|.*\|>$/, ""),
        probability: logprobs[i] === undefined || logprobs[i] === null ? null : Math.exp(logprobs[i]),
      },
    ]);
  }

  #finish(answer, truth) {
    answer.total = performance.now() - answer.began;
    if (answer.holes && !this.request.body.canvas) this.canvas.fill(answer.holes);
    answer.texts = answer.holes ? answer.holes.map((hole) => hole.text) : [answer.texts.join("")];
    answer.first ??= answer.total;
    this.canvas.settle(answer.texts);
    this.#say(".truth", truth ? `The held-out text has: ${truth}` : "");
  }

  #measure(answer) {
    const took = answer.total ?? performance.now() - answer.began;
    this.#say(".passes", number(answer.passes));
    this.#say(".tokens", number(answer.tokens));
    this.#say(".rate", answer.tokens ? number((1000 * answer.tokens) / took, 1) : "–");
    this.#say(".first", answer.first === null ? "–" : seconds(answer.first));
    this.#say(".total", seconds(took));
    this.#say(".seed", answer.seed === null ? "–" : String(answer.seed));
  }

  #ready() {
    const count = this.canvas.passes.length;
    this.#at(".replay").hidden = count < 2;
    this.#at("input").max = count;
    this.#show(count);
  }

  #show(count) {
    this.#at("input").value = count;
    this.#at("output").textContent = `pass ${this.canvas.number(count)} of ${this.canvas.number(this.canvas.passes.length)}`;
    if (this.canvas.passes.length) this.canvas.replay(count);
  }

  #play() {
    const last = this.canvas.passes.length;
    let count = Number(this.#at("input").value) % last;
    this.#at(".play").textContent = "Pause";
    this.timer = setInterval(() => {
      this.#show(count);
      if (count++ === last) this.#pause();
    }, PASS_MILLISECONDS);
  }

  #pause() {
    clearInterval(this.timer);
    this.timer = null;
    this.#at(".play").textContent = "Replay";
  }
}
