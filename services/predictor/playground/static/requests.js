// What is asked of a predictor, and how its answers are read.

const HOLE = /\[\[(\d+)(?:-(\d+))?\]\]/g;

// Parts of a prompt: texts, and holes of a length or a range of lengths.
export function partsOf(text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(HOLE)) {
    if (match.index > end) parts.push(text.slice(end, match.index));
    parts.push({ hole: match[2] ? [Number(match[1]), Number(match[2])] : Number(match[1]) });
    end = match.index + match[0].length;
  }
  if (end < text.length) parts.push(text.slice(end));
  return parts;
}

export const isHole = (part) => typeof part !== "string";
const longest = (part) => (Array.isArray(part.hole) ? part.hole[1] : part.hole);
const isRange = (part) => isHole(part) && Array.isArray(part.hole);

// The request of a prompt for one model, and the segments that its canvas shows: text, text that the model does not
// see, slots that it fills, and holes that it leaves.
export function requestOf(parts, settings, card) {
  const diffusion = card.family !== "autoregressive";
  const { sampling, unmasking, tokens } = settings;
  const body = { model: card.id, stream: true, stream_options: { include_usage: true }, ...sampling, ...(diffusion ? unmasking : {}) };
  const first = parts.findIndex(isHole);
  if (first >= 0 && card.infill) {
    const canvas = !parts.some(isRange); // an answer that is chosen among several lengths is not streamed
    const whole = canvas ? { ...body, canvas } : { ...body, stream: false, stream_options: null };
    const segments = parts.map((part) => (isHole(part) ? { slots: isRange(part) ? 1 : part.hole, range: isRange(part) ? part.hole : null } : { text: part }));
    return { path: "v1/infill", body: { ...whole, parts }, segments };
  }
  const prompt = first < 0 ? parts.join("") : parts.slice(0, first).join("");
  const size = first < 0 ? tokens : longest(parts[first]);
  const after = first < 0 ? [] : parts.slice(first + 1);
  const rest = after.map((part) => ({ text: isHole(part) ? "▢".repeat(Math.min(longest(part), 16)) : part, ignored: true }));
  return {
    path: "v1/completions",
    body: { ...body, prompt, ...(size ? { max_tokens: size } : {}), ...(diffusion ? { canvas: true } : { logprobs: 0 }) },
    segments: [{ text: prompt }, { slots: diffusion ? size || 16 : 0, grows: true }, ...rest],
    note: first < 0 ? "" : "This model writes from left to right and cannot see what follows a hole: it continues the text before the first one.",
  };
}

// An error of the API, whole.
export class ApiError extends Error {
  constructor(status, fault) {
    super(fault.message ?? JSON.stringify(fault));
    this.status = status;
    this.code = fault.code ?? fault.type ?? "";
    this.param = fault.param ?? "";
  }
}

// The card of the model that a server has.
export async function cardOf(base) {
  const answer = await fetch(new URL("v1/models", base));
  if (!answer.ok) throw new ApiError(answer.status, { message: `the model's card cannot be read: ${answer.statusText}` });
  return (await answer.json()).data[0];
}

// The events of a stream, as objects, until it ends; an answer that is not streamed is one.
export async function* eventsOf(base, path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(new URL(path, base), { method: "POST", headers, body: JSON.stringify(body), signal });
  if (!answer.ok) throw new ApiError(answer.status, faultOf(await answer.text()));
  if (!body.stream) {
    yield await answer.json();
    return;
  }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new ApiError(answer.status, { message: "the connection ended before the answer did" });
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines.filter((each) => each.startsWith("data:"))) {
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new ApiError(answer.status, event.error);
      yield event;
    }
  }
}

function faultOf(text) {
  try {
    const { error, detail } = JSON.parse(text);
    return typeof error === "object" ? error : { message: error ?? JSON.stringify(detail) };
  } catch {
    return { message: text };
  }
}
