// Send the frames of a camera one after the other: the next frame is taken after the answer to the one before.

const LONGER_SIDE = 1280; // pixels of a frame, at most
const QUALITY = 0.9; // of its JPEG
const WINDOW_MS = 3000; // the rate is that of this time
const PAUSE_MS = 1000; // after a frame without an answer

export function cameraProblem(error) {
  if (!navigator.mediaDevices) return "Browsers offer a camera only to pages over HTTPS or on localhost.";
  if (error.name === "NotAllowedError") return "The browser does not let this page use a camera.";
  if (error.name === "NotFoundError") return "The browser finds no camera.";
  return `The camera does not start: ${error.message}`;
}

// Start a camera; return { stop, done }: a function that stops it, and a promise that holds until it has stopped.
// answer(file, bitmap): sends one frame, shows it, and returns whether there was an answer.
// tell(rate): the frames answered per second; null when the camera has stopped, for whatever reason.
export async function startCamera(answer, tell) {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: LONGER_SIDE } }, audio: false });
  const video = document.createElement("video");
  video.muted = true;
  video.srcObject = stream;
  const stop = () => stream.getTracks().forEach((track) => track.stop());
  try {
    await video.play();
  } catch (error) {
    stop();
    throw error;
  }
  const isOn = () => stream.active;
  const done = sendFrames(video, isOn, answer, tell).finally(() => { stop(); tell(null); });
  return { stop, done };
}

async function sendFrames(video, isOn, answer, tell) {
  const times = []; // of the latest answers
  while (isOn()) {
    const frame = await frameOf(video);
    if (!isOn()) return;
    const answered = await answer(frame.file, frame.bitmap);
    if (!answered) {
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      continue;
    }
    times.push(performance.now());
    while (times.at(-1) - times[0] > WINDOW_MS) times.shift();
    if (times.length > 1 && isOn()) tell((times.length - 1) / ((times.at(-1) - times[0]) / 1000));
  }
}

async function frameOf(video) {
  const scale = Math.min(1, LONGER_SIDE / Math.max(video.videoWidth, video.videoHeight));
  const canvas = new OffscreenCanvas(Math.round(video.videoWidth * scale), Math.round(video.videoHeight * scale));
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  const file = await canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY });
  return { file, bitmap: canvas.transferToImageBitmap() };
}
