// Keys press buttons, and a form is sent once.
const form = document.getElementById("judgement");
const box = document.getElementById("shortcuts");
const OFF = "label-keys-off";
const SETTLE = 200; // Milliseconds in which a key still belongs to the page before.
const shownAt = performance.now();
let isSent = false;

function keysAreOff() {
  try { return localStorage.getItem(OFF) === "1"; } catch { return false; }
}

box.checked = !keysAreOff();
document.body.classList.toggle("no-keys", !box.checked);
box.addEventListener("change", () => {
  try { localStorage.setItem(OFF, box.checked ? "0" : "1"); } catch { /* Only for this page then. */ }
  document.body.classList.toggle("no-keys", !box.checked);
});

form.addEventListener("submit", (event) => {
  if (isSent) return event.preventDefault();
  isSent = true;
  form.classList.add("sent");
});

// A page that comes back from the browser's memory does not know what was said since.
window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.matches?.("input:not([type=radio]):not([type=checkbox]), textarea, select");
  // A key that is held down must not answer one item after the other.
  if (!box.checked || event.repeat || event.ctrlKey || event.metaKey || event.altKey || isTyping) return;
  if (event.defaultPrevented || performance.now() - shownAt < SETTLE) return;
  // What has the focus is pressed by the browser.
  if (event.key === "Enter" && event.target.closest?.("a, button, summary")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  for (const target of document.querySelectorAll("[data-keys]")) {
    if (target.dataset.keys.split(" ").includes(key) && !target.disabled) {
      event.preventDefault();
      target.click();
      return;
    }
  }
});
