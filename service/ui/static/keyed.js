// Send requests, with a key where the service wants one, and ask the person for it.
// The key is kept in sessionStorage only: it is gone when the tab is closed, and no other site can read it.

const NAME = "sparsight-key";
const REFUSED = [401, 403]; // no valid key, or one that is not for this address
let asking = null; // the form is one for all requests that wait for a key

export const hasKey = () => sessionStorage.getItem(NAME) !== null;

// As fetch, but the answer is never that a key is missing: then this waits until the person has entered one.
export async function keyed(address, options = {}) {
  for (;;) {
    const key = sessionStorage.getItem(NAME);
    const headers = key === null ? {} : { Authorization: `Bearer ${key}` };
    const response = await fetch(address, { ...options, headers });
    if (!REFUSED.includes(response.status)) return response;
    const { detail } = await response.json();
    if (sessionStorage.getItem(NAME) === key) await (asking ??= askForKey(key === null ? "" : detail));
  }
}

// As fetch, with the key if there is one; nobody is asked for a key.
export function unasked(address) {
  const key = sessionStorage.getItem(NAME);
  return fetch(address, { headers: key === null ? {} : { Authorization: `Bearer ${key}` } });
}

function askForKey(problem) {
  const form = document.getElementById("key-form"), input = document.getElementById("key");
  const note = document.getElementById("key-problem");
  note.textContent = problem;
  note.hidden = !problem;
  form.hidden = false;
  input.focus();
  return new Promise((resolve) => {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      sessionStorage.setItem(NAME, input.value.trim());
      input.value = "";
      form.hidden = true;
      asking = null;
      resolve();
    }, { once: true });
  });
}
