// Say in words how the routing of recent images differs from the model's baseline.

import { element } from "/ui/draw.js";

const DIFFERS = {
  mean: "the routers' probabilities are different on average",
  sets: "other sets of experts are chosen",
  novelty: "images have become less like those of the baseline",
  dead: "an expert is not chosen any more",
  nan: "a router gave something that is not a number",
};
export const inWords = (layer) => (layer === "path" ? "all layers together" : layer);
const LOOK = "Compare a recent image with an earlier one: colours, size, light and place. GET /routing shows every layer.";
const REPLACE = "Use another version of the model, and report this one. GET /routing shows every layer.";

// Return a note for the `moe` of an answer, or null if its routing does not drift.
export function driftNote({ routing, drift }) {
  if (routing !== "drifting" || !drift) return null;
  const { layer, test, since } = drift;
  const time = new Date(since).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" });
  return element(
    "div", { class: "note drift" },
    element("p", {}, `Recent images are routed unlike the baseline. In ${inWords(layer)}, ${DIFFERS[test] ?? "something differs"}, since `, element("time", { datetime: since }, time), "."),
    element("p", {}, test === "nan" ? REPLACE : LOOK),
  );
}
