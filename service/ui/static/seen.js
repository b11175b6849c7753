// Remember the latest answered images of this tab, to show those for which an expert was chosen.
// They stay in the memory of the page only: nothing is stored, and nothing is sent.

import { element } from "/ui/draw.js";
import { bitmapOf, drawThumbnail } from "/ui/strip.js";

const MOST = 60; // remembered images
const SHOWN = 6;
const SIZE = { width: 96, height: 72 };

export function seenImages() {
  const shots = []; // latest first
  return {
    remember(shot) {
      const place = shots.indexOf(shot);
      if (place >= 0) shots.splice(place, 1);
      shots.unshift(shot);
      shots.length = Math.min(shots.length, MOST);
    },
    // Return the images of a model that chose an expert, the latest first.
    thatChose(model, layer, expert) {
      const chose = ({ answer }) => answer?.model.name === model && answer.moe.layers.some((row) => row.layer === layer && row.active.includes(expert));
      return shots.filter(chose);
    },
  };
}

// Return a list of thumbnails, which appear one by one as the images are decoded.
export function thumbnails(shots) {
  const items = shots.slice(0, SHOWN).map((shot) => {
    const canvas = element("canvas", { ...SIZE, role: "img", "aria-label": shot.name });
    fill(canvas, shot);
    return element("li", {}, canvas);
  });
  return element("ul", { class: "thumbnails" }, ...items);
}

async function fill(canvas, shot) {
  if (!shot.thumbnail) {
    const bitmap = await bitmapOf(shot.file);
    if (!bitmap) return;
    shot.thumbnail = element("canvas", SIZE);
    drawThumbnail(shot.thumbnail, bitmap);
    bitmap.close();
  }
  canvas.getContext("2d").drawImage(shot.thumbnail, 0, 0);
}
