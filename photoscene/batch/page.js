"use strict";
const wall = document.getElementById("wall");
const controls = document.getElementById("controls");
const shown = document.getElementById("shown");
const cards = [...wall.children];
const words = new Map(cards.map((card) => [card, card.dataset.name.toLowerCase()]));
const places = new Map(cards.map((card, index) => [card, index]));
// A scene that is not there is worse than any grade.
const badness = (card) =>
  ({ failed: 6, missing: 5, incomplete: 4 })[card.dataset.state] ?? ({ failed: 3, check: 2, good: 0 })[card.dataset.grade] ?? 1;
const orders = {
  given: () => 0,
  worst: (a, b) => badness(b) - badness(a),
  best: (a, b) => badness(a) - badness(b),
  name: (a, b) => words.get(a).localeCompare(words.get(b)),
  slowest: (a, b) => b.dataset.seconds - a.dataset.seconds,
};

function arrange() {
  const { state, order, words: sought } = Object.fromEntries(new FormData(controls));
  const part = sought.trim().toLowerCase();
  let count = 0;
  for (const card of cards) {
    const wanted = (state === "all" || card.dataset.state === state) && words.get(card).includes(part);
    card.hidden = !wanted;
    count += wanted;
  }
  const sorted = [...cards].sort((a, b) => orders[order](a, b) || places.get(a) - places.get(b));
  wall.replaceChildren(...sorted);
  shown.textContent = `${count} shown`;
}

controls.addEventListener("input", arrange);
controls.addEventListener("submit", (event) => event.preventDefault());
arrange();
