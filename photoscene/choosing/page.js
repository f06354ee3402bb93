"use strict";
// Every gesture becomes one entry, as it would be typed at the prompt; the server keeps the session.

const element = (id) => document.getElementById(id);
const stage = element("stage");
const SVG = "http://www.w3.org/2000/svg";
const DRAG_PX = 5; // a pointer that moved less has clicked
let state = null;
let press = null; // where the pointer went down, in pixels of the photo and of the screen

async function ask(path, options) {
  const response = await fetch(path, options);
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  return response.json();
}

let queue = Promise.resolve(); // entries go one after the other, in the order they were made

function enter(entry) {
  queue = queue.then(() => send(entry));
  return queue;
}

async function send(entry) {
  const waiting = setTimeout(() => { element("busy").hidden = false; }, 150);
  try {
    const body = JSON.stringify({ entry });
    const headers = { "Content-Type": "application/json" };
    show(await ask("entry", { method: "POST", headers, body }));
    if (entry === "quit") finish("Stopped. The same command with --resume goes on; you can close this page.");
  } catch (error) {
    tell(`No answer: ${error.message}. Was the command stopped? It goes on with --resume.`, false);
  } finally {
    clearTimeout(waiting);
    element("busy").hidden = true;
  }
}

function show(answer) {
  const changed = !state || state.version !== answer.version;
  state = answer;
  if (changed) element("masks").src = `masks.png?version=${state.version}`;
  drawObjects();
  drawMarks();
  element("undo").disabled = !state.undo;
  element("redo").disabled = !state.redo;
  element("next").disabled = state.current === state.objects.length;
  element("accept").disabled = state.objects.length === 0;
  element("words").hidden = !state.words;
  tell(state.report, !state.refused);
  if (state.accepted) finish("Accepted. Go on in the terminal; you can close this page.");
}

function tell(text, done) {
  element("report").textContent = text.trim();
  element("report").className = done ? "" : "refused";
}

function finish(text) {
  document.body.className = "over";
  tell(text, true);
}

function drawObjects() {
  const rows = state.objects.map((object, index) => row(object, index));
  if (state.current === state.objects.length) {
    const fresh = document.createElement("li");
    fresh.className = "new current";
    fresh.textContent = `${state.objects.length + 1}: click or drag on the photo`;
    rows.push(fresh);
  }
  element("objects").replaceChildren(...rows);
}

function row(object, index) {
  const item = document.createElement("li");
  if (index === state.current) item.className = "current";
  const badge = document.createElement("span");
  badge.className = "badge";
  badge.textContent = index + 1;
  badge.style.borderColor = object.colour;
  const label = document.createElement("input");
  label.value = object.label || "";
  label.placeholder = "name it";
  label.setAttribute("aria-label", `Name of object ${index + 1}`);
  label.addEventListener("change", () => {
    if (index !== state.current) enter(`select ${index + 1}`);
    enter(`label ${label.value}`);
  });
  const fraction = document.createElement("span");
  fraction.className = "fraction";
  fraction.textContent = `${(100 * object.fraction).toFixed(1)} %`;
  fraction.title = `of the photo; score ${object.score}`;
  const drop = document.createElement("button");
  drop.textContent = "×";
  drop.setAttribute("aria-label", `Delete object ${index + 1}`);
  drop.addEventListener("click", (event) => { event.stopPropagation(); enter(`delete ${index + 1}`); });
  item.addEventListener("click", (event) => {
    if (event.target !== label && index !== state.current) enter(`select ${index + 1}`);
  });
  item.append(badge, label, fraction, drop);
  return item;
}

function shape(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

function drawMarks(rubber) {
  const { width, height } = state.photo;
  const marks = element("marks");
  marks.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const unit = width / Math.max(stage.clientWidth, 1); // one screen pixel in pixels of the photo
  const nodes = [];
  state.objects.forEach((object, index) => {
    const strong = index === state.current ? 2.5 : 1.2;
    if (object.box) nodes.push(rectangle(object.box, object.colour, strong * unit));
    for (const [x, y, foreground] of object.points || []) {
      nodes.push(shape("circle", { cx: x, cy: y, r: 6 * unit, fill: foreground ? "#1eaa3c" : "#d22828",
        stroke: "#fff", "stroke-width": 1.5 * unit }));
      nodes.push(shape("path", { stroke: "#fff", "stroke-width": 1.5 * unit,
        d: `M${x - 3 * unit} ${y}h${6 * unit}` + (foreground ? `M${x} ${y - 3 * unit}v${6 * unit}` : "") }));
    }
  });
  if (rubber) nodes.push(rectangle(rubber, "#fff", 2 * unit));
  marks.replaceChildren(...nodes);
}

function rectangle([x0, y0, x1, y1], stroke, width) {
  return shape("rect", { x: Math.min(x0, x1), y: Math.min(y0, y1), width: Math.abs(x1 - x0),
    height: Math.abs(y1 - y0), fill: "none", stroke, "stroke-width": width });
}

function place(event) {
  const frame = element("photo").getBoundingClientRect();
  const { width, height } = state.photo;
  const inside = (value, size) => Math.min(Math.max(value, 0), size - 0.5);
  const x = inside((event.clientX - frame.left) * width / frame.width, width);
  const y = inside((event.clientY - frame.top) * height / frame.height, height);
  return { x: Math.round(x * 10) / 10, y: Math.round(y * 10) / 10, left: event.clientX, top: event.clientY };
}

const moved = (a, b) => Math.hypot(a.left - b.left, a.top - b.top) >= DRAG_PX;
const corners = (a, b) => [a.x, a.y, b.x, b.y];

stage.addEventListener("pointerdown", (event) => {
  if (!state || event.button > 2) return;
  press = { ...place(event), background: event.button === 2 || event.shiftKey };
  stage.setPointerCapture(event.pointerId);
});
stage.addEventListener("pointermove", (event) => {
  if (press && !press.background && moved(press, place(event))) drawMarks(corners(press, place(event)));
});
stage.addEventListener("pointerup", (event) => {
  if (!press) return;
  const start = press, end = place(event);
  press = null;
  if (start.background) enter(`not ${start.x} ${start.y}`);
  else if (moved(start, end)) enter(`box ${corners(start, end).join(" ")}`);
  else enter(`point ${start.x} ${start.y}`);
});
stage.addEventListener("pointercancel", () => { press = null; drawMarks(); });
stage.addEventListener("contextmenu", (event) => event.preventDefault());

for (const name of ["next", "undo", "redo", "auto", "quit", "accept"]) {
  element(name).addEventListener("click", () => enter(name));
}
element("words").addEventListener("submit", (event) => {
  event.preventDefault();
  enter(`text ${event.target.words.value}`);
  event.target.reset();
});
document.addEventListener("keydown", (event) => {
  if (event.target.tagName === "INPUT" || event.altKey) return;
  const key = event.key.toLowerCase();
  const control = event.ctrlKey || event.metaKey;
  if (control && key === "z") enter(event.shiftKey ? "redo" : "undo");
  else if (!control && { n: "next", u: "undo", r: "redo" }[key]) enter({ n: "next", u: "undo", r: "redo" }[key]);
  else return;
  event.preventDefault();
});
window.addEventListener("resize", () => state && drawMarks());
ask("state").then(show);
