// Marks parts of a response. Offsets count code points, as Python does, and not UTF-16 units.
const field = document.getElementById("spans");
const box = document.getElementById("marked");
const list = document.getElementById("marks");
const tools = [...document.querySelectorAll(".tool")];
const send = document.querySelector(".send");
const points = Array.from(box.textContent);
let marks = JSON.parse(field.value);
let chosen = null; // [start, end] of what is selected, as it was before a button took the focus.

if (points.length !== Number(box.dataset.length)) {
  throw new Error("the browser shows another number of characters than the server counts");
}

function offset(node, at, isStart) {
  const before = document.createRange();
  before.selectNodeContents(box);
  before.setEnd(node, at);
  const text = before.toString();
  const count = Array.from(text).length;
  // Inside of a pair of units: all of the character belongs to the selection.
  const last = text.charCodeAt(text.length - 1);
  return isStart && last >= 0xd800 && last <= 0xdbff ? count - 1 : count;
}

function selected() {
  const selection = getSelection();
  if (!selection.rangeCount || selection.isCollapsed) return null;
  const range = selection.getRangeAt(0).cloneRange();
  if (!range.intersectsNode(box)) return null;
  const all = document.createRange();
  all.selectNodeContents(box);
  if (range.compareBoundaryPoints(Range.START_TO_START, all) < 0) range.setStart(all.startContainer, all.startOffset);
  if (range.compareBoundaryPoints(Range.END_TO_END, all) > 0) range.setEnd(all.endContainer, all.endOffset);
  let start = offset(range.startContainer, range.startOffset, true);
  let end = offset(range.endContainer, range.endOffset, false);
  while (start < end && !points[start].trim()) start += 1;
  while (start < end && !points[end - 1].trim()) end -= 1;
  return start < end ? [start, end] : null;
}

function without(start, end) {
  return marks.flatMap((mark) => [
    { ...mark, end: Math.min(mark.end, start) },
    { ...mark, start: Math.max(mark.start, end) },
  ].filter((part) => part.start < part.end));
}

function mark([start, end], type) {
  marks = without(start, end);
  if (type) marks.push({ start, end, type });
  marks.sort((a, b) => a.start - b.start);
  // Neighbors of one type are one mark.
  marks = marks.reduce((kept, next) => {
    const last = kept[kept.length - 1];
    if (last && last.end === next.start && last.type === next.type) last.end = next.end;
    else kept.push({ ...next });
    return kept;
  }, []);
  chosen = null;
  getSelection().removeAllRanges();
  show();
}

function piece(start, end) {
  return points.slice(start, end).join("");
}

function show() {
  const parts = [];
  let at = 0;
  for (const { start, end, type } of marks) {
    parts.push(piece(at, start));
    const shown = document.createElement("mark");
    shown.className = type === "good" ? "good" : "wrong";
    shown.title = type;
    shown.textContent = piece(start, end);
    parts.push(shown);
    at = end;
  }
  parts.push(piece(at, points.length));
  box.replaceChildren(...parts.filter((part) => part !== ""));
  list.replaceChildren(...marks.map(({ start, end, type }) => {
    const entry = document.createElement("li");
    entry.className = type === "good" ? "good" : "wrong";
    const kind = document.createElement("b");
    kind.textContent = type;
    const text = document.createElement("span");
    text.textContent = end - start > 60 ? `${piece(start, start + 60)}…` : piece(start, end);
    const remove = document.createElement("button");
    remove.type = "button";
    remove.className = "quiet";
    remove.textContent = "Remove";
    remove.setAttribute("aria-label", `Remove the mark ${type}: ${text.textContent}`);
    remove.addEventListener("click", () => mark([start, end], ""));
    entry.append(kind, text, remove);
    return entry;
  }));
  field.value = JSON.stringify(marks);
  const count = marks.length;
  send.firstChild.textContent = count ? `Send ${count} mark${count > 1 ? "s" : ""}` : "Nothing is wrong";
  look();
}

function look() {
  const now = selected();
  if (now) chosen = now;
  for (const tool of tools) tool.disabled = !chosen;
}

document.addEventListener("selectionchange", () => {
  const now = selected();
  // A tap on a button may take the selection away before the click arrives.
  if (now || !document.activeElement?.matches(".tool")) chosen = now ?? (getSelection().rangeCount ? null : chosen);
  for (const tool of tools) tool.disabled = !chosen;
});

for (const tool of tools) {
  tool.addEventListener("pointerdown", (event) => event.preventDefault());
  tool.addEventListener("click", () => { if (chosen) mark(chosen, tool.dataset.type); });
}

// With keys: arrows choose a word, with Shift several.
const words = [];
let at = 0;
for (const { segment } of new Intl.Segmenter(undefined, { granularity: "word" }).segment(points.join(""))) {
  const length = Array.from(segment).length;
  if (segment.trim()) words.push([at, at + length]);
  at += length;
}
let anchor = -1;
let focus = -1;

function place(count) {
  const walker = document.createTreeWalker(box, NodeFilter.SHOW_TEXT);
  let left = count;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const here = Array.from(node.data);
    if (left <= here.length) return [node, here.slice(0, left).join("").length];
    left -= here.length;
  }
  return [box, box.childNodes.length];
}

box.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step || !words.length || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  focus = Math.min(Math.max(focus + step, 0), words.length - 1);
  if (!event.shiftKey || anchor < 0) anchor = focus;
  const [first, last] = [Math.min(anchor, focus), Math.max(anchor, focus)];
  getSelection().setBaseAndExtent(...place(words[first][0]), ...place(words[last][1]));
});

show();
