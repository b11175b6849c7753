// Decode images, and build the strip of thumbnails for several images.

import { element } from "/ui/draw.js";
import { keyed } from "/ui/keyed.js";

const THUMBNAIL = { width: 96, height: 72 };

// Return the pixels of an image file as an ImageBitmap, or null. The service decodes what the browser cannot.
export async function bitmapOf(file) {
  try {
    return await createImageBitmap(file);
  } catch {
    return previewOf(file);
  }
}

async function previewOf(file) {
  try {
    const response = await keyed("/preview", { method: "POST", body: file });
    return response.ok ? await createImageBitmap(await response.blob()) : null;
  } catch {
    return null;
  }
}

// Fill the strip with one button for each image. Thumbnails follow one by one, so that few images are in memory.
export async function buildStrip(strip, shots, show, signal) {
  for (const shot of shots) {
    const thumbnail = element("canvas", { ...THUMBNAIL, "aria-hidden": "true" });
    shot.button = element("button", { type: "button" }, thumbnail, element("span", {}));
    shot.button.addEventListener("click", () => show(shot));
  }
  strip.replaceChildren(...shots.map((shot) => element("li", {}, shot.button)));
  if (shots.length < 2) return;
  for (const shot of shots) {
    if (!shot.button.isConnected) return; // other images have been chosen
    const bitmap = await bitmapOf(shot.file);
    if (bitmap) drawThumbnail(shot.button.querySelector("canvas"), bitmap);
    bitmap?.close();
  }
}

export function drawThumbnail(canvas, bitmap) {
  const scale = Math.max(canvas.width / bitmap.width, canvas.height / bitmap.height);
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  canvas.getContext("2d").drawImage(bitmap, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
}

// Show on each button what its image's answer is, and which image is shown.
export function markStrip(shots, shown) {
  for (const { button, name, answer, sentence } of shots) {
    if (!button) continue;
    const count = answer ? `${answer.predictions.length}` : sentence ? "!" : "…";
    button.querySelector("span").textContent = count;
    button.setAttribute("aria-label", `${name}: ${answer ? `${count} predictions` : sentence || "waiting"}`);
    button.title = name;
  }
  for (const shot of shots) shot.button?.setAttribute("aria-pressed", `${shot === shown}`);
}
