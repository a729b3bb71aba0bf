// Letters put responses in order: A, then B; = before a letter ties it with the one before.
const sections = [...document.querySelectorAll("[data-place]")];
let given = [];
let isTie = false;

function apply() {
  for (const radio of document.querySelectorAll(".ranks input")) radio.checked = false;
  for (const [place, rank] of given) {
    sections[place].querySelectorAll(".ranks input")[rank - 1].checked = true;
  }
}

document.addEventListener("change", (event) => {
  // From now on the ranks are chosen one by one.
  if (event.target.matches(".ranks input")) given = [];
});

document.addEventListener("keydown", (event) => {
  if (!document.getElementById("shortcuts").checked || event.repeat) return;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase();
  const place = key.length === 1 ? key.charCodeAt(0) - 97 : -1;
  if (place >= 0 && place < sections.length) {
    event.preventDefault();
    given = given.filter(([other]) => other !== place);
    const last = given.length ? given[given.length - 1][1] : 0;
    given.push([place, isTie && last ? last : last + 1]);
    isTie = false;
    // Letters given twice leave gaps: close them.
    const ranks = [...new Set(given.map(([, rank]) => rank))].sort((a, b) => a - b);
    given = given.map(([other, rank]) => [other, ranks.indexOf(rank) + 1]);
    apply();
  } else if (key === "=" && given.length) {
    // Before any letter it is the button "All equal".
    event.preventDefault();
    isTie = true;
  } else if (event.key === "Backspace") {
    event.preventDefault();
    given.pop();
    isTie = false;
    apply();
  }
}, true);
