// The form: prompt, settings, examples, and the models that answer.
import { Column } from "./column.js";
import { ApiError, isHole, partsOf } from "./requests.js";

const at = (selector) => document.querySelector(selector);
const prompt = at("#prompt");
const SAMPLING = ["temperature", "top_p", "seed"];
const UNMASKING = ["steps", "confidence_threshold", "order", "block_length", "remask", "cache"];
const NARROW = 1000;
const other = new URLSearchParams(location.search).get("other");
const here = new URL(".", location.href);
let running = null;
let example = null;

function withSlash(url) {
  const made = new URL(url);
  if (!made.pathname.endsWith("/")) made.pathname += "/";
  made.search = made.hash = "";
  return made;
}

const valueOf = (id) => {
  const field = at(`#${id}`);
  if (field.value === "") return [];
  return [[id, field.type === "number" ? Number(field.value) : field.value]];
};
const settings = () => ({
  sampling: Object.fromEntries(SAMPLING.flatMap(valueOf)),
  unmasking: Object.fromEntries(UNMASKING.flatMap(valueOf)),
  tokens: Number(at("#max_tokens").value) || null,
});

const columns = [];
function preview() {
  if (running) return;
  for (const column of columns) column.preview(partsOf(prompt.value), settings());
}

// Errors, whole, beside the prompt; the field that one names is marked.
function fault(error, name) {
  const line = document.createElement("p");
  const code = error instanceof ApiError ? [`HTTP ${error.status}`, error.code].filter(Boolean).join(", ") : "";
  line.className = "fault";
  line.append(Object.assign(document.createElement("b"), { textContent: `${name}${code ? ` (${code})` : ""}` }), ` ${error.message}`);
  at("#faults").append(line);
  const field = error.param && document.getElementById(error.param.split(".")[0]);
  if (!field) return;
  field.setAttribute("aria-invalid", "true");
  field.closest("details")?.setAttribute("open", "");
}

function clear() {
  at("#faults").replaceChildren();
  for (const field of document.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
}

async function answerOf(column, signal) {
  try {
    const truth = example && example.text === prompt.value ? example.truth : "";
    return await column.run(partsOf(prompt.value), settings(), truth, signal);
  } catch (error) {
    if (error.name === "AbortError") return `${column.name}: stopped.`;
    fault(error instanceof TypeError ? unreachable(column.base) : error, column.name);
    return "";
  }
}

function unreachable(base) {
  const remedy = base.origin === location.origin ? "is it still running?" : `start it with --allow-origin ${location.origin}`;
  return new Error(`${base.origin} does not answer; ${remedy}`);
}

async function generate(event) {
  event.preventDefault();
  if (running) return;
  clear();
  running = new AbortController();
  at("#generate").disabled = true;
  at("#stop").disabled = false;
  at("#said").textContent = "Generating.";
  const said = await Promise.all(columns.filter((column) => column.card).map((column) => answerOf(column, running.signal)));
  at("#said").textContent = said.join(" ");
  at("#generate").disabled = false;
  if (document.activeElement === at("#stop")) at("#generate").focus();
  at("#stop").disabled = true;
  running = null;
}

function insertHole() {
  const size = at("#hole").value || "1";
  prompt.setRangeText(`[[${size}]]`, prompt.selectionStart, prompt.selectionEnd, "end");
  prompt.focus();
  preview();
}

// A passage with a hole of one or two words in its second part, or without its second part.
function use({ prompt: text, continuation }, fills) {
  const match = fills && continuation.match(/^(\s*\S+\s+)(\S+\s+\S+|\S+)([^]*)$/);
  const size = match && new TextEncoder().encode(match[2]).length;
  prompt.value = match ? `${text}${match[1]}[[${size}]]${match[3]}` : text;
  example = { text: prompt.value, truth: match ? match[2] : continuation };
  prompt.scrollTop = prompt.scrollHeight;
  preview();
}

async function offerExamples() {
  const answer = await fetch(new URL("playground/examples.json", here));
  const examples = answer.ok ? await answer.json() : [];
  const fills = columns.some((column) => column.card?.infill);
  const chosen = () => fills && at("[name=mode]:checked").value === "fill";
  at("#examples").hidden = !examples.length;
  at("#modes").hidden = !fills;
  let last = examples[0];
  for (const each of examples) {
    const words = each.prompt.trim().replaceAll(/\s+/g, " ");
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: `${words.slice(0, 44)}…`, title: each.prompt });
    button.addEventListener("click", () => use((last = each), chosen()));
    at("#passages").append(button);
  }
  at("#modes").addEventListener("change", () => use(last, chosen()));
  if (examples.length && !prompt.value) use(last, chosen());
}

async function begin() {
  at("#settings").open = innerWidth >= NARROW;
  columns.push(new Column(here, at("#columns")));
  if (other) {
    at("#other").value = other;
    try {
      columns.push(new Column(withSlash(other), at("#columns")));
      at("#shared").hidden = false;
    } catch {
      fault(new Error("is no address of a server; give one such as http://127.0.0.1:8081"), other);
    }
  }
  await Promise.all(
    columns.map((column) => column.load().catch((error) => fault(error instanceof TypeError ? unreachable(column.base) : error, column.base.host))),
  );
  at("#diffusion").hidden = columns.every((column) => !column.card || column.card.family === "autoregressive");
  await offerExamples();
  preview();
  document.body.dataset.ready = "true";
}

at("#ask").addEventListener("submit", generate);
at("#stop").addEventListener("click", () => running?.abort());
at("#insert").addEventListener("click", insertHole);
prompt.addEventListener("input", preview);
at("#settings").addEventListener("change", preview);
prompt.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("#ask").requestSubmit();
});
begin();
