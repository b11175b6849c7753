// Say in a line what a model is, and what it found.

const NAMED = 20;

export function modelLine({ name, version, precision, classes, input }) {
  return `${name} ${version} · ${precision} · ${classes.length} classes · ${input.width} × ${input.height}`;
}

// The number of classes that `namesOf` leaves out.
export const unnamed = (classes) => Math.max(0, classes.length - NAMED);

export function namesOf(classes) {
  const shown = classes.slice(0, NAMED).join(", ");
  return unnamed(classes) ? `${shown} and ${unnamed(classes)} more` : shown;
}

// labels: the predictions are classes of the whole image, the most probable first.
export function summaryOf(predictions, labels) {
  if (labels) return `Most likely ${predictions[0].class}, ${Math.round(predictions[0].confidence * 100)}%.`;
  if (predictions.length === 0) return "No objects found at this confidence.";
  return `${predictions.length} ${predictions.length === 1 ? "object" : "objects"} found.`;
}
