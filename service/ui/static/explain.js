// Ask which regions of the image moved the routers, and offer the map of each layer.

import { element } from "/ui/draw.js";
import { isConfirmed, legendOf, wordsOf } from "/ui/heat.js";

// offer: holds the button that asks, and what it costs. busy: shows that the service calculates; it holds seconds and stop. note: why
// there is no map. chosen: the element with the <select> of layers and the legend. words: the map in words.
// ask(signal): returns { answer } or { sentence } for the image that is shown. redraw(): draws it again.
export function explanations({ offer, button, busy, seconds, stop, note, chosen, select, legend, words }, { ask, redraw }) {
  const known = new WeakMap(); // explanations, by the answer that they belong to
  let answer = null, running = null, wanted = null; // wanted: the name of a layer, "" for no layer, null for the best map

  const found = () => (answer && known.get(answer)) ?? null;

  // Show the control for an answer; null: there is no answer yet, or it changes all the time.
  function show(shown) {
    if (shown === answer) return;
    running?.abort();
    running = null;
    answer = shown;
    note.textContent = "";
    fill();
  }

  function fill() {
    const explanation = found();
    offer.hidden = Boolean(explanation || running);
    button.disabled = !answer;
    busy.hidden = !running;
    chosen.hidden = !explanation;
    const names = (explanation?.layers ?? []).map(({ layer }) => layer);
    select.replaceChildren(...["", ...names].map((name) => element("option", { value: name }, name || "no layer")));
    if (explanation) select.value = wanted === "" || names.includes(wanted) ? wanted : bestOf(explanation).layer;
    describe();
  }

  function describe() {
    const layer = layerOf(found());
    words.textContent = layer ? wordsOf(layer) : "";
    legend.replaceChildren(...(layer ? legendOf(layer) : []).map(({ key, text }) => element("li", { class: `key-${key}` }, text)));
  }

  const layerOf = (explanation) => explanation?.layers.find(({ layer }) => layer === select.value) ?? null;

  async function start() {
    const { signal } = (running = new AbortController()), began = Date.now();
    const tell = () => { seconds.textContent = `${Math.round((Date.now() - began) / 1000)} s`; };
    const timer = setInterval(tell, 1000);
    tell();
    note.textContent = "The service runs the model on copies of this image…";
    fill();
    stop.focus();
    const { answer: explained, sentence } = await ask(signal);
    clearInterval(timer);
    if (running?.signal !== signal) return; // another image or other settings
    running = null;
    note.textContent = "";
    const wasFocused = document.activeElement === stop;
    if (explained) known.set(answer, explained.explanation);
    else note.textContent = signal.aborted ? "Stopped." : sentence;
    fill();
    if (wasFocused) (explained ? select : button).focus();
    redraw();
  }

  // The layer and the grid of the map to draw, or null.
  function map() {
    const explanation = found(), layer = layerOf(explanation);
    return layer && { grid: explanation, effects: layer.effects };
  }

  button.addEventListener("click", start);
  stop.addEventListener("click", () => running?.abort());
  select.addEventListener("change", () => { wanted = select.value; describe(); redraw(); });
  return { show, map };
}

// Return the layer whose map is confirmed best, or the best of those that are not.
function bestOf({ layers }) {
  const confirmed = layers.filter(isConfirmed);
  const gain = ({ marked_fall: marked, random_fall: random }) => marked - random;
  return (confirmed.length ? confirmed : layers).reduce((best, one) => (gain(one) > gain(best) ? one : best));
}
