// Draw one object into an image: its box, which may be turned, its mask and its keypoints.
// Coordinates are pixels of the image, counted from the edge of pixel 0, as on a canvas.

const SEEN = 0.5; // lowest confidence of a keypoint that is drawn
const maskPaths = new WeakMap(); // by mask, because the mouse redraws all objects of an image again and again

// The golden angle keeps the hues of neighbouring classes apart.
const hue = (classId) => (classId * 137.5 + 168) % 360;
export const classColour = (classId, opacity = 1) => `hsl(${hue(classId)} 78% 48% / ${opacity})`;
export const tagColour = (classId) => `hsl(${hue(classId)} 78% 26%)`; // dark enough for white letters

// skeleton: pairs of keypoints that a line joins. scale: canvas pixels per image pixel. unit: the width of a fine
// line, in canvas pixels.
export function drawObject(context, object, skeleton, scale, unit) {
  const colour = (opacity) => classColour(object.class_id, opacity);
  const line = unit / scale;
  context.save();
  context.scale(scale, scale);
  context.lineJoin = "round";
  context.strokeStyle = colour(1);
  if (object.mask) {
    const path = pathOfMask(object.mask);
    context.fillStyle = colour(object.hot ? 0.7 : 0.4);
    context.fill(path, "evenodd");
    context.lineWidth = 2 * line;
    context.stroke(path);
  }
  const box = ringsPath([cornersOf(object)]);
  if (object.hot && !object.mask) {
    context.fillStyle = colour(0.3);
    context.fill(box);
  }
  context.lineWidth = (object.hot ? 5 : 2.5) * line;
  context.stroke(box);
  if (object.keypoints) drawKeypoints(context, object.keypoints, skeleton, line);
  context.restore();
}

// Return the four corners of an object's box.
function cornersOf({ x, y, width, height, corners }) {
  if (corners) return corners;
  const [left, right, top, bottom] = [x - width / 2, x + width / 2, y - height / 2, y + height / 2];
  return [[left, top], [right, top], [right, bottom], [left, bottom]];
}

// Return the uppermost corner of an object's box; of two, the left one.
export function topCorner(object) {
  return cornersOf(object).reduce((best, one) => (one[1] < best[1] || (one[1] === best[1] && one[0] < best[0]) ? one : best));
}

// Return whether a point is inside an object's box; rotation: degrees, clockwise.
export function isInside({ x, y, width, height, rotation = 0 }, [pointX, pointY]) {
  const [right, down, angle] = [pointX - x, pointY - y, (rotation * Math.PI) / 180];
  const along = right * Math.cos(angle) + down * Math.sin(angle);
  const across = down * Math.cos(angle) - right * Math.sin(angle);
  return Math.abs(along) <= width / 2 && Math.abs(across) <= height / 2;
}

function pathOfMask(mask) {
  if (!maskPaths.has(mask)) maskPaths.set(mask, ringsPath(mask.polygon));
  return maskPaths.get(mask);
}

function ringsPath(rings) {
  const path = new Path2D();
  for (const [first, ...others] of rings) {
    path.moveTo(...first);
    for (const point of others) path.lineTo(...point);
    path.closePath();
  }
  return path;
}

// The lines have the colour of the object's class, and each point has a colour of its own.
function drawKeypoints(context, points, skeleton, line) {
  const isSeen = (point) => point.confidence >= SEEN;
  context.lineWidth = 3 * line;
  for (const [one, other] of skeleton.map((pair) => pair.map((place) => points[place]))) {
    if (!isSeen(one) || !isSeen(other)) continue;
    context.beginPath();
    context.moveTo(one.x, one.y);
    context.lineTo(other.x, other.y);
    context.stroke();
  }
  context.lineWidth = line;
  context.strokeStyle = "#000";
  for (const [place, point] of points.entries()) {
    if (!isSeen(point)) continue;
    context.fillStyle = classColour(place);
    context.beginPath();
    context.arc(point.x, point.y, 4 * line, 0, 2 * Math.PI);
    context.fill();
    context.stroke();
  }
}
